"""A compact JWS (RFC 7515), taken apart but not yet believed.

The rules are those of go-jose, through which kube-apiserver reads tokens: unpadded base64url, no
header member twice, and of the header only ``alg`` and ``kid`` mean anything. Keys that a token
brings along or points to (``jwk``, ``jku``, ``x5c``, ``x5u``) are never used. Stricter in one
thing: a payload that is not base64url encoded (RFC 7797, ``b64: false``) is refused.
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass

from proxy import errors
from proxy.authn import gojson
from proxy.limits import HIGHEST_TOKEN_BYTES

MAX_MEMBERS = 256  # of a header or payload; a tsidp token has 17 claims

_BASE64URL = re.compile(rb"[A-Za-z0-9_-]*")
_KNOWN_CRITICAL = ("b64",)
_EMBEDDED = frozenset(("jwk", "x5c", "nonce"))


@dataclass(frozen=True, slots=True)
class UnverifiedToken:
    """What a token says of itself; nothing of it is true before its signature is verified."""

    algorithm: str
    key_id: str  # empty when the token names no key
    members: gojson.Members  # of the payload, in order, duplicates included
    signing_input: bytes
    signature: bytes


def parse(token: bytes) -> UnverifiedToken:
    """Take a token apart. Raises TokenTooLarge or TokenMalformed."""
    if len(token) > HIGHEST_TOKEN_BYTES:  # every byte here is parsed for strangers
        raise errors.TokenTooLarge
    parts = token.split(b".")
    if len(parts) != 3:
        raise errors.TokenMalformed("not three parts")
    header, payload, signature = (_segment(part) for part in parts)
    members = _unique_members(header)
    _check_critical(members)
    if not _EMBEDDED.isdisjoint(members):
        from proxy.authn.embedded import problem  # hardly any token has such members

        if reason := problem(members):
            raise errors.TokenMalformed(f"oidc: verify token: oidc: malformed jwt: {reason}")
    return UnverifiedToken(
        algorithm=_text(members, "alg"),
        key_id=_text(members, "kid"),
        members=_members(payload),
        signing_input=token[: token.rindex(b".")],
        signature=signature,
    )


def decode_base64url(text: bytes) -> bytes | None:
    """Decode unpadded base64url as Go's RawURLEncoding does; None when it is not that."""
    if len(text) % 4 == 1 or not _BASE64URL.fullmatch(text):
        return None
    return base64.urlsafe_b64decode(text + b"=" * (-len(text) % 4))


def _segment(part: bytes) -> bytes:
    decoded = decode_base64url(part)
    if decoded is None:
        raise errors.TokenMalformed("a part is not unpadded base64url")
    return decoded


def _members(document: bytes) -> gojson.Members:
    try:
        members = gojson.parse_object(document)
    except ValueError:
        raise errors.TokenMalformed("header or payload is not a JSON object") from None
    if len(members) > MAX_MEMBERS:
        raise errors.TokenMalformed("header or payload has too many members")
    return members


def _unique_members(header: bytes) -> dict[str, object]:
    members = _members(header)
    unique = dict(members)
    if len(unique) != len(members):
        raise errors.TokenMalformed("a header member comes twice")
    return unique


def _text(header: dict[str, object], name: str) -> str:
    value = header.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise errors.TokenMalformed(f"header member {name} is not a string")
    return value


def _check_critical(header: dict[str, object]) -> None:
    critical = header.get("crit")
    if critical is None:
        critical = []
    if not isinstance(critical, list) or not all(name in _KNOWN_CRITICAL for name in critical):
        raise errors.TokenMalformed("an unknown critical header member (RFC 7515 section 4.1.11)")
    if header.get("b64") not in (None, True):
        raise errors.TokenMalformed("an unencoded payload (RFC 7797)")
