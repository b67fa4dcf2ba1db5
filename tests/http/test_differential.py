"""The corpus over real sockets: the proxy and an independent server read the same requests.

And the harness itself: it finds each of the holes of a proxy that has them.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest

from proxy.headers import RequestHeaders
from proxy.http.acceptor import Acceptor
from proxy.http.listener import Listener
from proxy.http.pool import Pool
from proxy.http.service import Service
from proxy.http.tls_transport import Buffers
from proxy.limits import Tally
from proxy.sockets import listen_at
from tests.conftest import Tls
from tests.corpus import AUTHORITY, PROBE, Case
from tests.corpus.every import BY_PART, CASES
from tests.differential import Answers, Observation, Server, differences, methods
from tests.http.conftest import FixedCredential, Recorder, pool_to
from tests.http.holed import HoledProxy
from tests.http.users import Naming, naming_gate

PATIENCE = 10.0  # seconds that anything may take which is bound to come
IMPATIENCE = 0.3  # seconds for what may never come, because the proxy is broken


Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]]


@contextlib.asynccontextmanager
async def listening(serve: Serve, tls: ssl.SSLContext | None) -> AsyncIterator[int]:
    """Serve connections on a port of loopback, and leave none behind."""
    tasks: set[asyncio.Task[None]] = set()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        with contextlib.suppress(ConnectionError):
            await serve(reader, writer)
        writer.close()
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            await writer.wait_closed()

    server = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=tls)
    yield server.sockets[0].getsockname()[1]
    server.close()
    async with asyncio.timeout(PATIENCE):
        await asyncio.gather(*tasks)


class H11Upstream:
    """A server that reads with h11 and notes what it saw in ``observed``."""

    def __init__(self) -> None:
        self.observed = Observation()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server = Server(self.observed)
        while data := await reader.read(65536):
            writer.write(server.receive(data))


async def observe(port: int, upstream: H11Upstream, case: Case, patience: float) -> Observation:
    """Send a case over a connection of its own and read all that follows."""
    upstream.observed = observed = Observation()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(case.stream)
    answers = Answers(observed, methods(case))
    with contextlib.suppress(TimeoutError, ConnectionError):
        async with asyncio.timeout(patience):
            while not _is_over(case, observed) and (data := await reader.read(65536)):
                answers.receive(data)
            observed.ended = not _is_over(case, observed)
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()
    return observed


def _is_over(case: Case, observed: Observation) -> bool:
    """Whether all has come that must: not so where the end of the connection still must."""
    if observed.answers and observed.answers[-1].status == 101:
        tunnel = observed.seen[-1].tunnel if observed.seen else None
        return tunnel is not None and tunnel.endswith(PROBE)
    enough = len(observed.answers) >= len(case.expected(ended=False))
    return case.closes is not True and enough


@contextlib.asynccontextmanager
async def running_proxy(tls: Tls, upstream: int) -> AsyncIterator[tuple[int, Pool]]:
    buffers = Buffers()
    pool = pool_to(upstream, lambda: tls.client, buffers)
    gate = naming_gate(Naming())
    credential, seen = FixedCredential(), Recorder()
    service = Service(
        gate, credential, pool, AUTHORITY, RequestHeaders(), seen, streams=Tally(), requests=Tally()
    )
    listener = Listener(service)
    sockets = await listen_at("127.0.0.1", 0)
    acceptor = Acceptor(listener, sockets, None, buffers)
    try:
        yield sockets[0].getsockname()[1], pool
    finally:
        acceptor.close()
        await listener.drain(0)
        pool.abort()


@pytest.mark.parametrize("part", BY_PART)
async def test_both_servers_read_the_same_requests(
    tls: Tls, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    monkeypatch.setattr("proxy.http.listener.LINGER", 0.001)
    found = {}
    upstream = H11Upstream()
    async with (
        listening(upstream.serve, tls.server) as above,
        running_proxy(tls, above) as (port, pool),
    ):
        for case in BY_PART[part]:
            observed = await observe(port, upstream, case, PATIENCE)
            if problems := differences(case, observed):
                found[case.name] = problems
            pool.close_idle()
    assert found == {}


# What the holed proxy does right, and what it does wrong: the names of cases, and what is found.
SOUND = [
    "the plainest request",
    "ten requests in a row",
    "body: a length",
    "body: chunks",
    "three times a body that looks like a request",
]
COUNT = "requests were to be seen upstream"
HOLES = {
    "both, coding first, CL.TE body, length 40": COUNT,  # one more
    "not a length, and a whole request behind it": COUNT,  # one fewer
    "a request behind an upgrade that is refused": COUNT,
    "credential: no credential": COUNT,
    "target 'http://evil.example/version'": COUNT,
    "field: a bare LF that hides a field": COUNT,
    "impersonating: Impersonate-User: root": "(b'impersonate-user', b'root')",
    "impersonating: Impersonate_User: root": "(b'impersonate-user', b'root')",
    "Connection names Impersonate-User": "not [(b'host', b'cluster.example')",
    "lost: Cookie: a=b": "(b'cookie', b'a=b')",
    "length '+71'": "upstream: bad Content-Length",
    "chunk size '+5'": "upstream: illegal chunk header",
}


async def through_the_holed(name: str) -> list[str]:
    (case,) = [case for case in CASES if case.name == name]
    upstream = H11Upstream()
    async with (
        listening(upstream.serve, None) as above,
        listening(HoledProxy(above).serve, None) as port,
    ):
        return differences(case, await observe(port, upstream, case, IMPATIENCE))


@pytest.mark.parametrize("name", SOUND)
async def test_the_harness_finds_nothing_where_there_is_nothing(name: str) -> None:
    assert await through_the_holed(name) == []


@pytest.mark.parametrize(("name", "finding"), HOLES.items())
async def test_the_harness_finds_the_holes_of_a_proxy_that_has_them(
    name: str, finding: str
) -> None:
    assert finding in " ".join(await through_the_holed(name))
