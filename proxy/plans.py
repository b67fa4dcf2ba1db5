"""From the settings to what authentication and the guard are built from; nothing is fetched here.

``serve``, ``explain`` and ``check-config`` all start with these three, so that none of them can
read a setting otherwise than the others.
"""

from __future__ import annotations

from proxy.authn.configuration.plan import InvalidConfiguration, Plan
from proxy.authn.issuer import IssuerSettings
from proxy.authn.mapping import ClaimMapping
from proxy.authn.verifier import TokenRules
from proxy.config import Config
from proxy.impersonation import Policy


def plans_of(config: Config, content: bytes | None = None) -> list[Plan]:
    """Return the issuers of a configuration; ``content`` is that of --authentication-config.

    Raises InvalidConfiguration.
    """
    if content is not None:
        # Only who has such a file pays for YAML and for its rules.
        from proxy.authn.configuration.planning import plans_of_file

        return plans_of_file(
            content,
            leeway=config.oidc_clock_skew,
            proxy=config.oidc_http_proxy,
            disallowed_issuers=config.disallowed_issuer,
        )
    rules = TokenRules(
        issuer=config.oidc_issuer_url,
        audiences=frozenset(config.oidc_client_id),
        algorithms=frozenset(config.oidc_signing_algs),
        leeway=config.oidc_clock_skew,
    )
    mapping = ClaimMapping(
        username_claim=config.oidc_username_claim,
        username_prefix=config.oidc_username_prefix,
        groups_claims=config.oidc_groups_claim,
        groups_prefix=config.oidc_groups_prefix,
        required_claims=config.oidc_required_claim,
    )
    settings = IssuerSettings(
        config.oidc_issuer_url,
        config.oidc_discovery_url,
        config.oidc_ca_file,
        config.oidc_http_proxy,
    )
    return [Plan(rules, mapping, settings, config.oidc_jwks_file)]


def policy_of(config: Config) -> Policy:
    """Return what of an identity may be asserted."""
    return Policy(
        authenticated_group=config.authenticated_group,
        groups_allow=config.groups_allow,
        allowed_reserved_groups=frozenset(config.allow_reserved_group),
        reserved_prefixes=config.reserved_prefix,
        send_credential_id=config.send_credential_id,
        send_token_facts=config.send_token_facts,
        max_groups=config.max_groups,
    )


def problems_of_file(content: bytes, config: Config) -> list[str]:
    """Return what is wrong with the content of --authentication-config."""
    try:
        plans_of(config, content)
    except InvalidConfiguration as error:
        return error.problems
    return []
