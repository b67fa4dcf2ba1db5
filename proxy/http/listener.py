"""Client connections: heads in, one exchange at a time, answers out in the order of the requests.

What follows a request waits in the buffer, unread as HTTP, until its answer has ended; pipelined
requests need nothing more. The buffer is small and the socket is paused when it is full, when
the API server does not keep up, or when there is nowhere yet to send a body: memory is bounded
by what the kernel had already handed over.

A connection has one timer; what its expiry means depends on what the connection is waiting for.

A TLS connection holds some 20 KiB and whatever it has under way, so here and in the other modules
of this package nothing that has ended may be part of a reference cycle: the collector comes much
too seldom for that.
"""

from __future__ import annotations

import asyncio
import re
import socket
import struct
import time
from typing import TYPE_CHECKING, Final, cast

from proxy.errors import (
    Denied,
    HeadTooLarge,
    MalformedRequest,
    ProxyError,
    RequestTimeout,
    TooManyConnections,
)
from proxy.http import answer
from proxy.http.audit_id import new_audit_id
from proxy.http.exchange import Client, Exchange
from proxy.http.head import END, RequestHead
from proxy.http.known import HeadReader, Known
from proxy.http.pool import WRITE_BUFFER, keep_alive
from proxy.http.service import Service
from proxy.http.timer import Timer
from proxy.limits import Limit, Place, Places
from proxy.requestinfo import Kind

if TYPE_CHECKING:
    from proxy.http.tunnel import Tunnel

LINGER: Final = 1.0  # seconds to swallow input after an early answer, so that it is seen
GOODBYE: Final = 30.0  # seconds that a client has to take the end of its last answer
_OVER: Final = {
    "total": "all {0.connections} are in use",
    "address": "this address has its {0.connections_per_address}",
}
_RESET: Final = struct.pack("ii", 1, 0)  # SO_LINGER, on, zero seconds
_BARE_LF: Final = re.compile(rb"(?<!\r)\n")  # no head can have one, so there is no use waiting
_READ_AHEAD: Final = 64 * 1024  # bytes of pipelined requests that may wait


class Listener:
    """All client connections of this proxy; made one by one through ``arrive``."""

    def __init__(self, service: Service) -> None:
        limits = service.limits
        self.service = service
        self.heads = HeadReader(service.headers, service.authority, limits.head_fields)
        self.places = Places(limits.connections, limits.connections_per_address)
        self.draining = False
        self.accepted = 0
        self._connections: set[ClientConnection] = set()
        self._empty = asyncio.Event()
        self._empty.set()

    def arrive(self, address: str) -> ClientConnection | None:
        """Return a protocol for a new connection, which holds a place from now on.

        None where there is no place. ``address`` is empty if the client has none. If the
        connection is not made, ``vanished`` must be called.
        """
        if over := self.places.over(address):
            self.service.observer.limited(over)
        place = self.places.take(address)
        return ClientConnection(self, place) if place else None

    def vanished(self, connection: ClientConnection, *, in_time: bool) -> None:
        """A connection that has arrived was never made; ``in_time`` unless it took too long."""
        self.places.give_back(connection.place)
        if not in_time:
            self.service.observer.limited("handshake")

    def under_way(self, kind: Kind) -> int:
        """Count the exchanges of this kind that have not ended."""
        under_way = (connection.exchange for connection in self._connections)
        return sum(exchange is not None and exchange.kind == kind for exchange in under_way)

    def end_denied(self) -> int:
        """End what is under way of users who are kept out by now; return how many there were."""
        denial, ended = self.service.denial, 0
        for connection in list(self._connections):
            exchange = connection.exchange
            if denial is None or exchange is None or exchange.admission is None:
                continue
            try:
                denial.check(exchange.admission.bearer)
            except Denied as error:
                exchange.stop(error)
                ended += 1
        return ended

    def joined(self, connection: ClientConnection) -> None:
        self.accepted += 1
        self._connections.add(connection)
        self._empty.clear()

    def left(self, connection: ClientConnection) -> None:
        self.places.give_back(connection.place)
        self._connections.discard(connection)
        if not self._connections:
            self._empty.set()

    async def drain(self, grace: float) -> None:
        """Let what is under way finish for up to ``grace`` seconds, then cut what is left."""
        self.draining = True
        for connection in list(self._connections):
            connection.close_if_idle()
        try:
            async with asyncio.timeout(grace):
                await self._empty.wait()
        except TimeoutError:
            for connection in list(self._connections):
                connection.cut()
            await asyncio.sleep(0)  # it is in the next turn of the loop that they end


