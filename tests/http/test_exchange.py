"""One request and its answer, as both ends see them."""

from __future__ import annotations

import asyncio
import json
import re
import socket
from collections.abc import Awaitable
from dataclasses import replace
from typing import cast

import pytest

from proxy.http.answer import Document
from proxy.http.head import RequestHead, ResponseHead, parse_response
from proxy.http.service import Admission
from proxy.http.upstream import Owner, UpstreamConnection
from tests.http.conftest import AUDIT_ID, CREDENTIAL, Proxy, identity
from tests.http.memory import Wire, World

GET = b"GET /api/v1/pods HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer alice\r\n\r\n"
POST = b"POST /api/v1/pods HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer alice\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


async def test_the_head_that_leaves_is_made_of_what_may_pass_and_nothing_else(proxy: Proxy) -> None:
    client = await proxy.client()
    client.send(
        b"GET /api/v1/namespaces/a%2Fb//./pods?x=%20&x=1 HTTP/1.1\r\n"
        b"Host: whatever\r\nAccept: application/json\r\nX-Forwarded-For: 1.2.3.4\r\n"
        b"Authorization: Bearer alice\r\nCookie: secret=1\r\nX-Remote-User: root\r\n"
        b"Connection: keep-alive, X-Hop\r\nX-Hop: 1\r\nUser-Agent: kubectl \r\n\r\n"
    )
    api = await proxy.upstream.connection()
    sent = await api.read_head()
    (audit_id,) = re.findall(AUDIT_ID, sent)
    lines = b"Host: cluster.example\r\nAudit-Id: %s\r\n" % audit_id
    assert sent == (
        b"GET /api/v1/namespaces/a%2Fb//./pods?x=%20&x=1 HTTP/1.1\r\n"
        + lines
        + CREDENTIAL
        + identity("alice").header
        + b"Accept: application/json\r\nUser-Agent: kubectl\r\n\r\n"
    )
    api.send(
        b"HTTP/1.1 200 OK\r\nAudit-Id: 7\r\nSet-Cookie: a=b\r\nKeep-Alive: 5\r\n"
        b"Connection: X-Gone\r\nX-Gone: 1\r\nContent-Length: 2\r\n\r\nok"
    )
    assert await client.read_until(b"ok") == (
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nAudit-Id: %s\r\n\r\nok" % audit_id
    )


async def test_each_request_has_an_audit_id_of_its_own_on_both_sides(proxy: Proxy) -> None:
    """Whatever a client or the API server says; a request that is sent again keeps its own."""
    client, api = await proxy.asked(GET.replace(b"\r\n\r\n", b"\r\nAudit-ID: mine\r\n\r\n"))
    api.send(OK.replace(b"\r\n\r\n", b"\r\nAUDIT-ID: theirs\r\n\r\n"))
    first = (await client.answer()).headers["audit-id"]
    client.send(GET)
    (sent,) = re.findall(AUDIT_ID, await api.read_head())
    await api.end("reset")
    api = await proxy.upstream.connection()
    assert re.findall(AUDIT_ID, await api.read_head()) == [sent]
    api.send(OK)
    second = (await client.answer()).headers["audit-id"]
    assert second == sent.decode()
    seen = await proxy.seen.ended_exchanges(2)
    assert [exchange.audit_id for exchange in seen] == [first, second]
    assert first != second
    assert "mine" not in first


async def test_a_refusal_tells_its_audit_id_to_people_and_programs(proxy: Proxy) -> None:
    client = await proxy.client()
    client.send(GET.replace(b"Authorization", b"X"))
    answer = await client.answer()
    (exchange,) = await proxy.seen.ended_exchanges(1)
    assert answer.headers["audit-id"] == exchange.audit_id
    assert exchange.audit_id in json.loads(answer.body)["message"]
    client.send(b"no request\r\n\r\n")
    answer = await client.answer()
    assert answer.headers["audit-id"] in json.loads(answer.body)["message"]


