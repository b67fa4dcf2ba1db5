"""What one connection, one address and one user may have, seen from both ends."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Awaitable, Callable

import pytest

from proxy.limits import SPARE_CONNECTIONS
from tests.http.conftest import Proxy
from tests.http.test_exchange import GET, OK, POST
from tests.http.test_listener import BLOCK, WATCH
from tests.wire import Answer, Client, Peer

Start = Callable[..., Awaitable[Proxy]]
BOBS = GET.replace(b"alice", b"bob")
EXEC = (
    b"GET /api/v1/namespaces/a/pods/b/exec HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer alice\r\n"
    b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
)
STREAM = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n"


def label(answer: Answer) -> str:
    return str(json.loads(answer.body)["details"]["causes"][0]["reason"])


# --- Heads ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("extra", [b"X: " + b"a" * 500, b"X: y\r\n" * 9])
async def test_size_and_number_of_headers_are_settings(limited: Start, extra: bytes) -> None:
    proxy = await limited(head_bytes=400, head_fields=10)
    client = await proxy.client()
    client.send(GET.replace(b"\r\n\r\n", b"\r\n" + extra + b"\r\n\r\n"))
    assert label(await client.answer()) == "head_too_large"
    assert await client.ended()


async def test_a_head_of_which_all_but_the_line_is_known_has_the_same_limit(
    limited: Start,
) -> None:
    proxy = await limited(head_bytes=400)
    wide = GET.replace(b"\r\n\r\n", b"\r\nX: " + b"a" * 200 + b"\r\n\r\n")
    client, api = await proxy.asked(wide)
    api.send(b"HTTP/1.1 204 No Content\r\n\r\n")
    assert (await client.answer()).status == 204
    client.send(wide.replace(b" /", b" /" + b"b" * 200, 1))
    assert label(await client.answer()) == "head_too_large"


@pytest.mark.parametrize(
    "pieces", [[GET[:-5]], [b"\r\n", b"G"], [b"\r", b"\n", b"G", b"E"]], ids=["half", "lf", "drop"]
)
async def test_a_half_sent_head_is_closed_in_time(limited: Start, pieces: list[bytes]) -> None:
    """However it is dropped in: the time does not begin anew."""
    proxy = await limited(head_timeout=0.2)
    client = await proxy.client()
    for piece in pieces:
        client.send(piece)
        await client.flush()
    assert (await client.answer()).status == 408
    assert await client.ended()
    assert proxy.seen.errors[0].label == "request_timeout"


# --- Connections ---------------------------------------------------------------------------------


async def test_an_idle_connection_is_closed_in_time(limited: Start) -> None:
    proxy = await limited(idle_timeout=0.05)
    client = await proxy.client()
    assert await client.ended()
    assert proxy.seen.limits == ["idle"]


async def test_who_does_not_shake_hands_is_closed_in_time_and_gives_the_place_back(
    limited: Start,
) -> None:
    proxy = await limited(handshake_timeout=0.1)
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    silent = Peer(reader, writer)
    await proxy.seen.until(lambda: proxy.seen.limits == ["handshake"])
    assert await silent.ended()
    await silent.gone()
    assert proxy.listener.places.taken == 0


@pytest.mark.parametrize("said", [b"GET / HTTP/1.1\r\n\r\n", b""])
async def test_who_cannot_shake_hands_gives_the_place_back(limited: Start, said: bytes) -> None:
    proxy = await limited()
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    plain = Peer(reader, writer).send(said)
    writer.write_eof()
    await plain.read_to_end()
    await plain.gone()
    await proxy.places_taken(0)
    assert proxy.seen.limits == []


async def test_handshakes_count_as_connections(limited: Start) -> None:
    proxy = await limited(connections=1)
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    await proxy.places_taken(1)
    client = await proxy.client()
    client.send(GET)
    assert label(await client.answer()) == "too_many_connections"
    await Peer(reader, writer).gone()


@pytest.mark.parametrize("limit", ["connections", "connections_per_address"])
async def test_one_connection_too_many_is_told_so_and_closed(limited: Start, limit: str) -> None:
    proxy = await limited(**{limit: 1})
    first = await proxy.client()
    second = await proxy.client()
    second.send(GET)
    answer = await second.answer()
    assert (answer.status, answer.headers["retry-after"]) == (503, "5")
    assert answer.headers["connection"] == "close"
    assert label(answer) == "too_many_connections"
    assert await second.ended()
    assert proxy.seen.limits == [{"connections": "total"}.get(limit, "address")]
    first.send(GET)
    api = await proxy.upstream.connection()
    await api.read_head()
    api.send(OK)
    assert (await first.answer()).status == 200
    await first.gone()
    await proxy.places_taken(0)
    third = await proxy.client()
    third.send(GET)
    await api.read_head()


async def test_beyond_the_few_that_are_told_connections_are_closed_at_once(limited: Start) -> None:
    proxy = await limited(connections=1, head_timeout=30)
    for _ in range(1 + SPARE_CONNECTIONS):
        await proxy.client()
    with pytest.raises((ConnectionError, ssl.SSLError)):
        await Client.connect(proxy.port, proxy.tls)


async def test_a_stream_that_its_client_does_not_take_is_cut_in_the_end(limited: Start) -> None:
    proxy = await limited(stall_timeout=0.3)
    client, api = await proxy.asked(WATCH)
    api.send(STREAM)
    await client.read_until(b"{}\r\n")
    client.writer.transport.pause_reading()  # type: ignore[attr-defined]
    while not proxy.seen.limits:
        api.send(b"%x\r\n%s\r\n" % (len(BLOCK), BLOCK))
        await asyncio.sleep(0.005)
    assert proxy.seen.limits == ["stalled"]
    (exchange,) = await proxy.seen.ended_exchanges(1)
    assert exchange.client_left
    await api.read_to_end()


async def test_a_tunnel_that_its_client_does_not_take_is_cut_in_the_end(limited: Start) -> None:
    proxy = await limited(stall_timeout=0.3)
    client, api = await proxy.asked(EXEC)
    api.send(
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    )
    await client.read_head()
    client.writer.transport.pause_reading()  # type: ignore[attr-defined]
    while not proxy.seen.limits:
        api.send(BLOCK)
        await asyncio.sleep(0.005)
    assert proxy.seen.limits == ["stalled"]
    await proxy.seen.ended_exchanges(1)


async def test_a_slow_client_that_reads_on_is_not_cut(limited: Start) -> None:
    proxy = await limited(stall_timeout=0.3)
    size = 2_000_000
    client, api = await proxy.asked(GET)
    api.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + b"x" * size)
    await client.read_head()
    for _ in range(8):
        await asyncio.sleep(0.1)
        await client.read_exactly(size // 8)
    assert proxy.seen.limits == []


# --- Users ---------------------------------------------------------------------------------------


async def test_one_stream_too_many_is_a_429_that_says_when_to_come_back(limited: Start) -> None:
    proxy = await limited(streams=1)
    watcher, api = await proxy.asked(WATCH)
    for request in (WATCH, EXEC):
        client = await proxy.client()
        client.send(request)
        answer = await client.answer()
        assert (answer.status, answer.headers["retry-after"]) == (429, "1")
        assert json.loads(answer.body)["details"]["retryAfterSeconds"] == 1
        assert label(answer) == "too_many_streams"
    refused = proxy.seen.exchanges[0]
    assert refused.admission is not None  # so that the log says whose it was
    assert proxy.upstream.accepted == 1
    await proxy.asked(GET)  # what is no stream is counted apart
    await proxy.asked(WATCH.replace(b"alice", b"bob"))  # and so is everybody else
    api.send(STREAM + b"0\r\n\r\n")
    await watcher.answer()
    watcher.send(WATCH)
    await api.read_head()


async def test_one_request_too_many_is_a_429_and_its_connection_goes_on(limited: Start) -> None:
    proxy = await limited(requests=1)
    busy, api = await proxy.asked(GET)
    client = await proxy.client()
    client.send(GET)
    answer = await client.answer()
    assert (answer.status, label(answer)) == (429, "too_many_requests")
    await proxy.asked(WATCH)
    await proxy.asked(BOBS)
    api.send(OK)
    await busy.answer()
    client.send(GET)
    await api.read_head()
    api.send(OK)
    assert (await client.answer()).status == 200


async def test_a_refused_upload_gets_its_429_before_the_connection_ends(limited: Start) -> None:
    proxy = await limited(requests=1)
    await proxy.asked(GET)
    client = await proxy.client()
    client.send(POST + b"Content-Length: 100000\r\nExpect: 100-continue\r\n\r\n")
    answer = await client.answer()
    assert (answer.status, answer.interim) == (429, [])
    assert await client.ended()


# --- Who is denied -------------------------------------------------------------------------------


async def test_who_is_denied_gets_a_403_and_nothing_is_forwarded(proxy: Proxy) -> None:
    proxy.denial.denied.add("alice")
    client = await proxy.client()
    client.send(GET)
    answer = await client.answer()
    assert (answer.status, label(answer)) == (403, "denied")
    assert "suspended" in json.loads(answer.body)["message"]
    assert proxy.upstream.accepted == 0
    await proxy.asked(BOBS)


async def test_what_a_denied_user_has_under_way_ends_at_once_and_nobody_elses(
    proxy: Proxy,
) -> None:
    stream, stream_api = await proxy.asked(WATCH)
    stream_api.send(STREAM)
    await stream.read_until(b"{}\r\n")
    tunnel, tunnel_api = await proxy.asked(EXEC)
    tunnel_api.send(
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhi"
    )
    await tunnel.read_until(b"hi")
    waiting, waiting_api = await proxy.asked(GET + GET)
    bob, bobs_api = await proxy.asked(BOBS)

    proxy.denial.denied.add("alice")
    assert proxy.listener.end_denied() == 3

    for end in (stream, stream_api, tunnel, tunnel_api, waiting_api):
        assert await end.ended()
    assert [label(await waiting.answer()) for _ in range(2)] == ["denied", "denied"]
    ended = await proxy.seen.ended_exchanges(4)
    assert all(exchange.error and exchange.error.label == "denied" for exchange in ended)
    assert [exchange.truncated for exchange in ended].count(True) == 2
    bobs_api.send(OK)
    assert (await bob.answer()).status == 200
    assert (proxy.service.streams.active, proxy.service.requests.active) == (0, 0)


async def test_who_is_denied_while_a_key_is_fetched_is_refused(proxy: Proxy) -> None:
    proxy.gate.pending = asyncio.get_running_loop().create_future()
    client = await proxy.client()
    client.send(GET)
    await proxy.seen.until(lambda: bool(proxy.seen.under_way))
    proxy.denial.denied.add("alice")
    assert proxy.listener.end_denied() == 0  # nobody knows yet who that is
    proxy.gate.pending.set_result(None)
    assert label(await client.answer()) == "denied"
    assert proxy.upstream.accepted == 0
