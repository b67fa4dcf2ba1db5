"""The answers that the proxy gives itself: a ``Status`` and the headers that go with it. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from email.utils import formatdate
from http import HTTPStatus
from typing import Final

from proxy.errors import (
    AuthenticationError,
    MethodNotAllowed,
    PageMethodNotAllowed,
    ProxyError,
    TokenMissing,
)
from proxy.http.head import METHODS
from proxy.status import status_body

CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"

_ALLOW: Final = f"Allow: {', '.join(sorted(m.decode() for m in METHODS))}\r\n"
_ALLOW_ON_PAGE: Final = "Allow: GET, HEAD\r\n"
_COMMON: Final = (
    "Content-Type: application/json\r\n"
    "Cache-Control: no-store\r\n"
    "X-Content-Type-Options: nosniff\r\n"
)


@dataclass(frozen=True, slots=True)
class Document:
    """A page of our own: what goes below the head, and the header lines that go with it."""

    body: bytes
    header: str


def document(page: Document, *, audit_id: str, method: bytes, close: bool, now: float) -> bytes:
    """Return a page as the whole answer; ``now`` in unix seconds, for the Date header."""
    head = [
        "HTTP/1.1 200 OK\r\n",
        f"Date: {formatdate(now, usegmt=True)}\r\n",
        f"Audit-Id: {audit_id}\r\n",
        page.header,
        f"Content-Length: {len(page.body)}\r\n",
        "Connection: close\r\n" if close else "",
        "\r\n",
    ]
    return "".join(head).encode() + (b"" if method == b"HEAD" else page.body)


def refusal(
    error: ProxyError,
    *,
    audit_id: str,
    method: bytes,
    close: bool,
    now: float,
    has_page: bool = False,
) -> bytes:
    """Return the whole answer for ``error``; ``now`` in unix seconds, for the Date header.

    ``has_page``: there is a page that says more, and the message may name it.
    """
    body = status_body(error, audit_id, has_page=has_page)
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
    if isinstance(error, PageMethodNotAllowed):
        head.append(_ALLOW_ON_PAGE)
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
