"""What of a request's and a response's headers may pass.

A request header passes only if it is on the list below: nothing that a client sends under any
other name, in any spelling, can reach the API server. What the proxy must read itself
(credential, framing, upgrade) is sorted out in the same single look at each name, and
impersonation headers are noticed in every spelling that some server on the way might fold into
one (case, and ``_`` for ``-``), so that they can be refused and not merely lost.

A response is the API server's own and passes whole, but for hop-by-hop fields (RFC 9110
section 7.6.1), ``Audit-Id``, which is sent anew, and ``Set-Cookie``: no cookie of a proxied service
may land on Headlamp's origin.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import IntEnum
from typing import Final, TypeVar

Field = tuple[bytes, bytes]  # name as it was spelt, value without surrounding blanks


# A token as a WebSocket subprotocol, for browsers, which cannot set headers
# (k8s.io/apiserver, authentication/request/websocket/protocol.go).
BEARER_PROTOCOL_PREFIX: Final = b"base64url.bearer.authorization.k8s.io."


class Role(IntEnum):
    """What a request header is to this proxy."""

    DROP = 0
    PASS = 1
    AUTHORIZATION = 2
    CONNECTION = 3
    CONTENT_LENGTH = 4
    EXPECT = 5
    HOST = 6
    IMPERSONATION = 7
    TRANSFER_ENCODING = 8
    UPGRADE = 9
    WEBSOCKET_PROTOCOL = 10  # passes, less the bearer subprotocol
    FORWARDED_FOR = 11  # for the logs


_READ_HERE: Final = {
    "authorization": Role.AUTHORIZATION,
    "connection": Role.CONNECTION,
    "content-length": Role.CONTENT_LENGTH,
    "expect": Role.EXPECT,
    "host": Role.HOST,
    "transfer-encoding": Role.TRANSFER_ENCODING,
    "upgrade": Role.UPGRADE,
    "x-forwarded-for": Role.FORWARDED_FOR,
    "sec-websocket-protocol": Role.WEBSOCKET_PROTOCOL,
}

_PASS: Final = frozenset(
    {
        "accept",
        "accept-encoding",
        "accept-language",
        "cache-control",
        "content-encoding",
        "content-type",
        "origin",
        "range",
        "sec-websocket-extensions",
        "sec-websocket-key",
        "sec-websocket-version",
        "traceparent",
        "tracestate",
        "user-agent",
        "x-stream-protocol-version",
    }
)
_PASS_PREFIXES: Final = ("if-", "kubectl-")

# Named by Connection, these would be stripped on the way by whoever honours it (RFC 9110,
# section 7.6.1), and the request would go out as somebody else: CVE-2021-31999, CVE-2022-23652.
_IDENTITY: Final = frozenset({"authorization", "cookie"})
_IDENTITY_PREFIXES: Final = ("impersonate", "x-remote-")

_HOP_BY_HOP: Final = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
# What no operator can let pass: it carries identity, framing or the state of a connection.
_NEVER: Final = frozenset(
    {"audit-id", "forwarded", "http2-settings", "set-cookie", "set-cookie2", "x-real-ip"}
    | _READ_HERE.keys()
    | _IDENTITY
    | {name.decode() for name in _HOP_BY_HOP}
)
_NEVER_PREFIXES: Final = (*_IDENTITY_PREFIXES, "x-forwarded-", "sec-websocket-")

# The client is told the audit ID by this proxy, once, whoever else answers with one.
_RESPONSE_DROP: Final = _HOP_BY_HOP | {b"audit-id", b"set-cookie", b"set-cookie2"}

_REMEMBERED_NAMES = 512
_REMEMBERED_LENGTH = 64  # bytes


def _folded(name: bytes) -> str:
    return name.decode("latin-1").lower().replace("_", "-")


class ResponseRole(IntEnum):
    """What a response header is to this proxy."""

    DROP = 0
    PASS = 1
    CONNECTION = 2
    CONTENT_LENGTH = 3  # passes too, but where there can be none
    TRANSFER_ENCODING = 4
    UPGRADE = 5


_RESPONSE_READ_HERE: Final = {
    b"connection": ResponseRole.CONNECTION,
    b"content-length": ResponseRole.CONTENT_LENGTH,
    b"transfer-encoding": ResponseRole.TRANSFER_ENCODING,
    b"upgrade": ResponseRole.UPGRADE,
}

_R = TypeVar("_R", Role, ResponseRole)


class _Roles(dict[bytes, _R]):
    """The role of each header name, by its spelling on the wire.

    A name is judged once and remembered; the memory is bounded, since names are the sender's.
    """

    def __missing__(self, name: bytes) -> _R:
        role = self._judge(name)
        if len(self) < _REMEMBERED_NAMES and len(name) <= _REMEMBERED_LENGTH:
            self[name] = role
        return role

    def _judge(self, name: bytes) -> _R:
        raise NotImplementedError


class RequestHeaders(_Roles[Role]):
    """The role of each request header. ``extra`` are names that the operator lets pass as well."""

    def __init__(self, extra: Iterable[str] = ()) -> None:
        super().__init__()
        self._pass = _PASS | {name.lower() for name in extra}

    def _judge(self, name: bytes) -> Role:
        lower = name.decode("latin-1").lower()
        if _folded(name).startswith("impersonate"):
            return Role.IMPERSONATION
        if role := _READ_HERE.get(lower):
            return role
        if lower in self._pass or lower.startswith(_PASS_PREFIXES):
            return Role.PASS
        return Role.DROP


class ResponseHeaders(_Roles[ResponseRole]):
    """The role of each response header."""

    def _judge(self, name: bytes) -> ResponseRole:
        lower = name.lower()
        if role := _RESPONSE_READ_HERE.get(lower):
            return role
        return ResponseRole.DROP if lower in _RESPONSE_DROP else ResponseRole.PASS


def may_be_let_pass(name: str) -> bool:
    """Say whether an operator may let one more request header pass, ``_`` counting as ``-``."""
    folded = _folded(name.encode("latin-1", "replace"))
    return folded not in _NEVER and not folded.startswith(_NEVER_PREFIXES)


def connection_options(values: Sequence[bytes]) -> frozenset[bytes]:
    """Return the members of all Connection headers, lower-cased (RFC 9110, section 7.6.1)."""
    return frozenset(
        option
        for value in values
        for member in value.split(b",")
        if (option := member.strip(b" \t").lower())
    )


def names_identity(options: Iterable[bytes]) -> bool:
    """Say whether a Connection option names a header that carries an identity."""
    return any(
        (name := _folded(option)) in _IDENTITY or name.startswith(_IDENTITY_PREFIXES)
        for option in options
    )