@pytest.mark.parametrize("header", [b"", b"Impersonate-Group: developers\r\n"])
async def test_a_head_that_does_not_say_who_never_leaves(proxy: Proxy, header: bytes) -> None:
    """Whatever went wrong before: the API server would serve it as the proxy itself."""
    client, api = await proxy.asked(GET)
    api.send(OK)
    await client.answer()
    proxy.gate.header = header
    client.send(GET)
    answer = await client.answer()
    assert answer.status == 500
    assert b"internal" in answer.body
    assert await api.ended()  # and not a byte of a second head


@pytest.mark.parametrize("later", [False, True])
async def test_whatever_breaks_while_it_is_asked_who_is_there_nothing_is_sent(
    proxy: Proxy, monkeypatch: pytest.MonkeyPatch, later: bool
) -> None:
    async def fail() -> Admission:
        raise RuntimeError("alice's secret")

    def admit(_head: RequestHead, _now: float) -> Awaitable[Admission]:
        if later:
            return fail()
        raise RuntimeError("alice's secret")

    monkeypatch.setattr(proxy.gate, "admit", admit)
    client = await proxy.client()
    client.send(GET)
    answer = await client.answer()
    assert answer.status == 500
    assert b"secret" not in answer.body
    assert proxy.upstream.accepted == 0


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_the_clients_to_follow(proxy: Proxy, status: int) -> None:
    client, api = await proxy.asked(GET)
    location = b"https://127.0.0.1:%d/elsewhere" % proxy.upstream.port
    api.send(b"HTTP/1.1 %d Moved\r\nLocation: %s\r\nContent-Length: 0\r\n\r\n" % (status, location))
    answer = await client.answer()
    assert (answer.status, answer.headers["location"]) == (status, location.decode())
    client.send(GET)
    assert (await api.read_head()).startswith(b"GET /api/v1/pods ")  # and not /elsewhere
    assert proxy.upstream.accepted == 1


async def test_who_a_client_is_comes_from_its_connection_and_not_from_its_headers(
    proxy: Proxy,
) -> None:
    spoof = (
        b"\r\nX-Forwarded-For: 10.9.9.9\r\nForwarded: for=10.9.9.9\r\nX-Real-IP: 10.9.9.9\r\n\r\n"
    )
    client = await proxy.client()
    client.send(GET.replace(b"\r\n\r\n", spoof))
    api = await proxy.upstream.connection()
    assert b"10.9.9.9" not in await api.read_head()
    api.send(OK)
    await client.answer()
    (exchange,) = await proxy.seen.ended_exchanges(1)
    assert exchange.client.address == "127.0.0.1"


async def test_connections_are_kept_alive_on_both_sides(proxy: Proxy) -> None:
    client = await proxy.client()
    client.send(GET)
    api = await proxy.upstream.connection()
    for _ in range(3):
        await api.read_head()
        api.send(OK)
        assert (await client.answer()).body == b"ok"
        client.send(GET)
    assert proxy.upstream.accepted == 1
    assert proxy.listener.accepted == 1


async def test_a_watch_event_passes_at_once(proxy: Proxy) -> None:
    client, api = await proxy.asked(GET.replace(b"pods", b"pods?watch=1"))
    api.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    assert b"Transfer-Encoding: chunked" in await client.read_head()
    for event in (b'{"type":"ADDED"}\n', b'{"type":"BOOKMARK"}\n'):
        api.send(b"%x\r\n%s" % (len(event), event))  # not even the chunk's end has come
        assert await client.read_until(b"}\n\r\n") == b"%x\r\n%s\r\n" % (len(event), event)
        api.send(b"\r\n")
    api.send(b"0\r\nTrailer: x\r\n\r\n")
    assert await client.read_until(b"0\r\n\r\n") == b"0\r\n\r\n"


@pytest.mark.parametrize("framed", [b"%x\r\n%b\r\n", b"0%x;x\r\n%b\r\n"])
async def test_a_watch_event_in_a_chunk_of_its_own_passes_in_one(
    proxy: Proxy, framed: bytes
) -> None:
    client, api = await proxy.asked(GET.replace(b"pods", b"pods?watch=1"))
    api.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    await client.read_head()
    event = b'{"type":"ADDED"}\n'
    for _ in range(2):
        api.send(framed % (len(event), event))
        assert await client.read_until(b"}\n\r\n") == b"%x\r\n%s\r\n" % (len(event), event)
    api.send(b"0\r\n\r\n")
    assert await client.read_until(b"0\r\n\r\n") == b"0\r\n\r\n"
    await proxy.seen.until(lambda: bool(proxy.seen.exchanges))
    assert proxy.seen.exchanges[0].bytes_sent > 2 * len(event)


