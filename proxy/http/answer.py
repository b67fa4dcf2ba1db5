"""The answers that the proxy gives itself: a ``Status`` and the headers that go with it. Pure."""

from __future__ import annotations

from email.utils import formatdate
from http import HTTPStatus
from typing import Final

from proxy.errors import AuthenticationError, MethodNotAllowed, ProxyError, TokenMissing
from proxy.http.head import METHODS
from proxy.status import status_body

CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"

_ALLOW: Final = f"Allow: {', '.join(sorted(m.decode() for m in METHODS))}\r\n"
_COMMON: Final = (
    "Content-Type: application/json\r\n"
    "Cache-Control: no-store\r\n"
    "X-Content-Type-Options: nosniff\r\n"
)


def refusal(error: ProxyError, *, audit_id: str, method: bytes, close: bool, now: float) -> bytes:
    """Return the whole answer for ``error``; ``now`` in unix seconds, for the Date header."""
    body = status_body(error, audit_id)
    head = [
        f"HTTP/1.1 {error.code} {HTTPStatus(error.code).phrase}\r\n",
        f"Date: {formatdate(now, usegmt=True)}\r\n",
        _COMMON,
        f"Content-Length: {len(body)}\r\n",
        f"Audit-Id: {audit_id}\r\n",
    ]
    if isinstance(error, AuthenticationError):
        head.append(f"WWW-Authenticate: {_challenge(error)}\r\n")
    if isinstance(error, MethodNotAllowed):
        head.append(_ALLOW)
    if error.retry_after is not None:
        head.append(f"Retry-After: {error.retry_after}\r\n")
    if close:
        head.append("Connection: close\r\n")
    head.append("\r\n")
    return "".join(head).encode() + (b"" if method == b"HEAD" else body)


def _challenge(error: AuthenticationError) -> str:
    """Return the Bearer challenge (RFC 6750, section 3): no error code where no token came."""
    realm = 'Bearer realm="headlamp-auth-proxy"'
    return realm if isinstance(error, TokenMissing) else f'{realm}, error="invalid_token"'
