"""The network between the proxy and a server, and the ways in which it fails.

A ``Cable`` is a TCP relay on loopback: TLS passes through it, so that a test can put one in front
of a real API server. ``unplug`` makes the other machine vanish as far as this one's kernel can
tell: a socket filter drops every packet before it is acknowledged, connections being made included.
No FIN, no RST, and no privilege is needed for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import fcntl
import socket
import struct
import sys
import termios
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

_ATTACH, _DETACH = 26, 27  # SO_ATTACH_FILTER, SO_DETACH_FILTER of asm-generic/socket.h
_NOTHING = ctypes.create_string_buffer(struct.pack("HBBI", 0x06, 0, 0, 0))  # BPF: return 0 bytes
PATIENCE = 10.0  # seconds


def deafen(sock: Any) -> None:
    """Have the kernel drop whatever comes for ``sock``, unacknowledged."""
    program = struct.pack("HL", 1, ctypes.addressof(_NOTHING))
    sock.setsockopt(socket.SOL_SOCKET, _ATTACH, program)


def cure(sock: Any) -> None:
    with contextlib.suppress(OSError):  # it hears well
        sock.setsockopt(socket.SOL_SOCKET, _DETACH, 0)


def _unacknowledged(writer: asyncio.StreamWriter) -> int:
    """Bytes that were written and that the peer's kernel has not acknowledged."""
    queue = fcntl.ioctl(writer.get_extra_info("socket"), termios.TIOCOUTQ, bytes(4))
    return writer.transport.get_write_buffer_size() + int.from_bytes(queue, sys.byteorder)


class Cable:
    """Leads from ``port`` to the server at ``target``, which may be changed for new connections."""

    def __init__(self, target: int, host: str, port: int) -> None:
        self.target = target
        self.host, self.port = host, port
        self.connections = 0  # that were made so far
        self._loop = asyncio.new_event_loop()
        self._open: set[asyncio.StreamWriter] = set()  # towards the proxy
        self._plugged = asyncio.Event()
        self._plugged.set()

    @classmethod
    @contextlib.contextmanager
    def run(cls, target: int, *, host: str = "127.0.0.1", port: int = 0) -> Iterator[Cable]:
        cable = cls(target, host, port)
        thread = threading.Thread(target=cable._loop.run_forever, name="cable")
        thread.start()
        try:
            cable._do(cable._listen)
            yield cable
        finally:
            cable._do(cable._end)
            cable._loop.call_soon_threadsafe(cable._loop.stop)
            thread.join()
            cable._loop.close()

    def cut(self) -> None:
        """Reset every connection towards the proxy."""
        self._do(self._cut)

    def unplug(self) -> None:
        """Let nothing through any more, in either direction, and acknowledge nothing."""
        self._do(self._unplug)

    def plug_in(self) -> None:
        self._do(self._plug_in)

    def _do(self, work: Callable[[], Any]) -> None:
        async def done() -> None:
            result = work()
            if asyncio.iscoroutine(result):
                await result

        asyncio.run_coroutine_threadsafe(done(), self._loop).result(PATIENCE)

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._accept, self.host, self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _end(self) -> None:
        self._server.close()
        self._plug_in()
        self._cut()
        while tasks := asyncio.all_tasks() - {asyncio.current_task()}:
            await asyncio.wait(tasks, timeout=PATIENCE)

    def _sockets(self) -> Iterator[Any]:
        yield from self._server.sockets
        for writer in self._open:
            yield writer.get_extra_info("socket")

    async def _unplug(self) -> None:
        self._plugged.clear()
        # What is not acknowledged would be sent again, which is a sign of life.
        while any(_unacknowledged(writer) for writer in self._open):  # noqa: ASYNC110
            await asyncio.sleep(0.005)  # the kernel tells nobody when
        for sock in self._sockets():
            deafen(sock)

    def _plug_in(self) -> None:
        for sock in self._sockets():
            cure(sock)
        self._plugged.set()

    def _cut(self) -> None:
        for writer in self._open:
            sock = writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        with contextlib.suppress(OSError):
            async with self._far(writer) as (far_reader, far_writer):
                up = asyncio.create_task(self._relay(reader, far_writer))
                down = asyncio.create_task(self._relay(far_reader, writer))
                await asyncio.wait([up, down], return_when=asyncio.FIRST_COMPLETED)
                for task in (up, down):
                    task.cancel()
                await asyncio.wait([up, down])

    @contextlib.asynccontextmanager
    async def _far(
        self, near: asyncio.StreamWriter
    ) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        self._open.add(near)
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.target)
            try:
                yield reader, writer
            finally:
                writer.transport.abort()
        finally:
            self._open.discard(near)
            near.transport.abort()

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                await self._plugged.wait()
                writer.write(data)
                await writer.drain()
