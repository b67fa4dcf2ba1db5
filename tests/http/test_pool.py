"""Which connections to the API server may be used again."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from typing import cast

import pytest

from proxy.errors import UpstreamCertificate, UpstreamUnreachable
from proxy.http.head import ResponseHead
from proxy.http.pool import Pool
from proxy.http.upstream import Owner, UpstreamConnection
from tests.conftest import Tls
from tests.http.conftest import pool_to
from tests.process import free_port
from tests.wire import PATIENCE, Peer, Upstream

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


class Asker(Owner):
    """Owns a connection for one request; it hears of an answer and of nothing else."""

    def __init__(self) -> None:
        self.method = b"GET"
        self.answered = asyncio.Event()

    def response_head(self, head: ResponseHead, parts: list[bytes], done: bool) -> None:
        if done:
            self.answered.set()


@pytest.fixture
async def upstream(tls: Tls) -> AsyncIterator[Upstream]:
    async with Upstream.run(tls.server) as running:
        yield running


@pytest.fixture
async def pool(tls: Tls, upstream: Upstream) -> AsyncIterator[Pool]:
    made = pool_to(upstream.port, lambda: tls.client)
    yield made
    made.abort()


async def asked(
    pool: Pool, upstream: Upstream, answer: bytes = OK
) -> tuple[UpstreamConnection, Peer]:
    """Let a new connection serve one request; return both of its ends."""
    connection = await pool.connect()
    asker = Asker()
    connection.begin(cast("Owner", asker), b"GET / HTTP/1.1\r\n\r\n")
    api = await upstream.connection()
    await api.read_head()
    api.send(answer)
    async with asyncio.timeout(PATIENCE):
        await asker.answered.wait()
    return connection, api


async def ask(pool: Pool, upstream: Upstream, answer: bytes = OK) -> UpstreamConnection:
    return (await asked(pool, upstream, answer))[0]


async def test_the_connection_last_used_is_used_next(pool: Pool, upstream: Upstream) -> None:
    first, second = await ask(pool, upstream), await ask(pool, upstream)
    assert (pool.idle, pool.active) == (0, 2)
    pool.give_back(first)
    pool.give_back(second)
    assert (pool.idle, pool.active) == (2, 0)
    assert pool.take() is second
    assert pool.take() is first
    assert pool.take() is None


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"), id="close"),
        pytest.param(OK.replace(b"HTTP/1.1", b"HTTP/1.0"), id="HTTP/1.0"),
        pytest.param(OK + b"more", id="something behind the answer"),
    ],
)
async def test_after_such_an_answer_a_connection_is_not_kept(
    pool: Pool, upstream: Upstream, answer: bytes
) -> None:
    pool.give_back(await ask(pool, upstream, answer))
    assert pool.idle == 0


async def test_what_was_paused_is_not_given_away_paused(pool: Pool, upstream: Upstream) -> None:
    connection = await ask(pool, upstream)
    connection.pause()
    pool.give_back(connection)
    assert pool.take() is connection
    assert connection.transport.is_reading()


@pytest.mark.parametrize("limit", ["MAX_IDLE", "MAX_AGE"])
async def test_an_old_connection_is_closed(
    pool: Pool, upstream: Upstream, limit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = await ask(pool, upstream)
    pool.give_back(connection)
    pool.expire()
    assert pool.take() is connection
    monkeypatch.setattr(f"proxy.http.pool.{limit}", -1.0)
    pool.give_back(connection)
    pool.expire()
    assert pool.idle == 0
    assert connection.transport.is_closing()


async def test_what_a_rush_has_left_over_goes_sooner(
    pool: Pool, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proxy.http.pool.KEPT", 2)
    monkeypatch.setattr("proxy.http.pool.SPARE_IDLE", -1.0)
    rush = [await ask(pool, upstream) for _ in range(4)]
    for connection in rush:
        pool.give_back(connection)
    pool.expire()
    assert [connection.transport.is_closing() for connection in rush] == [False, False, True, True]


async def test_a_connection_that_ends_while_idle_is_forgotten(
    pool: Pool, upstream: Upstream
) -> None:
    connection, api = await asked(pool, upstream)
    pool.give_back(connection)
    await api.end("close")
    assert await api.ended()
    assert pool.take() is None


async def test_words_out_of_turn_end_an_idle_connection(pool: Pool, upstream: Upstream) -> None:
    connection, api = await asked(pool, upstream)
    pool.give_back(connection)
    api.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nstray")
    assert await api.ended()
    assert pool.take() is None


async def test_new_tls_settings_retire_idle_connections(upstream: Upstream, tls: Tls) -> None:
    contexts = [tls.client, ssl.create_default_context(cafile=str(tls.ca_file))]
    current = [contexts[0]]
    pool = pool_to(upstream.port, lambda: current[0])
    pool.give_back(await ask(pool, upstream))
    current[0] = contexts[1]
    assert pool.take() is None
    assert pool.idle == 0
    pool.abort()


async def test_a_connection_in_use_while_tls_settings_changed_is_not_kept(
    upstream: Upstream, tls: Tls
) -> None:
    contexts = [tls.client, ssl.create_default_context(cafile=str(tls.ca_file))]
    pool = pool_to(upstream.port, lambda: contexts[0])
    before = await ask(pool, upstream)
    contexts.reverse()
    pool.give_back(await ask(pool, upstream))
    pool.give_back(before)
    assert pool.idle == 1
    assert pool.take() is not before
    pool.abort()


async def test_a_certificate_that_is_not_trusted_is_told_apart(upstream: Upstream) -> None:
    pool = pool_to(upstream.port, ssl.create_default_context)
    with pytest.raises(UpstreamCertificate):
        await pool.connect()
    assert not pool.reachable


async def test_a_certificate_for_another_name_is_not_trusted(upstream: Upstream, tls: Tls) -> None:
    pool = pool_to(upstream.port, lambda: tls.client, server_name="other.example")
    with pytest.raises(UpstreamCertificate):
        await pool.connect()


async def test_nobody_listening_is_unreachable(tls: Tls) -> None:
    pool = pool_to(free_port(), lambda: tls.client)
    with pytest.raises(UpstreamUnreachable):
        await pool.connect()


async def test_a_peer_that_never_shakes_hands_is_unreachable(
    tls: Tls, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proxy.http.pool.CONNECT_TIMEOUT", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        pool = pool_to(port, lambda: tls.client)
        with pytest.raises(UpstreamUnreachable):
            await pool.connect()
