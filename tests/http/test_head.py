"""Heads: what is one, what it says, and how it is written."""

from __future__ import annotations

import pytest

from proxy.errors import (
    HeadTooLarge,
    MalformedRequest,
    MethodNotAllowed,
    ProxyError,
    TargetNotOriginForm,
    UpgradeNotSupported,
    UpstreamMalformed,
)
from proxy.headers import RequestHeaders
from proxy.http.head import (
    MAX_MEMBERS,
    RequestHead,
    parse_request,
    parse_response,
)
from proxy.limits import DEFAULTS
from tests.wire import write_request


def request(fields: bytes = b"", line: bytes = b"GET /a HTTP/1.1") -> RequestHead:
    return parse_request(line + b"\r\nHost: x\r\n" + fields + b"\r\n", RequestHeaders())


@pytest.mark.parametrize(
    ("line", "error"),
    [
        (b"GET  /a HTTP/1.1", MalformedRequest),
        (b"GET /a  HTTP/1.1", MalformedRequest),
        (b"GET\t/a HTTP/1.1", MalformedRequest),
        (b"GET /a b HTTP/1.1", MalformedRequest),
        (b"GET /a\x00 HTTP/1.1", MalformedRequest),
        (b"GET /\xc3\xa9 HTTP/1.1", MalformedRequest),
        (b"GET /a", MalformedRequest),
        (b"GET /a HTTP/0.9", MalformedRequest),
        (b"GET /a HTTP/1.2", MalformedRequest),
        (b"GET /a HTTP/2.0", MalformedRequest),
        (b"GET /a HTTP/11", MalformedRequest),
        (b"GET /a http/1.1", MalformedRequest),
        (b"GET /a RTSP/1.0", MalformedRequest),
        (b" GET /a HTTP/1.1", MalformedRequest),
        (b"", MalformedRequest),
        (b"PRI * HTTP/2.0", MalformedRequest),
        (b"get /a HTTP/1.1", MethodNotAllowed),
        (b"TRACE /a HTTP/1.1", MethodNotAllowed),
        (b"CONNECT a:1 HTTP/1.1", MethodNotAllowed),
        (b"SOURCE /a HTTP/1.1", MethodNotAllowed),
        (b"PROPFIND /a HTTP/1.1", MethodNotAllowed),
        (b"BREW /a HTTP/1.1", MethodNotAllowed),
        (b"PLAY /a HTTP/1.1", MethodNotAllowed),
        (b"PRI * HTTP/1.1", MethodNotAllowed),
        (b"GET http://x/a HTTP/1.1", TargetNotOriginForm),
        (b"GET //x/a#b HTTP/1.1", TargetNotOriginForm),
        (b"OPTIONS * HTTP/1.1", TargetNotOriginForm),
    ],
)
def test_a_request_line_has_one_form(line: bytes, error: type[ProxyError]) -> None:
    with pytest.raises(error):
        request(line=line)


@pytest.mark.parametrize(
    "target",
    [b"/", b"//", b"/a/../b", b"/a%2Fb", b"/%2e%2e/", b"/a;b=c", b"/?a=b&a=c", b"/a?b?c", b"/%zz",
     b"/system:masters", b"/{}|^`\"<>\\"],
)  # fmt: skip
def test_a_target_passes_as_it_came(target: bytes) -> None:
    head = request(line=b"GET %s HTTP/1.1" % target)
    assert head.target == target
    written = write_request(head, authority=b"x", credential=b"", identity=b"", audit_id="1-2")
    assert written.startswith(b"GET %s HTTP/1.1\r\n" % target)


@pytest.mark.parametrize(
    "fields",
    [
        b"Content-Length: 1\r\nContent-Length: 1\r\n",
        b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: chunked\r\nContent-Length: 1\r\n",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: chunked, chunked\r\n",
        b"Transfer-Encoding: gzip, chunked\r\n",
        b"Transfer-Encoding: identity\r\n",
        b"Transfer-Encoding: xchunked\r\n",
        b"Transfer-Encoding:\r\n",
        b"Content-Length: +1\r\n",
        b"Content-Length: -1\r\n",
        b"Content-Length: 0x1\r\n",
        b"Content-Length: 1, 1\r\n",
        b"Content-Length: 1 1\r\n",
        b"Content-Length:\r\n",
        b"Content-Length: 9999999999999999999\r\n",
        b"Content-Length : 1\r\n",
        b"X: a\r\n b\r\n",
        b"X: a\rb\r\n",
        b"X: a\nY: b\r\n",
        b"X: a\0b\r\n",
        b"X\0: a\r\n",
        b"X y: a\r\n",
        b"nonsense\r\n",
        b": a\r\n",
        b"Host: y\r\n",
        b"Connection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 1\r\n",
        b"Connection: upgrade\r\nUpgrade: websocket\r\nTransfer-Encoding: chunked\r\n",
    ],
)
def test_fields_that_could_be_read_in_two_ways_are_refused(fields: bytes) -> None:
    with pytest.raises(MalformedRequest):
        request(fields)


def test_http10_has_no_chunks_no_continue_and_no_upgrade() -> None:
    line = b"GET / HTTP/1.0"
    with pytest.raises(MalformedRequest):
        request(b"Transfer-Encoding: chunked\r\n", line)
    head = request(
        b"Expect: 100-continue\r\nConnection: upgrade, keep-alive\r\nUpgrade: websocket\r\n", line
    )
    assert (head.expects_continue, head.upgrade, head.keep_alive) == (False, None, False)
    assert parse_request(line + b"\r\n\r\n", RequestHeaders()).target == b"/"


