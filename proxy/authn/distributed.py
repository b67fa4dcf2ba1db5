"""Claims that a token does not carry but points to (OpenID Connect Core 1.0, section 5.6.2).

Only groups claims may be elsewhere, and only where the token does not have them itself. The
token has been verified before anything is read here, so it is its issuer who says where to ask.
Source: kube-apiserver's oidc.go, claimResolver.expand.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from proxy.authn import gojson
from proxy.authn.gotext import cannot_unmarshal
from proxy.errors import DistributedClaimsUnavailable


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a claim is to be had, and the bearer token to ask with (empty: none)."""

    claim: str
    url: str
    access_token: str = field(repr=False)


class ClaimsElsewhere(Exception):
    """What the token says must be completed from ``endpoints`` before it can be mapped."""

    def __init__(self, endpoints: Sequence[Endpoint]) -> None:
        super().__init__("claims are distributed")
        self.endpoints = endpoints


def endpoints(claims: Mapping[str, Any], wanted: Sequence[str]) -> list[Endpoint]:
    """Return where those of the wanted claims are that the token points to.

    A source without an endpoint is an aggregated one, which kube-apiserver does not read. Raises
    DistributedClaimsUnavailable.
    """
    absent = [name for name in wanted if name not in claims]
    if not absent or "_claim_names" not in claims:
        return []
    names = claims["_claim_names"] or {}
    if "_claim_sources" not in claims:
        raise unavailable("oidc: no claim sources")
    sources = claims["_claim_sources"] or {}
    found = [_endpoint(name, names[name], sources) for name in absent if name in names]
    return [endpoint for endpoint in found if endpoint.url]


def unavailable(reason: str) -> DistributedClaimsUnavailable:
    return DistributedClaimsUnavailable(f"oidc: could not expand distributed claims: {reason}")


def _endpoint(claim: str, source_name: str, sources: Mapping[str, Any]) -> Endpoint:
    if source_name not in sources:
        raise unavailable(
            f"id token _claim_names contained a source {source_name!a} missing in _claims_sources"
        )
    members = {"endpoint": "", "access_token": "", "jwt": ""}
    for name, value in (sources[source_name] or {}).items():
        field_name = gojson.fold(name)
        if field_name in members and value is not None:
            if not isinstance(value, str):
                reason = cannot_unmarshal(value, "string")
                raise unavailable(f"oidc: could not parse claim sources: {reason}")
            members[field_name] = value
    return Endpoint(claim, members["endpoint"], members["access_token"])