class Told(Owner):
    """An owner that keeps what it is told of a body."""

    def __init__(self) -> None:
        self.method = b"GET"
        self.chunks: list[bytes] = []
        self.parts: list[bytes] = []

    def response_head(self, head: ResponseHead, parts: list[bytes], done: bool) -> None:
        self.parts += parts

    def response_content(self, parts: list[bytes], done: bool) -> None:
        self.parts += parts

    def response_chunk(self, chunk: bytes) -> None:
        self.chunks.append(chunk)


class Idle(asyncio.Transport):
    """A transport that takes everything and brings nothing."""

    def write(self, data: bytes | bytearray | memoryview) -> None: ...


@pytest.mark.parametrize(
    ("framing", "chunks", "parts"),
    [
        (b"Transfer-Encoding: chunked", [b"3\r\nabc\r\n"], [b"d"]),
        (b"Content-Length: 100", [], [b"3\r\nabc\r\n", b"1\r\nd"]),
        (b"Connection: close", [], [b"3\r\nabc\r\n", b"1\r\nd"]),
    ],
)
def test_only_a_whole_chunk_is_not_taken_apart(
    framing: bytes, chunks: list[bytes], parts: list[bytes]
) -> None:
    upstream, owner = UpstreamConnection(lambda _: None, parse_response), Told()
    upstream.connection_made(Idle())
    upstream.begin(owner, b"")
    upstream.data_received(b"HTTP/1.1 200 OK\r\n" + framing + b"\r\n\r\n")
    upstream.data_received(b"3\r\nabc\r\n")
    upstream.data_received(b"1\r\nd")
    assert (owner.chunks, owner.parts) == (chunks, parts)


async def test_a_body_is_streamed_up_with_its_length(proxy: Proxy) -> None:
    client = await proxy.client()
    client.send(POST + b"Content-Length: 10\r\n\r\n01234")
    api = await proxy.upstream.connection()
    assert b"Content-Length: 10\r\n" in await api.read_head()
    assert await api.read_exactly(5) == b"01234"
    client.send(b"56789")
    assert await api.read_exactly(5) == b"56789"
    api.send(OK)
    assert (await client.answer()).body == b"ok"


async def test_a_chunked_body_is_framed_anew(proxy: Proxy) -> None:
    client = await proxy.client()
    client.send(POST + b"Transfer-Encoding: chunked\r\n\r\n3;ext=1\r\nabc\r\n")
    api = await proxy.upstream.connection()
    assert b"Transfer-Encoding: chunked\r\n" in await api.read_head()
    assert await api.read_until(b"abc\r\n") == b"3\r\nabc\r\n"
    client.send(b"2\r\nde\r\n0\r\nImpersonate-User: root\r\n\r\n")
    assert await api.read_until(b"0\r\n\r\n") == b"2\r\nde\r\n0\r\n\r\n"
    api.send(OK)
    assert (await client.answer()).body == b"ok"


