"""An error as a Status object."""

from __future__ import annotations

import json

import pytest

from proxy.errors import (
    KeysUnavailable,
    ProxyError,
    TokenExpired,
    UpstreamTimeout,
    every_error,
)
from proxy.status import status_body


def test_it_is_what_kube_apiserver_would_write() -> None:
    assert json.loads(status_body(TokenExpired("exp was long ago"), "the-id")) == {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": "The token has expired. Reload the page, or sign in again. (audit ID the-id)",
        "reason": "Unauthorized",
        "details": {
            "causes": [
                {
                    "reason": "token_expired",
                    "message": "The token has expired. Reload the page, or sign in again.",
                    "field": "exp",
                }
            ]
        },
        "code": 401,
    }


def message(error: type[ProxyError], *, has_page: bool) -> str:
    return str(json.loads(status_body(error(), "the-id", has_page=has_page))["message"])


def test_where_there_is_a_page_that_says_more_the_message_names_it() -> None:
    assert "/.auth-proxy/whoami" in message(TokenExpired, has_page=True)
    assert "/.auth-proxy/whoami" not in message(TokenExpired, has_page=False)
    assert "/.auth-proxy/whoami" not in message(UpstreamTimeout, has_page=True)


def test_when_to_come_back_is_said_where_it_is_known() -> None:
    assert json.loads(status_body(KeysUnavailable(), "the-id"))["details"]["retryAfterSeconds"] == 5


@pytest.mark.parametrize("error", list(every_error()), ids=lambda error: error.label)
def test_what_is_for_the_log_is_never_in_it(error: type[ProxyError]) -> None:
    assert b"for the log" not in status_body(error("for the log"), "the-id")
