"""Kept-alive connections to the API server: which may be used again, and how a new one is made.

A peer can vanish without a word (its machine is off, a router has forgotten the connection). One
connection that turns out to be dead so makes all idle ones suspect, and they are closed, lest
request after request wait for one of them.

Connections are not counted against a limit: each is in use by one client's request, and clients
are limited where they arrive. The one last used is used next, so that the others can grow old
and go, soon where a rush has left many. A connection is never older than ``MAX_AGE``, so that load
balancers in front of the API server get their chance, and never outlives the TLS settings that it
was made with.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from typing import Final, Protocol

from proxy.errors import UpstreamCertificate, UpstreamUnreachable
from proxy.http import tls_transport
from proxy.http.known_lines import ResponseReader
from proxy.http.upstream import UpstreamConnection

CONNECT_TIMEOUT: Final = 10.0  # seconds for the name, TCP and TLS together
MAX_IDLE: Final = 60.0  # seconds; kube-apiserver closes idle connections after 90
KEPT: Final = 32  # idle connections that may be so for that long; each is some 20 KiB
SPARE_IDLE: Final = 10.0  # seconds, for those beyond them
MAX_AGE: Final = 600.0  # seconds
KEEP_ALIVE: Final = 30  # seconds between TCP keep-alive probes
PROBES: Final = 3  # that may stay unanswered
UNACKNOWLEDGED: Final = 30  # seconds that the API server's kernel may leave something so
WRITE_BUFFER: Final = 256 * 1024  # bytes that may wait for a peer before the other side pauses


class Connect(Protocol):
    """How a connection is made: see ``tls_transport.connect``."""

    async def __call__(
        self,
        factory: Callable[[], UpstreamConnection],
        host: str,
        port: int,
        context: ssl.SSLContext,
        buffers: tls_transport.Buffers,
        *,
        server_name: str,
    ) -> tuple[asyncio.Transport, UpstreamConnection]: ...


class TLSSettings(Protocol):
    """What connections to the API server are made with."""

    @property
    def tls(self) -> ssl.SSLContext | None:
        """Return the context as it is now: another object once the settings have changed.

        It is asked for with each request, so most often it is a mere attribute. May raise a
        ``ProxyError``.
        """
        ...

    def ssl_context(self) -> ssl.SSLContext:
        """Return the context for a new connection. May raise a ``ProxyError``."""
        ...


def keep_alive(transport: asyncio.BaseTransport) -> None:
    """Have the kernel notice within minutes that a silent peer is gone (a watch may be silent)."""
    sock = transport.get_extra_info("socket")
    if sock is None or sock.family not in {socket.AF_INET, socket.AF_INET6}:
        return
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option in ("TCP_KEEPIDLE", "TCP_KEEPALIVE", "TCP_KEEPINTVL"):
        if hasattr(socket, option):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), KEEP_ALIVE)
    if hasattr(socket, "TCP_KEEPCNT"):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, PROBES)


class Pool:
    """Connections to one API server, made by ``connect`` with what ``settings`` say."""

    def __init__(
        self,
        host: str,
        port: int,
        *,
        server_name: str,
        settings: TLSSettings,
        buffers: tls_transport.Buffers,
        connect: Connect = tls_transport.connect,
    ) -> None:
        self._host, self._port, self._server_name = host, port, server_name
        self._settings = settings
        self._connect = connect
        self._buffers = buffers
        self._heads = ResponseReader()
        self._loop = asyncio.get_running_loop()
        self._context: ssl.SSLContext | None = None  # that the idle connections were made with
        self._idle: list[UpstreamConnection] = []  # the one last used at the end
        self._open: set[UpstreamConnection] = set()
        self.reachable = True  # as far as the last attempt to connect told

    @property
    def idle(self) -> int:
        return len(self._idle)

    @property
    def active(self) -> int:
        return len(self._open) - len(self._idle)

    def take(self) -> UpstreamConnection | None:
        """Return an idle connection that may be used again, or None."""
        if self._idle and self._settings.tls is not self._context:
            self.close_idle()
        now = self._loop.time()
        while self._idle:
            connection = self._idle.pop()
            if not self._expired(connection, now):
                return connection
            connection.transport.close()
        return None

    async def connect(self) -> UpstreamConnection:
        """Make a new connection; raises ``UpstreamUnreachable`` or ``UpstreamCertificate``."""
        context = self._settings.ssl_context()
        self.reachable = False
        where = f"{self._host}:{self._port}"
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                transport, connection = await self._connect(
                    lambda: UpstreamConnection(self._forget, self._heads.read),
                    self._host,
                    self._port,
                    context,
                    self._buffers,
                    server_name=self._server_name,
                )
        except ssl.SSLCertVerificationError as error:
            raise UpstreamCertificate(f"{where}: {error.verify_message}") from error
        except TimeoutError as error:
            raise UpstreamUnreachable(f"{where}: no connection in {CONNECT_TIMEOUT:g} s") from error
        except OSError as error:
            raise UpstreamUnreachable(f"{where}: {error}") from error
        if connection.lost:
            raise UpstreamUnreachable(f"{where}: closed as soon as it was open")
        self.reachable = True
        keep_alive(transport)
        connection.give_up_after(UNACKNOWLEDGED)
        transport.set_write_buffer_limits(high=WRITE_BUFFER)
        connection.opened_at = self._loop.time()
        connection.tls = context
        if context is not self._context:
            self.close_idle()
            self._context = context
        self._open.add(connection)
        return connection

    def give_back(self, connection: UpstreamConnection) -> None:
        """Take a connection back from an exchange that is done; keep it if it may be kept."""
        if connection.release() and connection.tls is self._context:
            now = self._loop.time()
            idle = MAX_IDLE if len(self._idle) < KEPT else SPARE_IDLE
            connection.usable_until = min(now + idle, connection.opened_at + MAX_AGE)
            self._idle.append(connection)
        else:
            connection.close()

    def expire(self) -> None:
        """Close what has been idle, or has lived, too long; called once in a while."""
        now = self._loop.time()
        for connection in [c for c in self._idle if self._expired(c, now)]:
            self._idle.remove(connection)
            connection.transport.close()

    def close_idle(self) -> None:
        while self._idle:
            self._idle.pop().transport.close()

    def abort(self) -> None:
        """End every connection at once."""
        self._idle.clear()
        for connection in list(self._open):
            connection.transport.abort()

    def _expired(self, connection: UpstreamConnection, now: float) -> bool:
        return now > connection.usable_until or connection.transport.is_closing()

    def _forget(self, connection: UpstreamConnection) -> None:
        self._open.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        if connection.vanished:
            self.close_idle()