async def test_a_malformed_chunk_is_refused_and_its_request_ends(proxy: Proxy) -> None:
    client = await proxy.client()
    client.send(POST + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
    api = await proxy.upstream.connection()
    await api.read_until(b"abc\r\n")
    client.send(b"-1\r\n")
    assert (await client.answer()).status == 400
    assert await api.ended()
    assert await client.ended()


async def test_a_chunk_that_is_malformed_from_the_first_is_refused(proxy: Proxy) -> None:
    client = await proxy.client()
    client.send(POST + b"Transfer-Encoding: chunked\r\n\r\n-1\r\n")
    assert (await client.answer()).status == 400
    assert proxy.upstream.accepted == 0
    assert len(proxy.seen.exchanges) == 1


async def test_the_proxy_itself_says_continue_once_the_way_is_clear(proxy: Proxy) -> None:
    client = await proxy.client()
    client.send(POST + b"Content-Length: 3\r\nExpect: 100-continue\r\n\r\n")
    api = await proxy.upstream.connection()
    assert b"Expect" not in await api.read_head()
    assert await client.read_head() == b"HTTP/1.1 100 Continue\r\n\r\n"
    client.send(b"abc")
    assert await api.read_exactly(3) == b"abc"
    api.send(OK)
    assert (await client.answer()).body == b"ok"


async def test_who_has_begun_to_send_is_not_told_to_go_on(proxy: Proxy) -> None:
    client, api = await proxy.asked(POST + b"Content-Length: 3\r\nExpect: 100-continue\r\n\r\na")
    client.send(b"bc")
    assert await api.read_exactly(3) == b"abc"
    api.send(OK)
    assert (await client.answer()).interim == []


async def test_both_sides_are_probed_while_they_are_silent(proxy: Proxy) -> None:
    client = await proxy.client()
    client.send(GET)
    await (await proxy.upstream.connection()).read_head()
    (below,) = proxy.listener._connections
    (above,) = proxy.pool._open
    for transport in (below.transport, above.transport):
        sock = transport.get_extra_info("socket")
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL) == 30


async def test_a_refused_request_gets_no_continue(proxy: Proxy) -> None:
    client = await proxy.client()
    client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n")
    answer = await client.answer()
    assert (answer.status, answer.interim) == (401, [])
    assert answer.headers["connection"] == "close"
    assert proxy.upstream.accepted == 0


@pytest.mark.parametrize(
    ("method", "status", "head"),
    [
        ("HEAD", 200, b"Content-Length: 5\r\n"),
        ("HEAD", 200, b"Transfer-Encoding: chunked\r\n"),
        ("GET", 304, b"Content-Length: 5\r\n"),
        ("GET", 204, b"Content-Length: 0\r\n"),
    ],
)
async def test_answers_without_a_body_end_with_their_head(
    proxy: Proxy, method: str, status: int, head: bytes
) -> None:
    client, api = await proxy.asked(GET.replace(b"GET", method.encode()) + GET)
    api.send(b"HTTP/1.1 %d Some\r\n%s\r\n" % (status, head))
    answer = await client.answer(method)
    assert (answer.status, answer.body) == (status, b"")
    await api.read_head()
    api.send(OK)
    assert (await client.answer()).body == b"ok"


async def test_interim_answers_pass_and_a_late_continue_does_not(proxy: Proxy) -> None:
    client, api = await proxy.asked(GET)
    api.send(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + OK)
    answer = await client.answer()
    assert (answer.status, answer.interim) == (200, [103])


async def test_an_answer_before_the_body_has_ended_is_seen_and_the_connection_ends(
    proxy: Proxy,
) -> None:
    client, api = await proxy.asked(POST + b"Content-Length: 1000000\r\n\r\nabc")
    api.send(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig")
    answer = await client.answer()
    assert (answer.status, answer.body, answer.headers["connection"]) == (413, b"big", "close")
    client.send(b"x" * 500_000)  # swallowed: no reset may destroy the answer on its way
    assert await client.ended()


async def test_pipelined_requests_are_answered_in_order(proxy: Proxy) -> None:
    client = await proxy.client()
    client.send(b"".join(GET.replace(b"pods", b"p%d" % n) for n in range(20)))
    api = await proxy.upstream.connection()
    for n in range(20):
        assert (await api.read_head()).startswith(b"GET /api/v1/p%d " % n)
        api.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n%02d" % n)
    assert [(await client.answer()).body for _ in range(20)] == [b"%02d" % n for n in range(20)]


async def test_a_pipelined_request_after_a_body_is_not_part_of_it(proxy: Proxy) -> None:
    client = await proxy.client()
    client.send(POST + b"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n" + GET)
    api = await proxy.upstream.connection()
    await api.read_until(b"0\r\n\r\n")
    api.send(OK)
    assert (await api.read_head()).startswith(b"GET ")
    api.send(OK)
    assert [(await client.answer()).status for _ in range(2)] == [200, 200]


async def test_a_client_that_leaves_takes_its_request_along(proxy: Proxy) -> None:
    client, api = await proxy.asked(GET.replace(b"pods", b"pods?watch=1"))
    await client.end("reset")
    assert await api.ended()
    (exchange,) = await proxy.seen.ended_exchanges(1)
    assert exchange.client_left


@pytest.mark.parametrize(
    "begun",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12345",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n12345\r\n",
    ],
)
@pytest.mark.parametrize("ending", ["close", "drop", "reset"])
async def test_a_cut_answer_is_never_passed_on_as_a_whole_one(
    proxy: Proxy, begun: bytes, ending: str
) -> None:
    client, api = await proxy.asked(GET)
    api.send(begun)
    received = await client.read_until(b"12345")
    await api.end(ending)
    received += await client.read_to_end()
    assert not received.endswith(b"0\r\n\r\n")
    (exchange,) = await proxy.seen.ended_exchanges(1)
    assert exchange.truncated