def test_an_http11_request_names_its_host_once() -> None:
    with pytest.raises(MalformedRequest):
        parse_request(b"GET / HTTP/1.1\r\n\r\n", RequestHeaders())


def test_too_many_fields_are_refused() -> None:
    with pytest.raises(HeadTooLarge):
        request(b"X: y\r\n" * DEFAULTS.head_fields)


@pytest.mark.parametrize("name", [b"Connection", b"Sec-WebSocket-Protocol"])
def test_a_list_that_is_taken_apart_has_a_greatest_length(name: bytes) -> None:
    request(b"%s: %sa\r\n" % (name, b"a," * (MAX_MEMBERS - 1)))
    with pytest.raises(HeadTooLarge):
        request(b"%s: %sa\r\n" % (name, b"," * MAX_MEMBERS))
    with pytest.raises(HeadTooLarge):
        request(b"%s: a\r\n" % name * (MAX_MEMBERS + 1))


@pytest.mark.parametrize(
    ("fields", "upgrade"),
    [
        (b"Connection: Upgrade\r\nUpgrade: WebSocket\r\n", b"websocket"),
        (b"Connection: a, UPGRADE\r\nUpgrade: spdy/3.1\r\n", b"SPDY/3.1"),
        (b"Upgrade: h2c\r\n", None),
        (b"Connection: Upgrade\r\n", None),
    ],
)
def test_an_upgrade_needs_both_headers(fields: bytes, upgrade: bytes | None) -> None:
    assert request(fields).upgrade == upgrade


@pytest.mark.parametrize(
    "upgrade", [b"h2c", b"TLS/1.0", b"websocket, SPDY/3.1", b"", b"SPDY/3.1\r\nUpgrade: websocket"]
)
def test_only_websocket_and_spdy_can_be_upgraded_to(upgrade: bytes) -> None:
    with pytest.raises(UpgradeNotSupported):
        request(b"Connection: Upgrade\r\nUpgrade: %s\r\n" % upgrade)


@pytest.mark.parametrize(
    ("protocols", "upgrade", "passes"),
    [
        (b"v5.channel.k8s.io", True, True),
        (b"v5.channel.k8s.io", False, True),
        (b"base64url.bearer.authorization.k8s.io.dG9rZW4, v5.channel.k8s.io", False, False),
    ],
)
def test_a_subprotocol_that_nobody_will_search_for_a_token_holds_none(
    protocols: bytes, upgrade: bool, passes: bool
) -> None:
    field = b"Sec-WebSocket-Protocol: %s\r\n" % protocols
    asking = b"Connection: Upgrade\r\nUpgrade: websocket\r\n" if upgrade else b""
    head = request(field + asking)
    written = write_request(head, authority=b"x", credential=b"", identity=b"", audit_id="1-2")
    assert (field in written) is passes


def test_what_connection_names_does_not_pass() -> None:
    head = request(b"Accept: a\r\nConnection: Accept\r\nUser-Agent: b\r\n")
    assert head.passing == ((b"User-Agent", b"b"),)


def test_a_subprotocol_that_connection_names_does_not_pass_either() -> None:
    """Nor is a token looked for in what should have ended with the hop before."""
    head = request(
        b"Connection: Upgrade, Sec-WebSocket-Protocol\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Protocol: base64url.bearer.authorization.k8s.io.dG9rZW4, x\r\n"
    )
    assert head.websocket_protocols == ()


def test_secrets_are_not_in_the_repr() -> None:
    head = request(b"Authorization: Bearer secret\r\nSec-WebSocket-Protocol: secret\r\n")
    assert "secret" not in repr(head)


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/2 200 OK\r\n\r\n",
        b"HTTP/2.0 200 OK\r\n\r\n",
        b"HTTP/1.1 20 OK\r\n\r\n",
        b"ICY 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: a\nY: b\r\n\r\n",
    ],
)
def test_a_malformed_response_is_refused(head: bytes) -> None:
    with pytest.raises(UpstreamMalformed):
        parse_response(head)


def test_a_response_does_not_lose_its_length_to_its_connection_header() -> None:
    """The client would have nothing to tell it where the answer ends."""
    head = parse_response(
        b"HTTP/1.1 200 OK\r\nConnection: Content-Length, x\r\nX: y\r\nContent-Length: 2\r\n\r\n"
    )
    assert head.passing == (b"Content-Length: 2",)


@pytest.mark.parametrize("status", [b"100 Continue", b"103 Hints", b"204 No"])
def test_a_response_that_has_no_body_says_no_length(status: bytes) -> None:
    head = parse_response(b"HTTP/1.1 " + status + b"\r\nContent-Length: 5\r\nX: y\r\n\r\n")
    assert head.passing == (b"X: y",)


def test_a_response_keeps_its_words() -> None:
    head = parse_response(b"HTTP/1.1 418 I'm a teapot\r\nUpgrade: x\r\nVia: y\r\n\r\n")
    assert (head.status, head.line, head.upgrade) == (418, b"HTTP/1.1 418 I'm a teapot", b"x")
    assert head.passing == (b"Via: y",)


def test_headers_that_look_like_impersonation_are_kept_apart_in_order_and_as_they_are_spelt() -> (
    None
):
    head = request(
        b"Impersonate-User: bob \r\nAccept: */*\r\nimpersonate_group: a\r\n"
        b"IMPERSONATE-GROUP:\r\nX-Impersonate-User: eve\r\n"
    )
    assert head.impersonates
    assert head.impersonation == (
        (b"Impersonate-User", b"bob"),
        (b"impersonate_group", b"a"),
        (b"IMPERSONATE-GROUP", b""),
    )
    assert head.passing == ((b"Accept", b"*/*"),)
    assert not request(b"Accept: */*\r\n").impersonates
