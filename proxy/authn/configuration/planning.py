"""From the content of an ``AuthenticationConfiguration`` to the issuers that it plans."""

from __future__ import annotations

import functools
from collections.abc import Collection

from proxy.algorithms import ALGORITHMS
from proxy.authn.configuration.decoding import NotDecodable, decode
from proxy.authn.configuration.plan import InvalidConfiguration, Plan
from proxy.authn.configuration.validation import Compiler, Validated, validate
from proxy.authn.issuer import IssuerSettings
from proxy.authn.mapping import ClaimMapping
from proxy.authn.verifier import TokenRules


def plans_of_file(
    content: bytes, *, leeway: float, proxy: str | None, disallowed_issuers: Collection[str]
) -> list[Plan]:
    """Return the issuers of an AuthenticationConfiguration. Raises InvalidConfiguration.

    ``leeway`` in seconds and ``proxy`` come from settings beside the file.
    """
    try:
        configuration = decode(content)
    except NotDecodable as error:
        raise InvalidConfiguration(error.problems) from None
    all_validated, problems = validate(configuration, _compiler, disallowed_issuers)
    if problems:
        raise InvalidConfiguration(problems)
    return [_plan(validated, leeway, proxy) for validated in all_validated]


def _plan(validated: Validated, leeway: float, proxy: str | None) -> Plan:
    issuer = validated.authenticator.issuer
    mappings = validated.authenticator.claim_mappings
    rules = TokenRules(issuer.url, frozenset(issuer.audiences), frozenset(ALGORITHMS), leeway)
    mapping = ClaimMapping(
        username_claim=mappings.username.claim,
        username_prefix=mappings.username.prefix or "",
        groups_claims=(mappings.groups.claim,) if mappings.groups.claim else (),
        groups_prefix=mappings.groups.prefix or "",
        required_claims={
            rule.claim: rule.required_value
            for rule in validated.authenticator.claim_validation_rules
            if rule.claim
        },
        uid_claim=mappings.uid.claim,
        expressions=validated.expressions(_compiler),
    )
    settings = IssuerSettings(
        issuer.url,
        issuer.discovery_url or None,
        proxy=proxy,
        ca_pem=issuer.certificate_authority,
    )
    return Plan(rules, mapping, settings)


@functools.cache
def _compiler() -> Compiler:
    """Make the one compiler when it is first asked for: the CEL library is large."""
    from proxy.authn.cel.environment import Environment

    return Environment()
