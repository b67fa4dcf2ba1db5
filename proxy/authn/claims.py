"""The registered claims, with the types that go-oidc's struct gives them (oidc.go, idToken).

kube-apiserver decodes a payload twice: once into that struct, where names match in any case and a
wrong type spoils the token even if nobody asked for the claim, and once into the exact map from
which users are made. This module is the first of the two; ``mapping`` reads the second.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from proxy import errors
from proxy.authn import gojson
from proxy.authn.gotext import cannot_unmarshal

# Beyond this, Go's time wraps around into the past (time.Time counts from the year 1 in an int64).
LAST_UNIX_SECOND = 2**63 - 1 - 62_135_596_800

_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_INT64_DIGITS = 20


@dataclass(slots=True)
class RegisteredClaims:
    """Times are whole unix seconds; None is a claim that is absent."""

    issuer: str = ""
    audience: tuple[str, ...] = ()
    expiry: int | None = None
    not_before: int | None = None
    sources: dict[str, str] = field(default_factory=dict)  # claim -> where it is to be had
    known_sources: set[str] = field(default_factory=set)


def registered_claims(members: gojson.Members) -> RegisteredClaims:
    """Read the registered claims, the later of two winning. Raises ClaimMalformed."""
    claims = RegisteredClaims()
    for name, value in members:
        _read(claims, gojson.fold(name), value)
    if not set(claims.sources.values()) <= claims.known_sources:
        raise malformed("source does not exist")
    return claims


def malformed(reason: str) -> errors.ClaimMalformed:
    return errors.ClaimMalformed(f"oidc: verify token: oidc: {reason}")


def _read(claims: RegisteredClaims, field_name: str, value: Any) -> None:
    match field_name:
        case "iss":
            claims.issuer = claims.issuer if value is None else _string(field_name, value)
        case "sub" | "nonce" | "at_hash":
            _string(field_name, value)
        case "aud":
            claims.audience = _audience(value)
        case "exp":
            claims.expiry = _seconds(field_name, value)
        case "iat":
            _seconds(field_name, value)
        case "nbf":
            claims.not_before = None if value is None else _seconds(field_name, value)
        case "_claim_names":
            for source in _object(field_name, value).values():
                if not _string(field_name, source):
                    raise malformed("failed to obtain source from claim name")
            claims.sources |= _object(field_name, value)
        case "_claim_sources":
            claims.known_sources |= _sources(_object(field_name, value))


def _string(name: str, value: object) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise malformed(
            f"failed to unmarshal claims: claim {name}: {cannot_unmarshal(value, 'string')}"
        )
    return value


def _object(name: str, value: object) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise malformed(
            f"failed to unmarshal claims: claim {name}: {cannot_unmarshal(value, 'object')}"
        )
    return value


def _sources(sources: Mapping[str, Any]) -> set[str]:
    for source in sources.values():
        for name, value in _object("_claim_sources", source).items():
            if gojson.fold(name) in ("endpoint", "access_token"):
                _string("_claim_sources", value)
    return set(sources)


def _audience(value: object) -> tuple[str, ...]:
    members = value if isinstance(value, list) else [value]
    return tuple(_string("aud", member) for member in members)


def _seconds(name: str, value: object) -> int:
    """Read a number, also one in quotes; a fraction is cut off."""
    number = _unquoted(value) if isinstance(value, str) else value
    if isinstance(number, bool) or not isinstance(number, int | float):
        raise malformed(
            f"failed to unmarshal claims: claim {name}: {cannot_unmarshal(value, 'oidc.jsonTime')}"
        )
    if abs(number) > sys.float_info.max:  # infinite, or an int that no float holds
        raise malformed(f"failed to unmarshal claims: claim {name}: the number is out of range")
    return int(number)


def _unquoted(text: str) -> int | float | None:
    literal = _NUMBER.fullmatch(text)
    if literal is None:
        return None
    is_small_integer = literal[1] is None and literal[2] is None and len(text) <= _INT64_DIGITS
    return int(text) if is_small_integer else float(text)