@pytest.mark.parametrize(("ending", "whole"), [("close", True), ("drop", False), ("reset", False)])
async def test_an_answer_delimited_by_close_is_whole_only_if_tls_says_so(
    proxy: Proxy, ending: str, whole: bool
) -> None:
    client, api = await proxy.asked(GET)
    api.send(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n12345")
    assert b"Transfer-Encoding: chunked" in await client.read_until(b"12345\r\n")
    await api.end(ending)
    rest = await (client.read_until(b"0\r\n\r\n") if whole else client.read_to_end())
    assert rest == (b"0\r\n\r\n" if whole else b"")
    assert proxy.seen.exchanges[0].truncated is not whole


async def test_a_stale_pooled_connection_is_replaced_unseen(proxy: Proxy) -> None:
    client, api = await proxy.asked(GET)
    api.send(OK)
    await client.answer()
    client.send(GET)
    await api.read_head()
    await api.end("reset")  # the request had been written, no byte of an answer had come
    second = await proxy.upstream.connection()
    await second.read_head()
    second.send(OK)
    assert (await client.answer()).body == b"ok"
    assert proxy.seen.retries == 1


@pytest.mark.parametrize(
    "request_bytes", [POST + b"Content-Length: 1\r\n\r\na", POST + b"Content-Length: 0\r\n\r\n"]
)
async def test_a_write_is_never_sent_twice(proxy: Proxy, request_bytes: bytes) -> None:
    client, api = await proxy.asked(GET)
    api.send(OK)
    await client.answer()
    client.send(request_bytes)
    await api.read_head()
    await api.end("reset")
    assert (await client.answer()).status == 502
    assert proxy.upstream.accepted == 1


async def test_a_new_connection_that_dies_is_not_tried_again(proxy: Proxy) -> None:
    client, api = await proxy.asked(GET)
    await api.end("reset")
    assert (await client.answer()).status == 502
    assert proxy.upstream.accepted == 1


async def test_a_401_is_about_our_credential_and_tried_once_more(proxy: Proxy) -> None:
    client = await proxy.client()
    client.send(GET)
    for status in (b"401 Unauthorized", b"200 OK"):
        api = await proxy.upstream.connection()
        await api.read_head()
        api.send(b"HTTP/1.1 %s\r\nContent-Length: 0\r\n\r\n" % status)
    assert (await client.answer()).status == 200
    assert proxy.credential.rereads == 1


@pytest.mark.parametrize("method", [b"GET", b"POST"])
async def test_a_credential_that_stays_rejected_is_a_503_and_not_a_401(
    proxy: Proxy, method: bytes
) -> None:
    client = await proxy.client()
    client.send(GET.replace(b"GET", method))
    for _ in range(2 if method == b"GET" else 1):
        api = await proxy.upstream.connection()
        await api.read_head()
        api.send(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n")
    answer = await client.answer()
    assert answer.status == 503
    assert b"credential_rejected" in answer.body


async def test_a_401_of_a_proxied_service_is_its_own(proxy: Proxy) -> None:
    client, api = await proxy.asked(
        GET.replace(b"/pods", b"/namespaces/a/services/grafana/proxy/login")
    )
    api.send(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n")
    assert (await client.answer()).status == 401


ABOUT_US = {
    "json": (
        rb'{"message":"users \"alice\" is forbidden: User \"system:serviceaccount:headlamp:hl\" '
        rb'cannot impersonate resource \"users\" in API group \"\" at the cluster scope"}'
    ),
    "protobuf": (
        b'k8s\x00\x12\x8fusers "alice" is forbidden: User "system:serviceaccount:headlamp:hl" '
        b'cannot impersonate resource "users"'
    ),
    "yaml, constrained": (
        b'message: \'users "alice" is forbidden: User "system:serviceaccount:headlamp:hl"\n'
        b'  cannot impersonate-on:user-info:list resource "pods"\''
    ),
}


@pytest.mark.parametrize("body", ABOUT_US.values(), ids=ABOUT_US)
async def test_a_403_about_our_own_account_passes_and_is_noticed(proxy: Proxy, body: bytes) -> None:
    client, api = await proxy.asked(GET)
    api.send(b"HTTP/1.1 403 Forbidden\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
    answer = await client.answer()
    assert (answer.status, answer.body) == (403, body)
    assert proxy.seen.exchanges[0].impersonation_forbidden


async def test_a_403_that_comes_in_chunks_is_noticed_too(proxy: Proxy) -> None:
    client, api = await proxy.asked(GET)
    body = ABOUT_US["json"]
    api.send(b"HTTP/1.1 403 Forbidden\r\nTransfer-Encoding: chunked\r\n\r\n")
    await client.read_head()
    for part in (body[:30], body[30:]):
        api.send(b"%x\r\n%s\r\n" % (len(part), part))
        await client.read_until(part + b"\r\n")
    api.send(b"0\r\n\r\n")
    await proxy.seen.until(lambda: bool(proxy.seen.exchanges))
    assert proxy.seen.exchanges[0].impersonation_forbidden


async def test_a_403_of_a_proxied_service_is_not_about_our_account(proxy: Proxy) -> None:
    """Whoever runs one could raise an alarm with it."""
    client, api = await proxy.asked(
        GET.replace(b"/pods", b"/namespaces/a/services/grafana/proxy/login")
    )
    body = ABOUT_US["json"]
    api.send(b"HTTP/1.1 403 Forbidden\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
    assert (await client.answer()).status == 403
    assert not proxy.seen.exchanges[0].impersonation_forbidden


async def test_a_missing_credential_is_a_503_before_anything_is_sent(proxy: Proxy) -> None:
    from proxy.errors import CredentialUnavailable

    proxy.credential.error = CredentialUnavailable("no token file")
    client = await proxy.client()
    client.send(GET)
    answer = await client.answer()
    assert answer.status == 503
    assert b"no token file" not in answer.body
    assert proxy.upstream.accepted == 0


async def test_a_credential_that_must_be_renewed_is_waited_for(proxy: Proxy) -> None:
    proxy.credential.line = None
    client = await proxy.client()
    client.send(GET)
    api = await proxy.upstream.connection()
    assert CREDENTIAL in await api.read_head()
    assert proxy.credential.renewals == 1


async def test_a_client_that_leaves_while_the_gate_ponders_is_never_forwarded(
    proxy: Proxy,
) -> None:
    proxy.gate.pending = asyncio.get_running_loop().create_future()
    client = await proxy.client()
    client.send(GET)
    await proxy.seen.until(lambda: bool(proxy.seen.under_way))
    await client.end("reset")
    await proxy.seen.ended_exchanges(1)
    assert proxy.upstream.accepted == 0


@pytest.mark.parametrize("waiting_for", ["keys", "keys in vain", "a connection"])
def test_who_leaves_in_the_very_turn_of_the_loop_in_which_the_wait_ends_is_never_forwarded(
    waiting_for: str,
) -> None:
    """The exchange has ended: it must not go on, nor end once more."""
    world = World()
    client, apis = world.client(), list[Wire]()
    user = b"alice" if waiting_for == "a connection" else b"slow"
    world.loop.do(client.feed, POST.replace(b"alice", user) + b"Content-Length: 1\r\n\r\na")
    if waiting_for == "a connection":
        world.loop.call_soon(world.loop.dials[0].succeed, apis.append)
    else:
        world.loop.on_dial = lambda dial: dial.succeed(apis.append)
        world.loop.call_soon(world.users.waiting[0].set_result, waiting_for == "keys")
    world.loop.do(lambda: client.finish(clean=False))
    assert b"".join(bytes(api.received) for api in apis) == b""
    assert world.loop.unexpected == []
    assert len(world.seen.exchanges) == 1
    assert world.pool.active == 0
    world.close()


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"HTTP/1.1 099 Odd\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
    ],
)
async def test_a_malformed_answer_is_a_502(proxy: Proxy, head: bytes) -> None:
    client, api = await proxy.asked(GET)
    api.send(head)
    answer = await client.answer()
    assert answer.status == 502
    assert b"upstream_malformed" in answer.body


async def test_no_answer_in_time_is_a_504(proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.http.exchange.ANSWER_TIMEOUT", 0.05)
    client, api = await proxy.asked(GET)
    assert (await client.answer()).status == 504
    assert await api.ended()


async def test_a_second_attempt_that_comes_too_late_is_nobody_elses_answer(
    proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It waits for a new credential when its time is up; then another's request is on the line."""
    monkeypatch.setattr("proxy.http.exchange.ANSWER_TIMEOUT", 0.05)
    renewed = asyncio.get_running_loop().create_future()

    async def renew() -> None:
        await asyncio.shield(renewed)
        proxy.credential.line = CREDENTIAL

    monkeypatch.setattr(proxy.credential, "renew", renew)
    monkeypatch.setattr(proxy.credential, "reread", lambda: setattr(proxy.credential, "line", None))
    client = await proxy.client()
    client.send(GET)
    first = await proxy.upstream.connection()
    await first.read_head()
    first.send(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n")
    assert (await client.answer()).status == 504
    renewed.set_result(None)
    proxy.credential.line = CREDENTIAL
    client.send(GET.replace(b"alice", b"bob"))
    second = await proxy.upstream.connection()
    assert identity("bob").header in await second.read_head()
    second.send(OK)
    assert (await client.answer()).body == b"ok"
    assert proxy.upstream.accepted == 2


async def test_a_watch_may_be_silent_for_as_long_as_it_likes(
    proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proxy.http.exchange.ANSWER_TIMEOUT", 0.05)
    client, api = await proxy.asked(GET.replace(b"pods", b"pods?watch=1"))
    other = await proxy.client()
    other.send(GET)  # its own time-out shows that the watch's would have passed
    await (await proxy.upstream.connection()).read_head()
    assert (await other.answer()).status == 504
    api.send(OK)
    assert (await client.answer()).body == b"ok"


async def test_an_http10_client_gets_a_body_without_chunks_and_a_closed_connection(
    proxy: Proxy,
) -> None:
    client, api = await proxy.asked(b"GET / HTTP/1.0\r\nAuthorization: Bearer alice\r\n\r\n")
    api.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
    head = await client.read_until(b"\r\n\r\nabc")  # an audit ID may have abc in it
    assert b"chunked" not in head
    api.send(b"2\r\nde\r\n")
    assert await client.read_until(b"de") == b"de"
    api.send(b"0\r\n\r\n")
    assert await client.read_to_end() == b""


class SlowPage:
    """A page that is shown once ``document`` is there."""

    path = b"/"

    def __init__(self) -> None:
        self.document = asyncio.get_running_loop().create_future()

    def is_at(self, _target: bytes) -> bool:
        return True

    async def show(self, _head: RequestHead, _now: float) -> Document:
        return cast("Document", await self.document)


async def test_a_page_that_is_there_just_when_its_client_leaves_ends_once(proxy: Proxy) -> None:
    page = SlowPage()
    proxy.listener.service = replace(proxy.service, page=page)
    client = await proxy.client()
    client.send(GET)
    await proxy.seen.until(lambda: bool(proxy.seen.under_way))
    (exchange,) = proxy.seen.under_way
    page.document.set_result(Document(b"x", "Content-Type: text/plain\r\n"))
    exchange.client_lost()
    assert exchange._task is not None
    (outcome,) = await asyncio.gather(exchange._task, return_exceptions=True)
    assert outcome is None
    assert proxy.seen.exchanges == [exchange]
