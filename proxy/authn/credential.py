"""Where the bearer token of a request is, and what is left of the request without it.

Kubernetes knows two places: ``Authorization: Bearer``, and for websockets of browsers, which cannot
set headers, a subprotocol (k8s.io/apiserver pkg/authentication/request/websocket/protocol.go).
kube-apiserver takes the first credential that works; here, a request with more than one is refused,
since whoever stands in between may have looked at the other one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from proxy import errors
from proxy.authn.jws import decode_base64url
from proxy.headers import BEARER_PROTOCOL_PREFIX
from proxy.limits import MAX_TOKEN_BYTES

_SCHEME = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 section 11.1: a token
_TOKEN = re.compile(rb"[A-Za-z0-9._~+/-]+=*")  # RFC 6750 section 2.1: b64token


@dataclass(frozen=True, slots=True)
class Credential:
    """A bearer token, and the Sec-WebSocket-Protocol value to send instead (None: leave it)."""

    token: bytes = field(repr=False)
    protocols: bytes | None = None


def extract(
    authorization: Sequence[bytes],
    websocket_protocols: Sequence[bytes] | None,
    max_bytes: int = MAX_TOKEN_BYTES,
) -> Credential:
    """Return the one credential of a request, whose token has at most ``max_bytes``.

    ``authorization`` holds every Authorization value, without blanks around it;
    ``websocket_protocols`` every Sec-WebSocket-Protocol value of an upgrade to websocket, or
    None for any other request.
    Raises MultipleCredentials, TokenMissing, TokenMalformed or TokenTooLarge.
    """
    if len(authorization) > 1:
        raise errors.MultipleCredentials("several Authorization values")
    in_protocol = _from_protocols(websocket_protocols or ())
    if in_protocol is None:
        token = _from_authorization(authorization[0] if authorization else b"")
        return Credential(_checked(token, max_bytes))
    if authorization:
        raise errors.MultipleCredentials("an Authorization value and a bearer subprotocol")
    _checked(in_protocol.token, max_bytes)
    return in_protocol


def _from_authorization(value: bytes) -> bytes:
    scheme = _SCHEME.match(value)
    if scheme is None or scheme[0].lower() != b"bearer" or scheme.end() == len(value):
        raise errors.TokenMissing
    if value[scheme.end() : scheme.end() + 1] != b" ":
        raise errors.TokenMalformed("no single space after the scheme")
    return value[scheme.end() + 1 :]


def _from_protocols(values: Sequence[bytes]) -> Credential | None:
    """Return the credential in the subprotocols; None if there is none or an empty one."""
    offered = [item.strip(b" \t") for value in values for item in value.split(b",")]
    # Anywhere in it, not just in front: Go trims more than blanks from an item before it looks.
    bearers = [item for item in offered if BEARER_PROTOCOL_PREFIX in item]
    if len(bearers) > 1:
        raise errors.MultipleCredentials("several bearer subprotocols")
    if not bearers or bearers[0] == BEARER_PROTOCOL_PREFIX:
        return None
    token = decode_base64url(bearers[0].removeprefix(BEARER_PROTOCOL_PREFIX))
    if token is None:
        raise errors.TokenMalformed("the bearer subprotocol is not unpadded base64url")
    others = [item for item in offered if item is not bearers[0]]
    if not others:
        raise errors.TokenMalformed("no subprotocol besides the bearer one")
    return Credential(token, b",".join(others))


def _checked(token: bytes, max_bytes: int) -> bytes:
    if len(token) > max_bytes:
        raise errors.TokenTooLarge(f"{len(token)} bytes, at most {max_bytes} pass")
    if not _TOKEN.fullmatch(token):
        raise errors.TokenMalformed("not one token of RFC 6750's characters")
    return token
