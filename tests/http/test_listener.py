"""Client connections: what is refused before it is a request, back-pressure, limits, draining."""

from __future__ import annotations

import asyncio
import json

import pytest

from proxy.http import listener
from proxy.limits import DEFAULTS
from tests.http.conftest import Proxy
from tests.http.memory import World
from tests.http.test_exchange import GET, OK, POST
from tests.wire import Peer

WATCH = GET.replace(b"pods", b"pods?watch=1")


@pytest.mark.parametrize(
    ("request_bytes", "status", "label"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", 400, "malformed_request"),
        (b"GET  / HTTP/1.1\r\nHost: x\r\n\r\n", 400, "malformed_request"),
        (b"GET http://x/ HTTP/1.1\r\nHost: x\r\n\r\n", 400, "target_not_origin_form"),
        (b"TRACE / HTTP/1.1\r\nHost: x\r\n\r\n", 405, "method_not_allowed"),
        (b"CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n", 405, "method_not_allowed"),
        (b"BREW / HTTP/1.1\r\nHost: x\r\n\r\n", 405, "method_not_allowed"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, "malformed_request"),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * DEFAULTS.head_bytes, 431, "head_too_large"),
        (
            b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X: y\r\n" * DEFAULTS.head_fields + b"\r\n",
            431,
            "head_too_large",
        ),
        (
            b"GET / HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n",
            400,
            "upgrade_not_supported",
        ),
        (b"GET / HTTP/1.1\nHost: x\n\n", 400, "malformed_request"),
        (b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", 400, "malformed_request"),
    ],
)
async def test_what_is_no_request_gets_a_status_and_the_connection_ends(
    proxy: Proxy, request_bytes: bytes, status: int, label: str
) -> None:
    client = await proxy.client()
    client.send(request_bytes)
    answer = await client.answer()
    assert (answer.status, answer.headers["connection"]) == (status, "close")
    body = json.loads(answer.body)
    assert (body["kind"], body["code"]) == ("Status", status)
    assert body["details"]["causes"][0]["reason"] == label
    assert await client.ended()
    assert [error.label for error in proxy.seen.errors] == [label]
    assert proxy.upstream.accepted == 0


async def test_garbage_after_a_request_is_answered_after_it(proxy: Proxy) -> None:
    client, api = await proxy.asked(GET + b"garbage\r\n\r\n")
    assert proxy.seen.errors == []
    api.send(OK)
    assert [(await client.answer()).status for _ in range(2)] == [200, 400]


async def test_a_head_may_come_in_single_bytes(proxy: Proxy) -> None:
    client = await proxy.client()
    for byte in b"\r\n" + GET:
        client.send(bytes([byte]))
        await client.flush()
    api = await proxy.upstream.connection()
    assert (await api.read_head()).startswith(b"GET /api/v1/pods HTTP/1.1\r\n")


def test_a_head_in_single_bytes_is_searched_once() -> None:
    """Not from its start with each byte: that would be gigabytes of work for one head."""
    world = World()
    client = world.client()
    searched: list[int] = []
    real = listener._BARE_LF

    class Pattern:
        def search(self, data: bytes, position: int = 0) -> object:
            searched.append(len(data) - position)
            return real.search(data, position)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(listener, "_BARE_LF", Pattern())
        for byte in GET[:-1]:
            world.loop.do(client.feed, bytes([byte]))
    assert max(searched) == 1
    world.close()


async def test_a_refused_request_without_a_body_keeps_its_connection(proxy: Proxy) -> None:
    client = await proxy.client()
    client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" + GET)
    refused = await client.answer()
    assert refused.status == 401
    assert refused.headers["www-authenticate"].startswith("Bearer ")
    api = await proxy.upstream.connection()
    await api.read_head()
    api.send(OK)
    assert (await client.answer()).status == 200


SIZE = 64 * 1024 * 1024
BLOCK = b"x" * 65536


async def fill(peer: Peer) -> int:
    """Send until the other side takes no more; return how much it took, at most SIZE."""
    sent = 0
    while sent < SIZE:
        peer.send(BLOCK)
        try:
            async with asyncio.timeout(0.5):
                await peer.writer.drain()
        except TimeoutError:
            break
        sent += len(BLOCK)
    return sent


async def test_a_slow_api_server_slows_the_client_down(proxy: Proxy) -> None:
    """Memory is bounded on the way up: the client stops long before it has sent everything."""
    client, api = await proxy.asked(POST + b"Content-Length: %d\r\n\r\n" % SIZE)
    taken = await fill(client)
    assert taken < SIZE / 2
    for _ in range(SIZE // len(BLOCK) // 2):  # and goes on as soon as there is room
        await api.read_exactly(len(BLOCK))
        client.send(BLOCK)


async def test_a_slow_client_slows_the_api_server_down(proxy: Proxy) -> None:
    """Memory is bounded on the way down."""
    client, api = await proxy.asked(GET)
    api.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % SIZE)
    taken = await fill(api)
    assert taken < SIZE / 2
    await client.read_head()
    for _ in range(SIZE // len(BLOCK) // 2):
        await client.read_exactly(len(BLOCK))
        api.send(BLOCK)


async def test_a_client_that_does_not_take_its_last_answer_is_cut_off_in_the_end(
    proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proxy.http.listener.GOODBYE", 0.1)
    client, api = await proxy.asked(GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
    api.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % SIZE)
    client.writer.transport.pause_reading()  # type: ignore[attr-defined]
    sent = await fill(api)
    assert sent < SIZE
    connection = next(iter(proxy.listener._connections))
    connection.exchange_ended(close=True, request_done=True)
    async with asyncio.timeout(5):
        await proxy.listener._empty.wait()


async def test_draining_closes_what_is_idle_and_lets_the_rest_finish(proxy: Proxy) -> None:
    idle, busy = await proxy.client(), await proxy.client()
    busy.send(GET)
    api = await proxy.upstream.connection()
    await api.read_head()
    drained = asyncio.ensure_future(proxy.listener.drain(10))
    assert await idle.ended()
    assert not drained.done()
    api.send(OK)
    answer = await busy.answer()
    assert (answer.status, answer.headers["connection"]) == (200, "close")
    assert await busy.ended()
    await drained


async def test_draining_cuts_streams_when_the_grace_is_over(proxy: Proxy) -> None:
    client, api = await proxy.asked(WATCH)
    api.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n")
    await client.read_until(b"{}\r\n")
    await proxy.listener.drain(0)
    assert await client.ended()
    assert await api.ended()
