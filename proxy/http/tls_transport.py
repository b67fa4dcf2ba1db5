"""TLS over the event loop's own TCP connections, at little memory for each of them.

A loop's own TLS keeps buffers for every connection, whether anything passes or not; most of ours
are watches, on which seldom anything does. Here all connections, of both sides, share one set of
buffers (``Buffers``), the one that the socket is read into among them: whatever is put in is taken
out again before anybody else has his turn. So two things must stay true in this module. Between
filling a buffer and emptying it no code of others is called; and what a read has brought is
decrypted whole before any of it is delivered. The rest follows: nothing that came is ever held back
here, and ``pause_reading`` pauses the socket itself.

What is written is encrypted at once. Where many connections write in a turn of the loop, it leaves
at its end, both sides' in a row: between two requests the kernel's sending would push their code
and data out of the processor's caches. Where few do, as events come, it leaves at once, for
then putting it off costs more than that (docs/performance-profile.md); and so it does behind what
its peer has not taken yet, so that ``pause_writing`` comes in the midst of the ``write`` it is for.

A ``TLSTransport`` is the protocol of a TCP transport and the transport of its own protocol, in
asyncio's sense of both, on uvloop. What it promises beyond them: ``eof_received`` is called for a
``close_notify`` and never for a connection that merely ended; nothing is written in plaintext,
whatever state it is in; a handshake has a time limit, and so has the wait for the peer's end
after ``close``. A protocol must not pause reading in ``connection_made``.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
from collections.abc import Callable
from typing import Any, Final, Literal, Protocol, TypeVar, cast

_log = logging.getLogger(__name__)

GOODBYE: Final = 30.0  # seconds that a peer has to take the last that was written, and to end
TOGETHER: Final = 32  # connections that send in a row; no more, for what is sent waits for them
FEW: Final = 2  # writers in a turn for which putting off costs more than it saves
AT_ONCE: Final = 64  # writes that are sent at once before putting off is tried again
_RECORD: Final = 16 * 1024  # bytes of content in a TLS record at most (RFC 8446, section 5.1)
_PIECE: Final = 4 * _RECORD  # bytes to encrypt at once
_READ: Final = 8 * _RECORD  # bytes to take from the socket at once
_UNTAKEN: Final = 1024 * 1024  # bytes that may wait when TLS itself has something to answer

_End = Literal["", "in order", "broken"]


class Told(Protocol):
    """All that a transport tells its protocol: ``asyncio.Protocol``, which need not be its base."""

    def connection_made(self, transport: asyncio.BaseTransport, /) -> None: ...
    def data_received(self, data: bytes, /) -> None: ...
    def eof_received(self) -> bool | None: ...
    def connection_lost(self, exc: Exception | None, /) -> None: ...
    def pause_writing(self) -> None: ...
    def resume_writing(self) -> None: ...


P = TypeVar("P", bound=Told)


class Buffers:
    """What all connections of an event loop use in turn; its buffers are empty between two of them.

    ``socket`` is what is read into, small enough to stay in the processor's cache; ``writers`` are
    those that have something to send at the end of this turn of the loop, ``in_turn`` is how many
    there were in it, and ``at_once`` how many writes are to be sent at once before there are such
    again.
    """

    def __init__(self) -> None:
        self.socket = memoryview(bytearray(_READ))
        self.incoming = ssl.MemoryBIO()
        self.outgoing = ssl.MemoryBIO()
        self.writers: list[TLSTransport] = []
        self.in_turn = self.at_once = 0

    def send_later(self, writer: TLSTransport) -> None:
        """Have ``writer`` send with the others; at once when there are enough of them."""
        if not self.in_turn:
            asyncio.get_running_loop().call_soon(self._end_turn)
        self.in_turn += 1
        self.writers.append(writer)
        if len(self.writers) >= TOGETHER:
            self._send()

    def _end_turn(self) -> None:
        if self.in_turn <= FEW:
            self.at_once = AT_ONCE
        self.in_turn = 0
        self._send()

    def _send(self) -> None:
        writers, self.writers = self.writers, []
        for writer in writers:
            try:
                writer.send()
            except Exception:  # noqa: BLE001 - whatever it is, it is no affair of the others'
                _log.exception("[unexpected] a connection could not be written to")
                writer.abort()


async def accept(
    protocol: Told,
    sock: socket.socket,
    context: ssl.SSLContext,
    buffers: Buffers,
    *,
    timeout: float,  # noqa: ASYNC109 - a timer of the transport's, which costs less than a scope
) -> None:
    """Shake hands on an accepted connection.

    Raises TimeoutError if that takes more than ``timeout`` seconds, another OSError if it fails.
    """
    loop = asyncio.get_running_loop()
    made = loop.create_future()
    transport = TLSTransport(protocol, context, buffers, made, timeout=timeout)
    try:
        await loop.connect_accepted_socket(lambda: cast("asyncio.BaseProtocol", transport), sock)
        await made
    except BaseException:
        transport.abort()
        del made  # which holds the exception, which holds this frame
        raise


async def connect(
    factory: Callable[[], P],
    host: str,
    port: int,
    context: ssl.SSLContext,
    buffers: Buffers,
    *,
    server_name: str,
) -> tuple[asyncio.Transport, P]:
    """Connect and shake hands, for as long as it takes. Raises OSError, ssl.SSLError included."""
    loop = asyncio.get_running_loop()
    made, protocol = loop.create_future(), factory()
    transport = TLSTransport(protocol, context, buffers, made, server_name=server_name)
    try:
        await loop.create_connection(lambda: cast("asyncio.BaseProtocol", transport), host, port)
        await made
    except BaseException:
        transport.abort()
        del made  # which holds the exception, which holds this frame
        raise
    return cast("asyncio.Transport", transport), protocol


class TLSTransport:  # and none of asyncio's classes below it: C has no base that is Python's
    """One TLS connection, in either role; client if there is a ``server_name``.

    uvloop takes for a buffered protocol what has ``get_buffer`` and is no ``asyncio.Protocol``.
    """

    __slots__ = (
        "_buffers",
        "_fresh",
        "_inner",
        "_made",
        "_protocol",
        "_raw",
        "_state",
        "_timer",
        "_tls",
        "_unsent",
    )

    def __init__(
        self,
        protocol: Told,
        context: ssl.SSLContext,
        buffers: Buffers,
        made: asyncio.Future[None],
        *,
        server_name: str | None = None,
        timeout: float | None = None,
    ) -> None:
        self._protocol: Told | None = protocol
        self._raw: asyncio.Transport | None = None
        self._buffers = buffers
        self._unsent = b""  # encrypted, and not sent yet
        self._made: asyncio.Future[None] | None = made  # until it is, or cannot be
        self._tls = context.wrap_bio(
            buffers.incoming,
            buffers.outgoing,
            server_side=server_name is None,
            server_hostname=server_name,
        )
        # What its ``read``, ``write`` and ``pending`` call and nothing else, so that between the
        # loop and the other connection there is no function of Python's. It is private, so it may
        # be missing.
        self._inner: ssl.SSLObject = getattr(self._tls, "_sslobj", self._tls)
        # A client's session tickets come behind the handshake, and OpenSSL takes a buffer of 16 KiB
        # to write to for them, which it gives back only after the next writing. Of a watch there is
        # none, so it is given something to write that is nothing.
        self._fresh = server_name is not None
        self._state: Literal["shaking", "open", "closing", "lost"] = "shaking"
        self._timer: asyncio.TimerHandle | None = None
        if timeout is not None:
            self._timer = made.get_loop().call_later(timeout, self._too_late)

    # the TCP transport's protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._raw = cast("asyncio.Transport", transport)
        if self._made is None:  # given up by now
            self._raw.abort()
        else:
            self._shake_hands()

    def get_buffer(self, _hint: int) -> memoryview:
        return self._buffers.socket

    def buffer_updated(self, size: int) -> None:
        buffers = self._buffers
        incoming, outgoing = buffers.incoming, buffers.outgoing
        incoming.write(buffers.socket[:size])
        if self._state == "shaking":
            self._shake_hands()
            return
        end: _End = ""
        # OpenSSL is given a ``bytes`` of that size to write to, so no more than what came can hold:
        # all of a record that came whole. Of nothing it would say that nothing is the end.
        most = min(size or 1, _RECORD)
        try:
            content = self._inner.read(most)
            if incoming.pending or not content or len(content) == most:
                content, end = self._rest(content)
        except ssl.SSLWantReadError:  # a part of a record, which OpenSSL keeps
            content = b""
        except OSError:
            content, end = b"", "broken"
            incoming.read()
        if content and self._fresh:
            self._fresh = False
            with contextlib.suppress(OSError):
                self._inner.write(b"")
        if outgoing.pending:
            self._answer()
        if end or self._state != "open":
            self._deliver(content, end)
        elif content and self._protocol is not None:  # most often, so not in one more function
            self._protocol.data_received(content)

    def eof_received(self) -> None:
        """Close: what was written is sent, and the protocol hears of no end in order."""
        if self._state == "shaking":
            self._fail(ConnectionResetError("the connection ended during the handshake"))
        elif self._state == "open":
            self._begin_closing()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._made is not None:
            self._not_made(exc or ConnectionResetError("the connection was lost"))
        self._state = "lost"
        self._unsent = b""
        self._stop_timer()
        protocol, self._protocol = self._protocol, None
        if protocol is not None:
            protocol.connection_lost(exc)

    def pause_writing(self) -> None:
        if self._state == "open" and self._protocol is not None:
            self._protocol.pause_writing()

    def resume_writing(self) -> None:
        if self._state == "open" and self._protocol is not None:
            self._protocol.resume_writing()

    # the protocol's transport

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        if name == "ssl_object":
            return self._tls
        if self._raw is None or self._state == "lost":
            return default
        return self._raw.get_extra_info(name, default)

    def is_closing(self) -> bool:
        return self._state != "open"

    def is_reading(self) -> bool:
        return self._state == "open" and self._tcp.is_reading()

    def pause_reading(self) -> None:
        if self._state == "open":
            self._tcp.pause_reading()

    def resume_reading(self) -> None:
        if self._state == "open":
            self._tcp.resume_reading()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._tcp.set_write_buffer_limits(high, low)

    def get_write_buffer_size(self) -> int:
        if self._state == "lost":
            return 0
        return len(self._unsent) + self._tcp.get_write_buffer_size()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self._state != "open":
            return
        try:
            if len(data) <= _PIECE and len(self._unsent) <= _PIECE:
                self._inner.write(data)
                self._put_off(self._buffers.outgoing.read())
                return
            whole = memoryview(data)
            for start in range(0, len(data), _PIECE):
                self._inner.write(whole[start : start + _PIECE])
                self._flush()
                if self.is_closing():  # as whoever heard that it is full has wished
                    return
        except OSError:
            self._fail()

    def send(self) -> None:
        """Send what was encrypted and is still to be sent, if anything is."""
        unsent, self._unsent = self._unsent, b""
        if unsent and self._raw is not None:
            self._raw.write(unsent)

    def close(self) -> None:
        """Send what was written and the end, and await the peer's; until then swallow what comes.

        A connection that is closed with something unread is reset by the kernel, which would take
        from the peer what it has not read itself; and some peers forget that when they see TCP end.
        """
        if self._state == "shaking":
            self.abort()
        elif self._state == "open":
            self._begin_closing()
            self._tcp.resume_reading()

    def abort(self) -> None:
        if self._made is not None:
            self._not_made(None)
        self._stop_timer()
        self._unsent = b""
        if self._state != "lost":
            self._state = "closing"
            if self._raw is not None:
                self._raw.abort()

    # what both are made of

    @property
    def _tcp(self) -> asyncio.Transport:
        assert self._raw is not None
        return self._raw

    def _shake_hands(self) -> None:
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            self._flush()
            return
        except OSError as error:
            self._fail(error)
            return
        early: tuple[bytes, _End] = (b"", "")
        if self._buffers.incoming.pending:
            early = self._early()
        self._flush()
        self._stop_timer()
        self._state = "open"
        made, self._made = self._made, None
        assert made is not None
        assert self._protocol is not None
        self._protocol.connection_made(cast("asyncio.Transport", self))
        if not made.done():
            made.set_result(None)
        self._deliver(*early)

    def _early(self) -> tuple[bytes, _End]:
        """Take what has come together with the end of the handshake."""
        try:
            return self._rest(self._inner.read(_RECORD))
        except ssl.SSLWantReadError:
            return b"", ""
        except OSError:
            self._buffers.incoming.read()
            return b"", "broken"

    def _rest(self, first: bytes) -> tuple[bytes, _End]:
        """Take all that has come behind ``first``; return both, and whether it was the last."""
        incoming, parts = self._buffers.incoming, [first]
        end: _End = "" if first else "in order"
        try:
            while (incoming.pending or self._inner.pending()) and not end:
                part = self._inner.read(_RECORD)
                parts.append(part)
                if not part:
                    end = "in order"
        except ssl.SSLWantReadError:
            pass
        except OSError:
            end = "broken"
        incoming.read()  # nothing, but behind the last
        return b"".join(parts), end

    def _deliver(self, content: bytes, end: _End) -> None:
        if self._state == "closing":
            if end:
                self._tcp.close()
            return
        protocol = self._protocol
        if protocol is None:
            return
        if content:
            protocol.data_received(content)
        if end and self._state == "open":
            if end == "broken":
                self._fail()
                return
            protocol.eof_received()
            if self._state == "open":
                self._begin_closing()
                self._tcp.close()

    def _answer(self) -> None:
        """Send what TLS itself has to say; a peer that has it say much and takes nothing is cut."""
        self._flush()
        if self._state != "lost" and self._tcp.get_write_buffer_size() > _UNTAKEN:
            self.abort()

    def _put_off(self, encrypted: bytes) -> None:
        buffers, raw = self._buffers, self._raw
        assert raw is not None
        if self._unsent:
            self._unsent += encrypted
        elif buffers.at_once:
            buffers.at_once -= 1
            raw.write(encrypted)
        elif raw.get_write_buffer_size():  # whoever fills it is told so while writing
            raw.write(encrypted)
        else:
            self._unsent = encrypted
            buffers.send_later(self)

    def _flush(self) -> None:
        """Send at once what was encrypted; in one write, which may call the protocol."""
        unsent, self._unsent = self._unsent, b""
        if encrypted := unsent + self._buffers.outgoing.read():
            self._tcp.write(encrypted)

    def _begin_closing(self) -> None:
        self._state = "closing"
        with contextlib.suppress(OSError):  # most often that the peer has not said its own yet
            self._tls.unwrap()
        self._flush()
        self._timer = asyncio.get_running_loop().call_later(GOODBYE, self.abort)

    def _fail(self, error: Exception | None = None) -> None:
        """End a connection on which TLS is broken; the alert that says why goes out if it can."""
        self._buffers.incoming.read()
        alert = self._buffers.outgoing.read()
        self.send()
        if self._made is not None:
            self._not_made(error)
        self._stop_timer()
        self._state = "closing"
        if alert and not self._tcp.get_write_buffer_size():
            self._tcp.write(alert)
        if self._tcp.get_write_buffer_size():
            self._tcp.abort()
        else:
            self._tcp.close()

    def _too_late(self) -> None:
        self._not_made(TimeoutError("the handshake takes too long"))
        self.abort()

    def _not_made(self, error: Exception | None) -> None:
        made, self._made, self._protocol = self._made, None, None
        if made is not None and not made.done():
            if error is None:
                made.cancel()
            else:
                made.set_exception(error)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
