"""Upgrades: joined after a 101 that was asked for, and never before."""

from __future__ import annotations

import asyncio
import re

import pytest

from proxy.http.tunnel import Tunnel
from proxy.http.upstream import GOODBYE
from tests.http.conftest import AUDIT_ID, Proxy
from tests.http.memory import Wire, World
from tests.wire import PATIENCE, Client, Peer

EXEC = (
    b"GET /api/v1/namespaces/a/pods/b/exec?command=sh HTTP/1.1\r\nHost: x\r\n"
    b"Authorization: Bearer alice\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n"
    b"Sec-WebSocket-Key: k\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Protocol: v5.channel.k8s.io\r\n\r\n"
)
SWITCH = (
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Accept: a\r\nSec-WebSocket-Protocol: v5.channel.k8s.io\r\n\r\n"
)


async def test_after_a_101_bytes_pass_both_ways(proxy: Proxy) -> None:
    client = await proxy.client()
    client.send(EXEC)
    api = await proxy.upstream.connection()
    head = await api.read_head()
    assert head.endswith(
        b"Sec-WebSocket-Key: k\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Protocol: v5.channel.k8s.io\r\n"
        b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    )
    assert head.count(b"onnection:") == 1
    api.send(SWITCH + b"\x82\x01\x01")
    (audit_id,) = re.findall(AUDIT_ID, head)
    assert await client.read_until(b"\x82\x01\x01") == (
        b"HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: a\r\n"
        b"Sec-WebSocket-Protocol: v5.channel.k8s.io\r\nAudit-Id: " + audit_id + b"\r\n"
        b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n\x82\x01\x01"
    )
    client.send(b"up")
    assert await api.read_exactly(2) == b"up"
    api.send(b"down")
    assert await client.read_exactly(4) == b"down"


async def test_spdy_is_spoken_too(proxy: Proxy) -> None:
    client = await proxy.client()
    client.send(
        b"POST /x HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer alice\r\nContent-Length: 0\r\n"
        b"Connection: Upgrade\r\nUpgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: v4.channel.k8s.io"
        b"\r\n\r\n"
    )
    api = await proxy.upstream.connection()
    assert b"Connection: Upgrade\r\nUpgrade: SPDY/3.1\r\n" in await api.read_head()
    api.send(SWITCH.replace(b"websocket", b"SPDY/3.1"))
    assert b"Upgrade: SPDY/3.1\r\n" in await client.read_head()
    client.send(b"\x80\x03")
    assert await api.read_exactly(2) == b"\x80\x03"


async def test_early_bytes_wait_for_the_101(proxy: Proxy) -> None:
    client = await proxy.client()
    client.send(EXEC + b"early")
    api = await proxy.upstream.connection()
    assert (await api.read_head()).endswith(b"\r\n\r\n")
    assert not api.reader._buffer  # type: ignore[attr-defined]  # nothing behind the head
    api.send(SWITCH)
    assert await api.read_exactly(5) == b"early"


