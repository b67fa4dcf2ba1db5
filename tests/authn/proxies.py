"""The two kinds of proxy on the way to an issuer, each just enough to be one.

Both lead every connection to ``port`` on loopback, whatever name was asked for, and remember what
was asked for, so that a test sees who looked the name up.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

Handshake = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[str | None]]


@contextlib.asynccontextmanager
async def connect_proxy(port: int, asked: list[str]) -> AsyncIterator[str]:
    """Serve HTTP CONNECT; yield the proxy's URL."""

    async def handshake(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> str:
        head = await reader.readuntil(b"\r\n\r\n")
        method, target, _ = head.split(b" ", 2)
        assert method == b"CONNECT"
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        return target.decode()

    async with _serving(port, asked, handshake) as proxy_port:
        yield f"http://127.0.0.1:{proxy_port}"


@contextlib.asynccontextmanager
async def socks_proxy(port: int, asked: list[str], *, reply: int = 0) -> AsyncIterator[str]:
    """Serve SOCKS5 (RFC 1928) without authentication; another ``reply`` than 0 is a refusal."""

    async def handshake(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> str | None:
        _version, methods = await reader.readexactly(2)
        await reader.readexactly(methods)
        writer.write(b"\x05\x00")
        _version, command, _reserved, kind = await reader.readexactly(4)
        assert command == 1, "CONNECT"
        assert kind == 3, "a domain name: an address would mean that it was looked up before"
        name = await reader.readexactly((await reader.readexactly(1))[0])
        target = f"{name.decode()}:{int.from_bytes(await reader.readexactly(2), 'big')}"
        writer.write(bytes([5, reply, 0, 1, 0, 0, 0, 0, 0, 0]))
        if reply == 0:
            return target
        asked.append(target)
        return None

    async with _serving(port, asked, handshake) as proxy_port:
        yield f"socks5h://127.0.0.1:{proxy_port}"


@contextlib.asynccontextmanager
async def _serving(port: int, asked: list[str], handshake: Handshake) -> AsyncIterator[int]:
    serving: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        serving.add(task)
        with contextlib.closing(writer), contextlib.suppress(asyncio.CancelledError):
            target = await handshake(reader, writer)
            if target is not None:
                asked.append(target)
                await _join(reader, writer, port)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)


async def _join(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int) -> None:
    far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port)
    with contextlib.closing(far_writer), contextlib.suppress(ConnectionError):
        await asyncio.gather(_copy(reader, far_writer), _copy(far_reader, writer))


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while part := await reader.read(65536):
        writer.write(part)
        await writer.drain()
    writer.close()
