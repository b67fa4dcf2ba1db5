"""A client for what wrk cannot do: thousands of connections, each known by name.

It is cheap rather than correct: it knows the answers that it will get.
"""

from __future__ import annotations

import asyncio
import ssl
import struct
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from typing import Any, Final, TypeVar

import uvloop

from bench.streams import PRINTED

PATIENCE: Final = 90.0  # seconds for any one measurement
AT_ONCE: Final = 32  # handshakes, or requests
EXEC: Final = "/api/v1/namespaces/default/pods/p/exec?command=sh&stdin=true&stdout=true"

T = TypeVar("T")


def run(measurement: Coroutine[Any, Any, T]) -> T:
    """Run a measurement on an event loop of its own. Raises TimeoutError if it hangs."""

    async def bounded() -> T:
        async with asyncio.timeout(PATIENCE):
            return await measurement

    return asyncio.Runner(loop_factory=uvloop.new_event_loop).run(bounded())


def _anybody() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


_TLS: Final = _anybody()


class Connection:
    """One connection to a proxy, with a token of its own."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def open(cls, port: int) -> Connection:
        return cls(*await asyncio.open_connection("127.0.0.1", port, ssl=_TLS))

    def close(self) -> None:
        self._writer.transport.abort()

    async def head(self, path: str, token: str, *fields: str) -> bytes:
        """Ask, and return the head of the answer."""
        lines = [f"GET {path} HTTP/1.1", "Host: 127.0.0.1", f"Authorization: Bearer {token}"]
        self._writer.write("\r\n".join([*lines, *fields, "", ""]).encode())
        return await self._reader.readuntil(b"\r\n\r\n")

    async def ask(self, path: str, token: str, *fields: str) -> None:
        """Ask, and take the whole answer. Raises AssertionError unless it is a 200."""
        head = await self.head(path, token, *fields)
        assert head.startswith(b"HTTP/1.1 200"), head
        lines = head.lower().split(b"\r\n")
        if sizes := [line[15:] for line in lines if line.startswith(b"content-length:")]:
            await self._reader.readexactly(int(sizes[0]))
            return
        while size := int(await self._reader.readline(), 16):
            await self._reader.readexactly(size + 2)
        await self._reader.readline()

    async def watch(self, token: str) -> None:
        """Begin a watch, and take its first event."""
        head = await self.head("/watch?watch=true", token)
        assert head.startswith(b"HTTP/1.1 200"), head
        await self.event()

    async def event(self) -> int:
        """Await the next event of a watch; return its delay in nanoseconds."""
        line = await self._reader.readuntil(b"}")
        now = time.monotonic_ns()
        await self._reader.readuntil(b"\n\r\n")
        return now - int(line.rpartition(b":")[2][:-1])

    async def tunnel(self, token: str, path: str = EXEC, *fields: str) -> None:
        """Upgrade to a WebSocket, as `kubectl exec` does."""
        head = await self.head(
            path,
            token,
            *fields,
            "Connection: Upgrade",
            "Upgrade: websocket",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        )
        assert head.startswith(b"HTTP/1.1 101"), head

    async def echo(self) -> None:
        self._writer.write(b"\x82\x81\0\0\0\0x")
        assert await self._reader.readexactly(3) == b"\x82\x01x"

    async def bulk(self, frames: int, size: int) -> None:
        """Take so many frames of so many bytes."""
        self._writer.write(b"\x82\x88\0\0\0\0" + struct.pack("!Q", frames))
        left = frames * (size + 4)
        while left:
            data = await self._reader.read(1 << 20)
            assert data, "the tunnel ended early"
            left -= len(data)

    async def paced(self, frames: int, interval: float) -> list[int]:
        """Have so many frames printed, so many seconds apart; return their delays, in ns."""
        self._writer.write(b"\x82\x8c\0\0\0\0" + struct.pack("!QI", frames, round(interval * 1e9)))
        delays = []
        for _ in range(frames):
            frame = await self._reader.readexactly(2 + PRINTED)
            delays.append(time.monotonic_ns() - int(frame[3:]))
        return delays


async def open_all(port: int, count: int) -> list[Connection]:
    """Open so many connections."""
    return await each(lambda _: Connection.open(port), range(count))


async def each(
    work: Callable[[Any], Awaitable[T]], items: Iterable[Any], at_once: int = AT_ONCE
) -> list[T]:
    """Do the work for every item, few at once; return the results, in order."""
    queue, results = list(enumerate(items))[::-1], dict[int, T]()

    async def worker() -> None:
        while queue:
            n, item = queue.pop()
            results[n] = await work(item)

    async with asyncio.TaskGroup() as group:
        for _ in range(at_once):
            group.create_task(worker())
    return [results[n] for n in sorted(results)]


def percentiles(seconds: Sequence[float]) -> dict[str, float]:
    """Return p50, p99 and p99.9 in microseconds."""
    ordered = sorted(seconds)
    last = len(ordered) - 1
    return {
        name: ordered[round(share * last)] * 1e6
        for name, share in (("p50", 0.5), ("p99", 0.99), ("p999", 0.999))
    }
