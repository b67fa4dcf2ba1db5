"""The data plane alone: a real listener and pool, and a gate that believes what it is told."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from proxy.denial import Bearer
from proxy.errors import Denied, ImpersonationNotAllowed, ProxyError, TokenMissing
from proxy.headers import RequestHeaders
from proxy.http.acceptor import Acceptor
from proxy.http.exchange import Exchange
from proxy.http.head import RequestHead
from proxy.http.listener import Listener
from proxy.http.pool import Pool
from proxy.http.service import Admission, Observer, Service, Sessions
from proxy.http.tls_transport import Buffers
from proxy.impersonation import Impersonation, Policy, impersonate
from proxy.limits import DEFAULTS, Limit, Limits, Tally
from proxy.sockets import listen_at
from proxy.speaker import PassedThrough
from proxy.userinfo import UserInfo
from tests.conftest import Tls
from tests.wire import PATIENCE, Client, Peer, Upstream

POLICY = Policy("headlamp-auth-proxy:authenticated")
AUDIT_ID = rb"\r\nAudit-Id: (.{36})\r\n"  # as a request or an answer carries it
CREDENTIAL = b"Authorization: Bearer the-proxy-itself\r\n"


def identity(name: str) -> Impersonation:
    return impersonate(UserInfo(name, groups=("developers",)), POLICY)


class TrustingGate:
    """Takes the bearer token for the user's name; ``pending`` makes it take its time."""

    def __init__(self) -> None:
        self.pending: asyncio.Future[None] | None = None
        self.protocols: bytes | None = None
        self.header: bytes | None = None  # in place of the identity's own
        self.passes = False  # whom it admits speaks with their own token

    def admit(self, head: RequestHead, now: float) -> Admission | Awaitable[Admission]:
        if not head.authorization:
            raise TokenMissing
        if head.impersonates:
            raise ImpersonationNotAllowed
        if self.passes:
            line = b"Authorization: %s\r\n" % head.authorization[0]
            return Admission(PassedThrough("robot", (), line), Bearer("robot"), self.protocols)
        who = identity(head.authorization[0].removeprefix(b"Bearer ").decode())
        if self.header is not None:
            who = replace(who, header=self.header)
        admission = Admission(who, Bearer(who.username), self.protocols)
        return self._later(admission) if self.pending else admission

    async def _later(self, admission: Admission) -> Admission:
        assert self.pending is not None
        await self.pending
        return admission


class Doorkeeper:
    """Keeps out whoever is in ``denied``."""

    def __init__(self) -> None:
        self.denied: set[str] = set()

    def check(self, bearer: Bearer) -> None:
        if bearer.username in self.denied:
            raise Denied


class FixedCredential:
    def __init__(self) -> None:
        self.line: bytes | None = CREDENTIAL
        self.error: ProxyError | None = None
        self.renewals = self.rereads = 0

    def header(self, now: float) -> bytes | None:
        if self.error:
            raise self.error
        return self.line

    async def renew(self) -> None:
        self.renewals += 1
        self.line = CREDENTIAL

    def reread(self) -> None:
        self.rereads += 1


@dataclass
class Recorder(Observer):
    """Remembers what the observer was told."""

    exchanges: list[Exchange] = field(default_factory=list)
    errors: list[ProxyError] = field(default_factory=list)
    retries: int = 0
    limits: list[Limit] = field(default_factory=list)
    under_way: set[Exchange] = field(default_factory=set)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def begun(self, exchange: Exchange) -> None:
        self.under_way.add(exchange)
        self.changed.set()

    def admitted(self, exchange: Exchange) -> None:
        self.changed.set()

    def answered(self, exchange: Exchange) -> None:
        self.changed.set()

    def ended(self, exchange: Exchange) -> None:
        self.under_way.remove(exchange)  # none ends that has not begun, and none ends twice
        self.exchanges.append(exchange)
        self.changed.set()

    def unreadable(self, error: ProxyError, client: str, audit_id: str) -> None:
        self.errors.append(error)
        self.changed.set()

    def retried(self) -> None:
        self.retries += 1

    def limited(self, limit: Limit) -> None:
        self.limits.append(limit)
        self.changed.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not condition():
                self.changed.clear()
                await self.changed.wait()

    async def ended_exchanges(self, count: int) -> list[Exchange]:
        await self.until(lambda: len(self.exchanges) >= count)
        return self.exchanges


