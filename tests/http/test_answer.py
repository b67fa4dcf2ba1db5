"""The answers that the proxy gives itself."""

from __future__ import annotations

import h11
import pytest

from proxy.errors import (
    ImpersonationNotAllowed,
    KeysUnavailable,
    MethodNotAllowed,
    ProxyError,
    TokenExpired,
    TokenMissing,
    every_error,
)
from proxy.http.answer import refusal
from proxy.status import status_body

NOW = 1_790_000_000.0
AUDIT_ID = "0f8fad5b-d9cb-469f-a165-70867728950e"


def answer(error: ProxyError, *, method: bytes = b"GET", close: bool = False) -> bytes:
    return refusal(error, audit_id=AUDIT_ID, method=method, close=close, now=NOW)


def read(answer: bytes, method: str = "GET") -> tuple[int, dict[str, str], bytes]:
    """Read a whole answer with another parser; nothing may be left over."""
    parser = h11.Connection(h11.CLIENT)
    parser.send(h11.Request(method=method, target="/", headers=[("host", "x")]))
    parser.send(h11.EndOfMessage())
    parser.receive_data(answer)
    head, body = parser.next_event(), b""
    assert isinstance(head, h11.Response)
    while isinstance(event := parser.next_event(), h11.Data):
        body += bytes(event.data)
    assert isinstance(event, h11.EndOfMessage)
    assert parser.trailing_data[0] == b""
    return head.status_code, {k.decode(): v.decode() for k, v in head.headers}, body


@pytest.mark.parametrize("error", list(every_error()), ids=lambda error: error.label)
def test_every_error_is_a_whole_answer(error: type[ProxyError]) -> None:
    status, headers, body = read(answer(error()))
    assert status == error.code
    assert body == status_body(error(), AUDIT_ID)
    assert headers["content-type"] == "application/json"
    assert headers["cache-control"] == "no-store"
    assert headers["audit-id"] == AUDIT_ID
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["date"] == "Mon, 21 Sep 2026 14:13:20 GMT"
    assert "connection" not in headers


@pytest.mark.parametrize(
    ("error", "name", "value"),
    [
        (TokenMissing(), "www-authenticate", 'Bearer realm="headlamp-auth-proxy"'),
        (
            TokenExpired(),
            "www-authenticate",
            'Bearer realm="headlamp-auth-proxy", error="invalid_token"',
        ),
        (KeysUnavailable(), "retry-after", "5"),
        (MethodNotAllowed(), "allow", "DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT"),
        (ImpersonationNotAllowed(), "www-authenticate", None),
        (TokenMissing(), "retry-after", None),
    ],
)
def test_what_goes_with_an_error(error: ProxyError, name: str, value: str | None) -> None:
    headers = read(answer(error))[1]
    assert headers.get(name) == value


def test_to_head_the_length_is_said_and_the_body_left_out() -> None:
    _, headers, body = read(answer(TokenMissing(), method=b"HEAD"), method="HEAD")
    assert (headers["content-length"], body) == (
        str(len(status_body(TokenMissing(), AUDIT_ID))),
        b"",
    )


def test_the_last_answer_says_that_it_is_the_last() -> None:
    headers = read(answer(TokenMissing(), close=True))[1]
    assert headers["connection"] == "close"
