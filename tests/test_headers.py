"""Which headers may pass, in which spelling."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from proxy.headers import (
    RequestHeaders,
    ResponseHeaders,
    ResponseRole,
    Role,
    connection_options,
    names_identity,
)


@pytest.mark.parametrize(
    "name",
    [
        "Accept", "accept-encoding", "ACCEPT-LANGUAGE", "Cache-Control", "Content-Type",
        "Content-Encoding", "If-Match", "If-None-Match", "If-Modified-Since", "Range", "User-Agent",
        "Kubectl-Command", "kubectl-session", "Origin", "Sec-WebSocket-Key",
        "Sec-WebSocket-Version", "Sec-WebSocket-Extensions", "X-Stream-Protocol-Version",
        "traceparent", "tracestate",
    ],
)  # fmt: skip
def test_these_pass_in_any_case(name: str) -> None:
    assert RequestHeaders()[name.encode()] is Role.PASS


@pytest.mark.parametrize(
    "name",
    [
        "Cookie", "X-Remote-User", "X-Remote-Group", "X-Remote-Extra-Scopes", "Forwarded",
        "X-Forwarded-Host", "X-Real-IP", "Keep-Alive", "TE", "Trailer",
        "Proxy-Authorization", "X-HTTP-Method-Override", "Audit-Id", "accept_encoding",
        "authorization_", "transfer_encoding", "X", "\xff",
    ],
)  # fmt: skip
def test_everything_else_is_dropped(name: str) -> None:
    assert RequestHeaders()[name.encode("latin-1")] is Role.DROP


@pytest.mark.parametrize(
    "name",
    [
        "Impersonate-User", "impersonate-group", "IMPERSONATE-UID", "Impersonate_User",
        "impersonate-Extra-scopes", "Impersonate_Extra-x", "Impersonate-Anything-New",
        "impersonate", "ImpersonateUser",
    ],
)  # fmt: skip
def test_impersonation_is_noticed_in_every_spelling(name: str) -> None:
    assert RequestHeaders()[name.encode()] is Role.IMPERSONATION


def test_an_operator_may_let_one_more_pass() -> None:
    headers = RequestHeaders(["X-Team"])
    assert headers[b"x-team"] is Role.PASS
    assert headers[b"x-other"] is Role.DROP


def test_the_memory_of_names_is_bounded() -> None:
    headers = RequestHeaders()
    for n in range(10_000):
        assert headers[b"x-%d" % n] is Role.DROP
    assert len(headers) <= 512


def test_long_names_are_not_remembered() -> None:
    headers = RequestHeaders()
    assert headers[b"x" * 60_000] is Role.DROP
    assert headers[b"impersonate-" + b"x" * 60_000] is Role.IMPERSONATION
    assert len(headers) == 0


@pytest.mark.parametrize(
    ("values", "options"),
    [
        ([], set()),
        ([b"keep-alive"], {b"keep-alive"}),
        ([b"Close, Upgrade"], {b"close", b"upgrade"}),
        ([b" a ,, b\t", b"C"], {b"a", b"b", b"c"}),
    ],
)
def test_connection_members_are_read_from_all_headers(
    values: list[bytes], options: set[bytes]
) -> None:
    assert connection_options(values) == options


@pytest.mark.parametrize(
    ("option", "identity"),
    [
        (b"impersonate-user", True),
        (b"impersonate_group", True),
        (b"authorization", True),
        (b"x-remote-user", True),
        (b"x_remote_extra-a", True),
        (b"cookie", True),
        (b"keep-alive", False),
        (b"upgrade", False),
        (b"accept", False),
    ],
)
def test_connection_may_not_name_an_identity(option: bytes, identity: bool) -> None:
    assert names_identity([b"close", option]) is identity


@pytest.mark.parametrize("spelt", [bytes.title, bytes.lower, bytes.upper])
def test_a_response_loses_hop_by_hop_headers_cookies_and_its_audit_id_only(
    spelt: Callable[[bytes], bytes],
) -> None:
    headers = ResponseHeaders()
    gone = (
        b"audit-id", b"set-cookie", b"set-cookie2", b"keep-alive", b"te", b"trailer",
        b"proxy-connection", b"proxy-authenticate", b"proxy-authorization",
    )  # fmt: skip
    for _ in range(2):
        assert {headers[spelt(name)] for name in gone} == {ResponseRole.DROP}
        assert headers[spelt(b"connection")] is ResponseRole.CONNECTION
        assert headers[spelt(b"transfer-encoding")] is ResponseRole.TRANSFER_ENCODING
        assert headers[spelt(b"upgrade")] is ResponseRole.UPGRADE
        assert headers[spelt(b"content-length")] is ResponseRole.CONTENT_LENGTH
        for name in (b"www-authenticate", b"warning", b"x-set-cookie", b"audit_id"):
            assert headers[spelt(name)] is ResponseRole.PASS