async def test_a_refused_upgrade_is_a_plain_answer_and_leaves_no_tunnel(proxy: Proxy) -> None:
    client, api = await proxy.asked(EXEC + b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n")
    api.send(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")
    answer = await client.answer()
    assert (answer.status, answer.body, answer.headers["connection"]) == (403, b"no", "close")
    assert await client.ended()
    assert await api.ended()  # and "smuggled" never came


async def test_what_follows_an_upgrade_that_we_refuse_is_no_request(proxy: Proxy) -> None:
    client = await proxy.client()
    nobody = EXEC.replace(b"Authorization: Bearer alice\r\n", b"")
    client.send(nobody + b"GET /x HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer alice\r\n\r\n")
    answer = await client.answer()
    assert (answer.status, answer.headers["connection"]) == (401, "close")
    assert await client.ended()
    assert len(proxy.seen.exchanges) == 1
    assert proxy.upstream.accepted == 0


@pytest.mark.parametrize(
    "switch",
    [
        SWITCH.replace(b"websocket", b"SPDY/3.1"),
        SWITCH.replace(b"Upgrade: websocket\r\n", b""),
        SWITCH.replace(b"Connection: Upgrade\r\n", b""),
    ],
)
async def test_a_switch_to_something_else_is_refused(proxy: Proxy, switch: bytes) -> None:
    client, api = await proxy.asked(EXEC)
    api.send(switch)
    assert (await client.answer()).status == 502
    assert await api.ended()


async def test_a_switch_that_nobody_asked_for_is_refused(proxy: Proxy) -> None:
    client, api = await proxy.asked(
        b"GET / HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer alice\r\n\r\n"
    )
    api.send(SWITCH)
    assert (await client.answer()).status == 502


@pytest.mark.parametrize("ending", ["close", "drop", "reset"])
@pytest.mark.parametrize("who", ["client", "api"])
async def test_when_one_side_ends_so_does_the_other(proxy: Proxy, who: str, ending: str) -> None:
    client, api = await proxy.asked(EXEC)
    api.send(SWITCH)
    await client.read_head()
    leaving, staying = (client, api) if who == "client" else (api, client)
    leaving.send(b"last words")
    await leaving.flush()
    assert await staying.read_exactly(10) == b"last words"
    await leaving.end(ending)
    assert await staying.ended()
    await proxy.listener.drain(5)  # until the client's connection is gone as well
    (exchange,) = await proxy.seen.ended_exchanges(1)
    assert exchange.status == 101
    assert exchange.kind == "upgrade"
    assert exchange.client_left is (who == "client")


async def test_a_body_and_an_upgrade_do_not_go_together(proxy: Proxy) -> None:
    client = await proxy.client()
    client.send(EXEC.replace(b"\r\n\r\n", b"\r\nContent-Length: 1\r\n\r\na"))
    assert (await client.answer()).status == 400


async def test_an_upgrade_header_without_connection_upgrade_asks_for_nothing(proxy: Proxy) -> None:
    client = await proxy.client()
    client.send(EXEC.replace(b"keep-alive, Upgrade", b"keep-alive"))
    api = await proxy.upstream.connection()
    assert b"Upgrade" not in await api.read_head()


async def test_a_client_that_is_full_when_the_tunnel_begins_stops_the_api_server(
    proxy: Proxy,
) -> None:
    """Its transport has said so once, to the exchange, and will not say it again."""
    client, api = await proxy.asked(EXEC)
    (connection,) = proxy.listener._connections
    (upstream,) = proxy.pool._open
    connection._write_full = True
    api.send(SWITCH)
    await client.read_head()
    assert not upstream.transport.is_reading()
    connection.resume_writing()
    assert upstream.transport.is_reading()
    api.send(b"down")
    assert await client.read_exactly(4) == b"down"


def test_an_api_server_that_takes_nothing_does_not_keep_what_its_client_left() -> None:
    """The end of the tunnel stands behind bytes that it does not read, so it is not told."""
    world, apis = World(), list[Wire]()
    world.loop.on_dial = lambda dial: dial.succeed(apis.append)
    client = world.client()
    world.loop.do(client.feed, EXEC)
    world.loop.do(apis[0].feed, SWITCH)
    apis[0].stalled = True
    world.loop.do(client.feed, b"typed ahead")
    world.loop.do(lambda: client.finish(clean=True))
    assert world.pool.active == 1
    world.loop.advance(GOODBYE)
    assert world.pool.active == 0
    assert apis[0].ended == "aborted"
    world.close()


async def stalled(proxy: Proxy) -> tuple[Client, Peer, int]:
    """A tunnel of which the API server reads nothing, and how much the client has sent."""
    client, api = await proxy.asked(EXEC)
    api.send(SWITCH)
    await client.read_head()
    api.writer.transport.pause_reading()  # type: ignore[attr-defined]
    (connection,) = proxy.listener._connections
    sent = 0
    while connection.transport.is_reading():
        client.send(bytes(1 << 16))
        sent += 1 << 16
        await client.flush()
        await asyncio.sleep(0)
    return client, api, sent


async def test_an_api_server_that_does_not_read_does_not_hide_that_the_client_has_gone(
    proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked, gone = asyncio.Event(), asyncio.Event()
    look = Tunnel.look_for_client

    def seen_to_look(tunnel: Tunnel) -> None:
        looked.set()
        look(tunnel)

    monkeypatch.setattr(Tunnel, "look_for_client", seen_to_look)
    monkeypatch.setattr("proxy.http.tunnel.LOOK", 0.01)
    monkeypatch.setattr("proxy.http.upstream.GOODBYE", 0.05)
    client, _, _ = await stalled(proxy)
    (upstream,) = proxy.pool._open
    monkeypatch.setattr(upstream, "_on_lost", lambda _: gone.set())
    async with asyncio.timeout(PATIENCE):
        for _ in range(3):  # it is there, so nothing happens to it
            looked.clear()
            await looked.wait()
        assert not proxy.seen.exchanges
        client.writer.transport.abort()
        (exchange,) = await proxy.seen.ended_exchanges(1)
        assert exchange.client_left
        await gone.wait()


async def test_what_a_client_has_left_behind_arrives_but_for_what_tls_had_read_ahead(
    proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proxy.http.tunnel.LOOK", 0.01)
    client, api, sent = await stalled(proxy)
    await client.end("drop")
    await proxy.seen.ended_exchanges(1)
    api.writer.transport.resume_reading()  # type: ignore[attr-defined]
    assert sent - (256 << 10) <= len(await api.read_to_end()) <= sent


async def test_what_the_api_server_said_last_arrives_though_the_client_was_slow(
    proxy: Proxy,
) -> None:
    """Go closes a connection without waiting for the answer to TLS's goodbye."""
    client, api = await proxy.asked(EXEC)
    api.send(SWITCH)
    await client.read_head()
    client.writer.transport.pause_reading()  # type: ignore[attr-defined]
    (upstream,) = proxy.pool._open
    sent = 0
    while upstream.transport.is_reading():
        api.send(bytes(1 << 16))
        sent += 1 << 16
        await api.flush()
        await asyncio.sleep(0)
    api.writer.transport.set_write_buffer_limits(0)
    api.send(bytes(100_000))
    await api.flush()  # all of it is with the kernel
    await api.end("drop")
    await asyncio.sleep(0.1)  # the end is there to be read, if anybody read on
    client.writer.transport.resume_reading()  # type: ignore[attr-defined]
    assert len(await client.read_to_end()) == sent + 100_000