@dataclass
class Proxy:
    """A running data plane and both of its ends."""

    service: Service
    listener: Listener
    pool: Pool
    bare_pool: Pool
    gate: TrustingGate
    credential: FixedCredential
    denial: Doorkeeper
    seen: Recorder
    upstream: Upstream
    port: int
    tls: ssl.SSLContext

    async def client(self) -> Client:
        client = await Client.connect(self.port, self.tls)
        self.clients.append(client)
        return client

    async def asked(self, request: bytes) -> tuple[Client, Peer]:
        """Send a request over a new connection; return both ends, its head read above."""
        client = await self.client()
        client.send(request)
        api = await self.upstream.connection()
        await api.read_head()
        return client, api

    async def places_taken(self, count: int) -> None:
        """Wait until so many connections have a place, whether their handshake is done or not."""
        async with asyncio.timeout(PATIENCE):
            while self.listener.places.taken != count:  # noqa: ASYNC110 - nobody tells of it
                await asyncio.sleep(0)

    clients: list[Client] = field(default_factory=list)


@pytest.fixture
async def proxy(tls: Tls, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Proxy]:
    monkeypatch.setattr("proxy.http.listener.LINGER", 0.1)
    async with Upstream.run(tls.server) as upstream, run_proxy(tls, upstream) as running:
        yield running


@pytest.fixture
async def limited(
    tls: Tls, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Callable[..., Awaitable[Proxy]]]:
    """Start proxies with limits of their own."""
    monkeypatch.setattr("proxy.http.listener.LINGER", 0.1)
    async with contextlib.AsyncExitStack() as stack:
        upstream = await stack.enter_async_context(Upstream.run(tls.server))

        async def start(*, streams: int = 0, requests: int = 0, **limits: Any) -> Proxy:
            made = run_proxy(tls, upstream, Limits(**limits), Tally(streams), Tally(requests))
            return await stack.enter_async_context(made)

        yield start


class GivenTLS:
    """Settings by which TLS connections are made with what ``ssl_context`` returns now."""

    def __init__(self, ssl_context: Callable[[], ssl.SSLContext]) -> None:
        self.ssl_context = ssl_context

    @property
    def tls(self) -> ssl.SSLContext:
        return self.ssl_context()


def pool_to(
    port: int,
    tls: Callable[[], ssl.SSLContext],
    buffers: Buffers | None = None,
    *,
    server_name: str = "localhost",
) -> Pool:
    """Make a pool to a port of this machine; with buffers of its own unless it shares some."""
    return Pool(
        "127.0.0.1",
        port,
        server_name=server_name,
        settings=GivenTLS(tls),
        buffers=buffers or Buffers(),
    )


@contextlib.asynccontextmanager
async def run_proxy(
    tls: Tls,
    upstream: Upstream,
    limits: Limits = DEFAULTS,
    streams: Tally | None = None,
    requests: Tally | None = None,
    sessions: Sessions | None = None,
) -> AsyncIterator[Proxy]:
    gate, credential, denial, seen = TrustingGate(), FixedCredential(), Doorkeeper(), Recorder()
    buffers = Buffers()
    pool = pool_to(upstream.port, lambda: tls.client, buffers)
    bare = pool_to(upstream.port, lambda: tls.client, buffers)
    service = Service(
        gate,
        credential,
        pool,
        b"cluster.example",
        RequestHeaders(),
        seen,
        streams or Tally(),
        requests or Tally(),
        limits,
        denial,
        bare,
        sessions,
    )
    listener = Listener(service)
    sockets = await listen_at("127.0.0.1", 0)
    port = sockets[0].getsockname()[1]
    acceptor = Acceptor(listener, sockets, tls.server, buffers)
    running = Proxy(
        service, listener, pool, bare, gate, credential, denial, seen, upstream, port, tls.client
    )
    try:
        yield running
    finally:
        acceptor.close()
        for client in running.clients:
            await client.gone()
        await listener.drain(0)
        pool.abort()
        bare.abort()
