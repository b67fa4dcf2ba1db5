"""From claims to a ``UserInfo``, by the rules of kube-apiserver's --oidc-* flags (oidc.go).

What comes out is the user that kube-apiserver would see, which may be empty, reserved or
malformed: it is ``impersonation`` that judges whether it can be asserted. The one addition is that
groups may come from several claims; each follows kube-apiserver's rule for one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from proxy import errors
from proxy.authn import gojson
from proxy.userinfo import UserInfo

CREDENTIAL_ID = "authentication.kubernetes.io/credential-id"

Claims = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ClaimMapping:
    """Which claims make the user; names are literal and exact, prefixes are put in front as is."""

    username_claim: str
    username_prefix: str = ""
    groups_claims: tuple[str, ...] = ()
    groups_prefix: str = ""
    required_claims: Mapping[str, str] = field(default_factory=dict)


def user_info(claims: Claims, mapping: ClaimMapping) -> UserInfo:
    """Return the user that the claims speak of.

    Raises UsernameMissing, ClaimMalformed, EmailNotVerified, and last, as kube-apiserver does,
    RequiredClaimMismatch.
    """
    username = mapping.username_prefix + _username(claims, mapping.username_claim)
    groups = tuple(
        mapping.groups_prefix + group
        for from_claim in groups_by_claim(claims, mapping).values()
        for group in from_claim
    )
    _check_required(claims, mapping.required_claims)
    return UserInfo(username, groups=groups, extra=_credential_id(claims))


def groups_by_claim(claims: Claims, mapping: ClaimMapping) -> dict[str, tuple[str, ...]]:
    """Return, for each groups claim that the token has, its groups, without the prefix.

    Raises ClaimMalformed.
    """
    return {
        name: _groups(name, claims[name])
        for name in mapping.groups_claims
        if name in claims or _refuse_distributed(claims, name)
    }


def _username(claims: Claims, name: str) -> str:
    if name not in claims:
        raise errors.UsernameMissing(f"the token has no claim {name}")
    username = _string(name, claims[name])
    if name == "email" and "email_verified" in claims:
        _check_email_verified(claims["email_verified"])
    return username


def _check_email_verified(verified: object) -> None:
    if not isinstance(verified, bool | None):
        raise errors.ClaimMalformed("claim email_verified is not a boolean")
    if not verified:
        raise errors.EmailNotVerified


def _groups(name: str, value: object) -> tuple[str, ...]:
    if value is None:
        return ()
    members = value if isinstance(value, list) else [value]
    return tuple(_string(name, member) for member in members)


def _refuse_distributed(claims: Claims, name: str) -> bool:
    """Refuse groups that would have to be fetched (OpenID Connect Core 5.6.2), else return False.

    kube-apiserver fetches them, from wherever the token says. To leave them out would silently
    make another user of the same token. A source without an endpoint is one it does not fetch.
    """
    names = claims.get("_claim_names")
    if not names or name not in names:
        return False
    sources = claims.get("_claim_sources") or {}
    if names[name] not in sources:
        raise errors.ClaimMalformed(f"claim {name} comes from a source that is not given")
    source = sources[names[name]] or {}
    if any(value for member, value in source.items() if gojson.fold(member) == "endpoint"):
        raise errors.ClaimMalformed(f"claim {name} is distributed, which is not supported")
    return False


def _check_required(claims: Claims, required: Mapping[str, str]) -> None:
    for name, wanted in required.items():
        if name not in claims:
            raise errors.RequiredClaimMismatch(f"required claim {name} is absent")
        if _string(name, claims[name]) != wanted:
            raise errors.RequiredClaimMismatch(f"required claim {name} has another value")


def text(claims: Claims, name: str) -> str:
    """Return a claim that is there and a string, else an empty one."""
    value = claims.get(name)
    return value if isinstance(value, str) else ""


def _credential_id(claims: Claims) -> dict[str, tuple[str, ...]]:
    jti = text(claims, "jti")
    return {CREDENTIAL_ID: (f"JTI={jti}",)} if jti else {}


def _string(name: str, value: object) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise errors.ClaimMalformed(f"claim {name} is not of an accepted type")
    return value
