"""Both ends of the proxy, byte by byte, over real TLS on loopback.

``Upstream`` stands where the API server would: a test takes each connection as it comes, reads
what was really sent and answers whatever it likes. ``Client`` sends what it is told and reads
answers with h11, a parser that has nothing in common with the proxy's own.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Self

import h11

from proxy.http.head import RequestHead, write_fields, write_start

PATIENCE = 10.0  # seconds that any single expected event may take


def write_request(
    head: RequestHead, *, authority: bytes, credential: bytes, identity: bytes, audit_id: str
) -> bytes:
    """Return the whole head that an exchange sends upstream the first time."""
    name = b"Audit-Id: %s\r\n" % audit_id.encode()
    start = write_start(head.method, head.target, authority) + name
    return start + write_fields(head, credential=credential, identity=identity)


@dataclass
class Answer:
    """A whole answer as h11 read it."""

    status: int
    headers: dict[str, str]
    body: bytes
    interim: list[int] = field(default_factory=list)


class Peer:
    """One end of a connection; every wait is bounded."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    def send(self, data: bytes) -> Self:
        self.writer.write(data)
        return self

    async def flush(self) -> None:
        async with asyncio.timeout(PATIENCE):
            await self.writer.drain()

    async def read_until(self, end: bytes) -> bytes:
        async with asyncio.timeout(PATIENCE):
            return await self.reader.readuntil(end)

    async def read_exactly(self, size: int) -> bytes:
        async with asyncio.timeout(PATIENCE):
            return await self.reader.readexactly(size)

    async def read_head(self) -> bytes:
        return await self.read_until(b"\r\n\r\n")

    async def read_to_end(self) -> bytes:
        """Everything up to the end of the connection, however it ends."""
        data = b""
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            async with asyncio.timeout(PATIENCE):
                while part := await self.reader.read(65536):
                    data += part
        return data

    async def ended(self) -> bool:
        """Wait until the other side has ended the connection, and nothing more came."""
        return await self.read_to_end() == b""

    async def end(self, how: str) -> None:
        """``close`` in order; ``drop`` without TLS's goodbye; ``reset`` with a TCP reset."""
        if how == "close":
            await self.close()
            return
        if how == "reset":
            sock = self.writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def close(self) -> None:
        self.writer.close()
        await self._closed()

    async def gone(self) -> None:
        """Make sure that nothing is left of the connection."""
        self.writer.transport.abort()
        await self._closed()

    async def _closed(self) -> None:
        with contextlib.suppress(ConnectionError, ssl.SSLError, TimeoutError):
            async with asyncio.timeout(PATIENCE):
                await self.writer.wait_closed()


class Client(Peer):
    """A client of the proxy."""

    @classmethod
    async def connect(cls, port: int, tls: ssl.SSLContext | None) -> Client:
        async with asyncio.timeout(PATIENCE):
            return cls(
                *await asyncio.open_connection(
                    "127.0.0.1", port, ssl=tls, server_hostname="localhost" if tls else None
                )
            )

    async def answer(self, method: str = "GET") -> Answer:
        """Read one answer to a ``method`` request, and not a byte more."""
        parser = h11.Connection(h11.CLIENT)
        parser.send(h11.Request(method=method, target="/", headers=[("host", "x")]))
        parser.send(h11.EndOfMessage())
        answer = Answer(0, {}, b"")
        while True:
            event = parser.next_event()
            if event is h11.NEED_DATA:
                async with asyncio.timeout(PATIENCE):
                    # a byte at a time, so that nothing of the next answer is taken
                    parser.receive_data(await self.reader.read(1))
            elif isinstance(event, h11.InformationalResponse):
                answer.interim.append(event.status_code)
            elif isinstance(event, h11.Response):
                answer.status = event.status_code
                answer.headers = {k.decode(): v.decode("latin-1") for k, v in event.headers}
            elif isinstance(event, h11.Data):
                answer.body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                return answer


class Upstream:
    """A TLS server whose connections wait to be taken."""

    def __init__(self) -> None:
        self.connections: asyncio.Queue[Peer] = asyncio.Queue()
        self.port = 0
        self._peers: list[Peer] = []

    @property
    def accepted(self) -> int:
        """How many connections were made."""
        return len(self._peers)

    @classmethod
    @contextlib.asynccontextmanager
    async def run(cls, tls: ssl.SSLContext) -> AsyncIterator[Upstream]:
        upstream = cls()
        server = await asyncio.start_server(upstream._accept, "127.0.0.1", 0, ssl=tls)
        upstream.port = server.sockets[0].getsockname()[1]
        try:
            yield upstream
        finally:
            server.close()
            for peer in upstream._peers:
                await peer.gone()
            await server.wait_closed()

    async def connection(self) -> Peer:
        """The next connection that the proxy has made."""
        async with asyncio.timeout(PATIENCE):
            return await self.connections.get()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._peers.append(Peer(reader, writer))
        self.connections.put_nowait(self._peers[-1])
