"""The last look at a head that leaves, for a client who speaks with a token of its own."""

from __future__ import annotations

import pytest

from proxy.errors import Internal
from proxy.impersonation import Policy, impersonate
from proxy.speaker import OnBehalf, PassedThrough
from proxy.userinfo import UserInfo

ROBOT = PassedThrough("robot", ("robots",), b"Authorization: Bearer the-clients\r\n")
GOOD = b"GET / HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer the-clients\r\nAccept: */*\r\n\r\n"
ACCEPT = b"Accept: */*"


@pytest.mark.parametrize(
    "head",
    [
        pytest.param(GOOD.replace(b"the-clients", b"the-proxys"), id="another token"),
        pytest.param(GOOD.replace(ROBOT.credential, b""), id="no token"),
        pytest.param(GOOD.replace(ACCEPT, b"authorization: Bearer u"), id="a second one"),
        pytest.param(GOOD.replace(ACCEPT, b"Impersonate-User: root"), id="an identity"),
        pytest.param(GOOD.replace(ACCEPT, b"impersonate_group: a"), id="an underscore"),
        pytest.param(GOOD.replace(ACCEPT, b"X-Remote-User: root"), id="a front proxy's"),
        pytest.param(GOOD.replace(ACCEPT, b"Accept: a\nImpersonate-User: b"), id="a bare LF"),
        pytest.param(
            GOOD.replace(ACCEPT, b"Content-Length: 1\r\nTransfer-Encoding: chunked"),
            id="two lengths",
        ),
        pytest.param(GOOD + b"GET / HTTP/1.1\r\n\r\n", id="a second head"),
        pytest.param(GOOD[:-2], id="no end"),
    ],
)
def test_a_head_with_more_or_less_than_the_clients_token_never_leaves(head: bytes) -> None:
    ROBOT.verify(GOOD)
    with pytest.raises(Internal):
        ROBOT.verify(head)


@pytest.mark.parametrize("credential", [b"", b"Host: x\r\n", b"Accept: */*\r\n"])
def test_what_is_no_token_is_not_passed_through(credential: bytes) -> None:
    with pytest.raises(Internal):
        PassedThrough("robot", (), credential).verify(GOOD)


def test_neither_kind_shows_a_token_when_it_is_printed() -> None:
    identity = impersonate(UserInfo("alice"), Policy("own"))
    assert "the-clients" not in repr(ROBOT)
    assert "ours" not in repr(OnBehalf(b"Authorization: Bearer ours\r\n", identity))


def test_a_client_that_is_passed_through_asserts_nothing() -> None:
    assert ROBOT.header == b""
    assert ROBOT.original == ""