class ClientConnection(Client, asyncio.Protocol):
    """One client's connection."""

    __slots__ = (
        "_advancing",
        "_block",
        "_buffer",
        "_closing",
        "_known",
        "_listener",
        "_paused",
        "_reading_head",
        "_searched",
        "_skipped",
        "_tunnel",
        "_write_full",
        "exchange",
        "limits",
        "place",
    )

    def __init__(self, listener: Listener, place: Place) -> None:
        self.loop = asyncio.get_running_loop()
        self.limits = listener.service.limits
        self.place = place
        self.address = place.address or "unix"
        self.accepted_at = time.perf_counter()
        self.exchange: Exchange | None = None
        self._listener = listener
        self._tunnel: Tunnel | None = None
        self._buffer = b""
        self._known: Known | None = None  # of the last header block of which anything is,
        self._block = b""  # and that itself, to compare the next with
        self._reading_head = False  # the time for the head at the front runs
        self._searched = 0  # bytes of the buffer in which a head's end was sought in vain
        self._skipped = False  # one empty line before this head
        self._advancing = False
        self._closing = False  # the last answer is out; whatever else comes is swallowed
        self._paused = False
        self._write_full = False

    @property
    def draining(self) -> bool:
        return self._listener.draining

    @property
    def made(self) -> bool:
        """Whether the handshake is done: the connection's end will be told."""
        return getattr(self, "transport", None) is not None

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.timer = Timer(self.loop, self._timed_out)
        self.transport.set_write_buffer_limits(high=WRITE_BUFFER)
        keep_alive(transport)
        self._listener.joined(self)
        self.timer.set(self.limits.head_timeout if self.place.over else self.limits.idle_timeout)
        if self.draining:  # it was still shaking hands when the listener closed
            self.close_if_idle()

    def data_received(self, data: bytes) -> None:
        if self._tunnel is not None:
            self._tunnel.client_data(data)
            return
        if self._closing:
            return
        if (exchange := self.exchange) is not None and not exchange.request_done:
            data = self._body_received(exchange, data)
        if data:
            self._buffer = self._buffer + data if self._buffer else data
        self._advance()

    def eof_received(self) -> None:
        """Close; a client that has stopped sending has left, as for Go's net/http."""

    def connection_lost(self, _: Exception | None) -> None:
        self._closing = True
        self.timer.cancel()
        self._listener.left(self)
        tunnel, self._tunnel = self._tunnel, None
        if tunnel is not None:
            tunnel.client_lost()
        elif (exchange := self.exchange) is not None:
            exchange.client_lost()

    def pause_writing(self) -> None:
        self._write_full = True
        if self._answering:
            self.timer.set(self.limits.stall_timeout)
        if self._tunnel is not None:
            self._tunnel.pause_upstream()
        elif (exchange := self.exchange) is not None:
            exchange.pause_response()

    def resume_writing(self) -> None:
        self._write_full = False
        if self._answering:
            self.timer.clear()
        if self._tunnel is not None:
            self._tunnel.resume_upstream()
        elif (exchange := self.exchange) is not None:
            exchange.resume_response()
        else:
            self._advance()

    @property
    def _answering(self) -> bool:
        """Whether an answer is on its way, which its client may be slow to take."""
        return not self._closing and self.exchange is not None and bool(self.exchange.status)

    # for the exchange

    def send(self, data: bytes) -> None:
        if not self.transport.is_closing():
            self.transport.write(data)

    def join(self, tunnel: Tunnel) -> None:
        """Stop reading HTTP; what has come early, and all that comes, goes to ``tunnel``."""
        self._tunnel = tunnel
        if self._write_full:
            tunnel.pause_upstream()
        else:
            self.timer.clear()
        early, self._buffer = self._buffer, b""
        if early:
            tunnel.client_data(early)
        self.update_reading()

    def cut(self) -> None:
        """End the connection so that an unfinished answer cannot be taken for a whole one."""
        if sock := self.transport.get_extra_info("socket"):
            # A reset, lest the end of a connection without TLS be taken for the end of the answer.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.transport.abort()

    def exchange_ended(self, close: bool, request_done: bool) -> None:
        self.exchange = None
        self.accepted_at = 0.0
        if close or self.draining:
            self._close_after_answer(linger=not request_done or bool(self._buffer) or self._paused)
            return
        self.timer.set(self.limits.idle_timeout)
        if (self._buffer or self._paused) and not self._advancing:
            self._advance()

    def update_reading(self) -> None:
        """Read from the socket only while there is somewhere to put what it gives."""
        exchange = self.exchange
        pause = self._tunnel is None and (
            len(self._buffer) > _READ_AHEAD or (exchange is not None and not exchange.accepting)
        )
        if pause != self._paused and not self.transport.is_closing():
            self._paused = pause
            if pause:
                self.transport.pause_reading()
            else:
                self.transport.resume_reading()

    # for the listener

    def close_if_idle(self) -> None:
        if self.exchange is None and not self._closing:
            self._close_after_answer(linger=False)

    # requests

    def _advance(self) -> None:
        """Begin exchanges while there are whole heads and nothing else is under way."""
        self._advancing = True
        while self._buffer and self.exchange is None and not (self._closing or self._write_full):
            if not self._begin():
                break
        self._advancing = False
        exchange = self.exchange
        if self._buffer or self._paused or (exchange is not None and not exchange.request_done):
            self.update_reading()

    def _begin(self) -> bool:
        """Begin the exchange at the head of the buffer; return whether there was a whole head."""
        try:
            head = self._read_again() or self._read()
        except ProxyError as error:
            self._refuse_unreadable(error)
            return False
        if head is None:
            return False
        self._searched, self._skipped, self._reading_head = 0, False, False
        self.timer.clear()
        self.exchange = exchange = Exchange(self._listener.service, self, head)
        if exchange.kind != "unary":  # who watches asks for nothing else for a while
            self._known, self._block = None, b""
        if not exchange.request_done and self._buffer:
            body, self._buffer = self._buffer, b""
            self._buffer = self._body_received(exchange, body)
        if self.exchange is exchange:
            exchange.start()
        return True

    def _read_again(self) -> RequestHead | None:
        """Take the buffer for a head with the same block as the last, as most often it is."""
        buffer, known = self._buffer, self._known
        if known is None or len(buffer) > self.limits.head_bytes:
            return None
        head = self._listener.heads.read_again(buffer, known, self._block)
        if head is not None:
            self._buffer = b""
        return head

    def _read(self) -> RequestHead | None:
        """Take the head from the front of the buffer, None if it is not whole.

        Raises the ``ProxyError`` that it is refused with.
        """
        if self._buffer.startswith(b"\r\n") and not self._skipped:
            self._buffer, self._skipped = self._buffer[2:], True  # RFC 9112, section 2.2
            self._searched = 0
        buffer, limits = self._buffer, self.limits
        searched = self._searched
        end = buffer.find(END, max(0, searched - len(END) + 1) if searched else 0)
        size = end + len(END) if end >= 0 else len(buffer)
        if self.place.over:
            raise TooManyConnections(_OVER[self.place.over].format(limits))
        if size > limits.head_bytes:
            raise HeadTooLarge(f"a request head of more than {limits.head_bytes} bytes")
        if end < 0:
            if _BARE_LF.search(buffer, searched):
                raise MalformedRequest("a line ends without CR")
            if not self._reading_head:
                self._reading_head = True
                self.timer.set(limits.head_timeout)
            self._searched = size
            return None
        head = self._listener.heads.read(buffer[:size])
        self._buffer = buffer[size:]
        if head.known is not None:
            self._known, self._block = head.known, buffer[buffer.find(b"\r\n") + 2 : size]
        return head

    def _body_received(self, exchange: Exchange, data: bytes) -> bytes:
        try:
            return exchange.client_data(data)
        except ProxyError as error:
            exchange.refuse(error)
            return b""

    # the end

    def _timed_out(self) -> None:
        if self._closing:
            self._close()
        elif self._answering:
            self._limited("stalled")
            self.cut()
        elif (exchange := self.exchange) is not None:
            exchange.timed_out()
        elif self._reading_head:
            seconds = self.limits.head_timeout
            self._refuse_unreadable(RequestTimeout(f"no whole head within {seconds:g} s"))
        else:
            self._limited("idle")
            self._close_after_answer(linger=False)

    def _limited(self, limit: Limit) -> None:
        self._listener.service.observer.limited(limit)

    def _refuse_unreadable(self, error: ProxyError) -> None:
        audit_id = new_audit_id()
        self._listener.service.observer.unreadable(error, self.address, audit_id)
        self.send(answer.refusal(error, audit_id=audit_id, method=b"", close=True, now=time.time()))
        self._close_after_answer(linger=True)

    def _close_after_answer(self, linger: bool) -> None:
        """Close once the answer is out; ``linger`` swallows input first, lest a reset beat it."""
        if self._closing:
            return
        self._closing = True
        self._buffer = self._block = b""
        if linger:
            self.update_reading()
            self.timer.set(LINGER)
        else:
            self._close()

    def _close(self) -> None:
        """Close when all is sent; a client that does not take it in time is cut off."""
        if self.transport.is_closing():
            self.transport.abort()
        else:
            self.timer.set(GOODBYE)
            self.transport.close()
