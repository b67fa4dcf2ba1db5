"""What belonged to a connection is freed when it ends, and not when the collector comes round.

A TLS connection holds some 20 KiB and whatever is under way. The collector comes when enough
objects were made, and a connection is few objects, so that a reference cycle through one would
keep tens of megabytes.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace

import pytest

from proxy.http.exchange import ANSWER_TIMEOUT, Exchange
from proxy.http.listener import ClientConnection, Listener
from proxy.http.service import Observer
from proxy.http.tunnel import Tunnel
from proxy.http.upstream import UpstreamConnection
from tests.http.conftest import Proxy
from tests.http.memory import Wire, World
from tests.http.test_tunnel import EXEC, SWITCH
from tests.wire import PATIENCE, Client

GET = b"GET / HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer alice\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
KINDS = (ClientConnection, Exchange, Tunnel, UpstreamConnection)


async def _answered(proxy: Proxy) -> None:
    client, api = await proxy.asked(GET)
    api.send(OK)
    assert (await client.answer()).status == 200
    await client.close()
    await api.close()


async def _refused(proxy: Proxy) -> None:
    client = await proxy.client()
    client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert (await client.answer()).status == 401
    await client.close()


async def _unreadable(proxy: Proxy) -> None:
    client = await proxy.client()
    client.send(b"nonsense\r\n\r\n")
    assert (await client.answer()).status == 400
    await client.close()


async def _without_a_handshake(proxy: Proxy) -> None:
    client = await Client.connect(proxy.port, None)
    client.send(b"no handshake")
    await client.read_to_end()  # an alert, or nothing
    await client.close()


async def _left_by_the_client(proxy: Proxy) -> None:
    client, api = await proxy.asked(GET)
    await client.gone()
    assert await api.ended()


async def _lost_by_the_api_server(proxy: Proxy) -> None:
    client, api = await proxy.asked(GET)
    await api.gone()
    assert (await client.answer()).status == 502
    await client.close()


async def _cut_in_the_middle(proxy: Proxy) -> None:
    client, api = await proxy.asked(GET)
    api.send(OK[:-1])
    await client.read_head()
    await api.gone()
    await client.read_to_end()


async def _tunnel_left_by_the_client(proxy: Proxy) -> None:
    client, api = await proxy.asked(EXEC)
    api.send(SWITCH)
    await client.read_head()
    await client.gone()
    assert await api.ended()


async def _tunnel_left_by_the_api_server(proxy: Proxy) -> None:
    client, api = await proxy.asked(EXEC)
    api.send(SWITCH)
    await client.read_head()
    await api.close()
    assert await client.ended()


@pytest.fixture
def held_before() -> Iterator[list[object]]:
    """Have no collector until the test ends; what others still hold is not its concern."""
    gc.collect()
    gc.disable()
    yield [thing for thing in gc.get_objects() if isinstance(thing, KINDS)]
    gc.enable()


@pytest.mark.parametrize(
    "end",
    [
        _answered,
        _refused,
        _unreadable,
        _without_a_handshake,
        _left_by_the_client,
        _lost_by_the_api_server,
        _cut_in_the_middle,
        _tunnel_left_by_the_client,
        _tunnel_left_by_the_api_server,
    ],
)
async def test_nothing_is_left_of_a_connection_that_has_ended(
    held_before: list[object], proxy: Proxy, end: Callable[[Proxy], Awaitable[None]]
) -> None:
    others = set(map(id, held_before))
    await end(proxy)
    deadline = asyncio.get_running_loop().time() + PATIENCE
    while proxy.listener.places.taken or proxy.pool.idle or proxy.pool.active:
        assert asyncio.get_running_loop().time() < deadline
        await asyncio.sleep(0.001)
    proxy.seen.exchanges.clear()
    proxy.seen.errors.clear()
    await asyncio.sleep(0)
    present = [thing for thing in gc.get_objects() if isinstance(thing, KINDS)]
    left = [type(thing).__name__ for thing in present if id(thing) not in others]
    del present
    assert left == []


@pytest.mark.parametrize("told", ["the rest of its answer", "a timeout"])
def test_nothing_is_freed_while_it_is_still_told_of_something(
    monkeypatch: pytest.MonkeyPatch, told: str
) -> None:
    """Compiled, what is called through an attribute is held by that, and if it is cleared by none.

    No transport tells of its end at once, as this one does, and nobody else holds the exchange.
    """
    world, apis = World(), list[Wire]()
    world.listener = Listener(replace(world.listener.service, observer=Observer()))
    world.loop.on_dial = lambda dial: dial.succeed(apis.append)
    client = world.client()
    world.loop.do(client.feed, GET)
    if told != "a timeout":
        world.loop.do(apis[0].feed, OK[:-1])

    def lose(_: bytes) -> None:
        monkeypatch.undo()
        client.finish(clean=False)

    monkeypatch.setattr(client, "write", lose)
    if told == "a timeout":
        world.loop.advance(ANSWER_TIMEOUT)
    else:
        world.loop.do(apis[0].feed, OK[-1:])
    assert client.ended == "left"
    assert world.loop.unexpected == []
    assert world.listener.places.taken == 0
    world.close()
