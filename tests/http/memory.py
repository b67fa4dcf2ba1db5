"""The data plane in memory: the real listener, gate, exchange and pool, and sockets that are not.

Only what stands at a socket or at the clock is faked, so that thousands of conversations cost
seconds, arrive in exactly the pieces that a test wants, and end the same way every time. A
``Wire`` is the proxy's transport, and in the hands of the test the peer behind it: it keeps what
asyncio's own transports promise (nothing is received while reading is paused or after a close, the
loss of the connection is told once and later, writing is paused when the peer takes nothing). TLS
is left out; the tests over real sockets have it.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import Any

from proxy.headers import RequestHeaders
from proxy.http.listener import Listener
from proxy.http.pool import Pool
from proxy.http.service import Service
from proxy.http.tls_transport import Buffers
from proxy.limits import Tally
from tests.corpus import AUTHORITY
from tests.http.conftest import FixedCredential, GivenTLS, Recorder
from tests.http.users import Naming, naming_gate


class Loop(asyncio.SelectorEventLoop):
    """An event loop that runs until nothing is left to do, and whose clock the test moves."""

    def __init__(self) -> None:
        self._now = 0.0
        super().__init__()
        self.unexpected: list[dict[str, Any]] = []
        self.dials: list[Dial] = []
        self.on_dial: Callable[[Dial], None] | None = None
        self.set_exception_handler(lambda _, context: self.unexpected.append(context))

    def time(self) -> float:
        return self._now

    def create_task(self, *arguments: Any, **named: Any) -> asyncio.Task[Any]:
        """Make a task whose failure is told at once, and not when it is collected."""
        task: asyncio.Task[Any] = super().create_task(*arguments, **named)
        task.add_done_callback(self._note_failure)
        return task

    def _note_failure(self, task: asyncio.Task[Any]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self.unexpected.append({"task": task, "exception": error})

    def settle(self) -> None:
        """Run until nothing more happens by itself."""
        while True:
            self.call_soon(self.stop)
            self.run_forever()
            if not self._ready:  # type: ignore[attr-defined]
                return

    def do(self, action: Callable[..., object], *arguments: object) -> None:
        """Do something inside the loop, as if the selector had called, and let it settle."""
        self.call_soon(action, *arguments)
        self.settle()

    def advance(self, seconds: float) -> None:
        self._now += seconds
        self.settle()

    async def dial(self, factory: Any, *_: Any, **__: Any) -> Any:
        dial = Dial(self)
        self.dials.append(dial)
        if self.on_dial is not None:
            self.on_dial(dial)
        try:
            await dial.answer
        finally:
            self.dials.remove(dial)
        wire = Wire(self, factory())
        dial.wire = wire
        wire.protocol.connection_made(wire)
        dial.stands(wire)
        return wire, wire.protocol


class Dial:
    """An attempt of the proxy to connect; the test lets it succeed or fail."""

    def __init__(self, loop: Loop) -> None:
        self.answer: asyncio.Future[None] = loop.create_future()
        self.stands: Callable[[Wire], object] = lambda _: None
        self.wire: Wire | None = None

    def succeed(self, stands: Callable[[Wire], object]) -> None:
        self.stands = stands
        if not self.answer.done():
            self.answer.set_result(None)

    def fail(self) -> None:
        if not self.answer.done():
            self.answer.set_exception(ConnectionRefusedError("refused"))


class Wire(asyncio.Transport):
    """One connection: the proxy's transport on one side, the test's peer on the other.

    ``received`` is what the peer has of what the proxy wrote; ``ended`` is ``""``
    while it stands, ``"closed"`` or ``"aborted"`` by the proxy, ``"left"`` by the peer.
    """

    def __init__(self, loop: Loop, protocol: asyncio.Protocol) -> None:
        super().__init__()
        self.loop, self.protocol = loop, protocol
        self.received = bytearray()
        self.ended = ""
        self.stalled = False  # the peer takes nothing
        self.on_receive: Callable[[], None] = lambda: None
        self._waiting = bytearray()  # written, not yet taken by the peer
        self._incoming: list[bytes] = []
        self._high = 64 * 1024
        self._reading = True
        self._full = self._lost = False

    # asyncio.Transport, for the proxy

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("192.0.2.1", 1) if name == "peername" else default

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._high = high or 0

    def get_write_buffer_size(self) -> int:
        return len(self._waiting)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self.ended:
            return
        if not self.stalled:
            self.received += data
            self.loop.call_soon(self.on_receive)
            return
        self._waiting += data
        if len(self._waiting) > self._high and not self._full:
            self._full = True
            self.protocol.pause_writing()

    def pause_reading(self) -> None:
        self._reading = False

    def resume_reading(self) -> None:
        self._reading = True
        self.loop.call_soon(self._deliver)

    def is_reading(self) -> bool:
        return self._reading and not self.ended

    def is_closing(self) -> bool:
        return bool(self.ended)

    def close(self) -> None:
        if not self.ended:
            self.ended = "closed"
            if not self._waiting:
                self.loop.call_soon(self._lose)

    def abort(self) -> None:
        if not self._lost:
            self.ended = "aborted"
            self._waiting.clear()
            self.loop.call_soon(self._lose)

    # the peer

    def feed(self, data: bytes) -> None:
        """Have ``data`` arrive as one piece, now or as soon as the proxy reads again."""
        self._incoming.append(data)
        self._deliver()

    def finish(self, *, clean: bool) -> None:
        """End the peer's side: in order, or by a reset."""
        if self._lost:
            return
        if clean and not self.ended:
            self.protocol.eof_received()
        self.ended = self.ended or "left"
        self._waiting.clear()
        self._lose(None if clean else ConnectionResetError("reset"))

    def take(self) -> None:
        """Have the peer take what was written, and all that will be."""
        self.stalled = False
        self.received += self._waiting
        self._waiting.clear()
        if self._full:
            self._full = False
            self.protocol.resume_writing()
        if self.ended:
            self.loop.call_soon(self._lose)
        self.loop.call_soon(self.on_receive)

    def _deliver(self) -> None:
        while self._incoming and self._reading and not self.ended:
            self.protocol.data_received(self._incoming.pop(0))

    def _lose(self, error: Exception | None = None) -> None:
        if not self._lost:
            self._lost = True
            self.protocol.connection_lost(error)


class World:
    """A data plane in memory; ``client`` connects to it, ``loop.dials`` are its own attempts."""

    def __init__(self, headers: RequestHeaders | None = None) -> None:
        self.loop = Loop()
        self.seen = Recorder()
        self.credential = FixedCredential()
        self.users = Naming()
        self._headers = headers or RequestHeaders()
        self.pool: Pool
        self.listener: Listener
        self.loop.do(self._build)

    def _build(self) -> None:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.pool = Pool(
            "upstream",
            443,
            server_name="upstream",
            settings=GivenTLS(lambda: tls),
            buffers=Buffers(),
            connect=self.loop.dial,
        )
        self.listener = Listener(
            Service(
                naming_gate(self.users),
                self.credential,
                self.pool,
                AUTHORITY,
                self._headers,
                self.seen,
                streams=Tally(),
                requests=Tally(),
            )
        )

    def client(self) -> Wire:
        connections: list[Wire] = []

        def accept() -> None:
            protocol = self.listener.arrive("192.0.2.1")
            assert protocol is not None
            connections.append(Wire(self.loop, protocol))
            protocol.connection_made(connections[0])

        self.loop.do(accept)
        return connections[0]

    def close(self) -> None:
        self.loop.do(self.pool.abort)
        for connection in list(self.listener._connections):
            self.loop.do(connection.cut)
        self.loop.close()
