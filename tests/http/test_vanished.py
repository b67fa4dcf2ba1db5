"""An API server whose machine is gone without a word: nothing says so but that nothing is heard.

The kernel's own idea of how long to wait is a quarter of an hour. Here it waits a second.
"""

from __future__ import annotations

import socket

import pytest

from tests.cable import deafen
from tests.http.conftest import Proxy
from tests.http.test_tunnel import EXEC, SWITCH

GET = b"GET / HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer alice\r\n\r\n"
POST = GET.replace(b"GET", b"POST")[:-2] + b"Content-Length: 2\r\n\r\n{}"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@pytest.fixture(autouse=True)
def _quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.http.pool.UNACKNOWLEDGED", 1)


async def test_a_request_on_a_dead_connection_is_sent_again_on_a_new_one(proxy: Proxy) -> None:
    client, dead = await proxy.asked(GET)
    other, idle = await proxy.asked(GET)
    for api, asker in ((idle, other), (dead, client)):  # the one last given back is used next
        api.send(OK)
        assert (await asker.answer()).status == 200
        deafen(api.writer.get_extra_info("socket"))
    client.send(GET)
    alive = await proxy.upstream.connection()
    assert await alive.read_head()
    assert proxy.pool.idle == 0  # the other one is suspect, and is not tried
    alive.send(OK)
    assert (await client.answer()).status == 200
    assert proxy.seen.retries == 1


@pytest.mark.parametrize(("request_", "patience"), [(GET, 1000), (POST, 0), (EXEC, 0)])
async def test_with_a_body_or_a_tunnel_it_may_leave_off_reading_for_as_long_as_it_likes(
    proxy: Proxy, request_: bytes, patience: int
) -> None:
    client, api = await proxy.asked(request_)
    if request_ is EXEC:
        api.send(SWITCH)
        await client.read_head()
    (connection,) = proxy.pool._open
    sock = connection.transport.get_extra_info("socket")
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == patience


async def test_after_an_answer_that_did_not_come_all_idle_connections_are_suspect(
    proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, slow = await proxy.asked(GET)
    other, idle = await proxy.asked(GET)
    for api, asker in ((idle, other), (slow, client)):
        api.send(OK)
        assert (await asker.answer()).status == 200
    monkeypatch.setattr("proxy.http.exchange.ANSWER_TIMEOUT", 0.05)
    client.send(GET)
    assert (await client.answer()).status == 504
    assert proxy.pool.idle == 0
