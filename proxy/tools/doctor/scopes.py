"""What tokens must carry for these settings, and whether they can: tsidp's claims, and scopes.

Pure. What is known of the issuer is its discovery document, of Headlamp the scopes that it asks
for, if those are known.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from proxy.authn.mapping import ClaimMapping
from proxy.tools.doctor import causes
from proxy.tools.doctor.tsidp import (
    BY_SCOPE,
    NEVER,
    PROTECTED,
    gates_by_scope,
    grant_for_groups,
    is_tsidp,
)
from proxy.tools.doctor.verdict import Verdict, failed, noted

Metadata = Mapping[str, Any]


def claims_and_scopes(
    mapping: ClaimMapping,
    metadata: Metadata,
    scopes: Sequence[str] | None,
    *,
    is_proven: bool = False,
) -> Iterator[Verdict]:
    """Yield what keeps the configured claims out of tokens.

    ``is_proven`` says that a token was taken: what names its user has come.
    """
    if is_tsidp(metadata):
        yield from _never(mapping)
    if not is_proven:
        yield from _by_scope(mapping, metadata, scopes)
    if scopes is not None:
        said = () if is_proven else _needed(mapping)
        yield from _unsupported(metadata, scopes, {BY_SCOPE[claim] for claim in said})


def _never(mapping: ClaimMapping) -> Iterator[Verdict]:
    """What no token of tsidp can have, however it is asked for."""
    claim = mapping.username_claim
    if claim in NEVER or claim in {"name", "upn", "unique_name", "username"}:
        yield failed(
            causes.CLAIM_NEVER_ARRIVES,
            f"the user is read from the claim {claim}, which tsidp never issues",
            "--oidc-username-claim=email",
        )
    groups = mapping.groups_claims
    if groups and all(name in PROTECTED for name in groups):
        cause = causes.TAGS_NEVER_ARRIVE if "tags" in groups else causes.CLAIM_NEVER_ARRIVES
        yield failed(
            cause,
            f"groups are read from {' and '.join(groups)} alone: tsidp issues no groups there, and "
            "a grant that tries to breaks every login",
            f"--oidc-groups-claim=groups  # and in the tailnet's policy: {grant_for_groups()}",
        )
    for name, value in mapping.required_claims.items():
        if name == "tailnet" and not value.endswith("."):
            yield failed(
                causes.TAILNET_WITHOUT_DOT,
                f"tailnet must be {value!a}, and tsidp writes it with a dot at the end",
                f"--oidc-required-claim=tailnet={value}.",
            )
        elif name in NEVER:
            yield failed(
                causes.CLAIM_NEVER_ARRIVES,
                f"the claim {name} is required, which tsidp never issues",
                f"remove --oidc-required-claim={name}={value}",
            )


def _needed(mapping: ClaimMapping) -> list[str]:
    """Return the claims that there must be and that come with a scope."""
    return sorted({mapping.username_claim, *mapping.required_claims} & BY_SCOPE.keys())


def _by_scope(
    mapping: ClaimMapping, metadata: Metadata, scopes: Sequence[str] | None
) -> Iterator[Verdict]:
    """What comes with a scope only, which Headlamp does not ask for."""
    for claim in _needed(mapping):
        scope = BY_SCOPE[claim]
        if scopes is not None and scope not in scopes:
            found = causes.EMAIL_SCOPE_MISSING if claim == "email" else causes.SCOPE_MISSING
            asked = " ".join(scopes) or "(none)"
            saw = f"Headlamp asks for the scopes {asked}; {claim} comes with {scope}"
            wanted = ",".join(dict.fromkeys([*(s for s in scopes if s != "openid"), scope]))
            mend = (
                f"-oidc-scopes={wanted}  # Headlamp's flag; in the Secret of its chart: "
                f"OIDC_SCOPES={wanted}"
            )
            older = is_tsidp(metadata) and not gates_by_scope(metadata)
            yield (
                noted(found, f"{saw} in newer tsidps", mend) if older else failed(found, saw, mend)
            )
            continue
        supported = metadata.get("scopes_supported")
        if isinstance(supported, list) and scope not in supported:
            saw = f"the issuer lists the scopes {' '.join(map(str, supported))}, without {scope}"
            mend = f"let the issuer offer the scope {scope} to Headlamp's client"
            found = causes.EMAIL_SCOPE_MISSING if claim == "email" else causes.SCOPE_MISSING
            yield failed(found, f"{saw}, with which {claim} comes", mend)


def _unsupported(
    metadata: Metadata, scopes: Sequence[str], needed: Collection[str]
) -> Iterator[Verdict]:
    """Scopes that tsidp answers with ``invalid_scope``; others say at the endpoint what they do.

    Of those that are ``needed``, it has been said that the issuer must offer them.
    """
    supported = metadata.get("scopes_supported")
    if not gates_by_scope(metadata) or not isinstance(supported, list):
        return
    refused = [s for s in scopes if s not in supported and s not in needed]
    if refused:
        good = ",".join(s for s in scopes if s in supported and s != "openid")
        yield failed(
            causes.SCOPE_UNSUPPORTED,
            f"Headlamp asks for {' '.join(refused)}, and tsidp refuses a login with unknown scopes",
            f"-oidc-scopes={good}  # Headlamp's flag; in its Secret: OIDC_SCOPES={good}",
        )
