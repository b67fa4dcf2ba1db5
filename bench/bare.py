"""What this proxy's own TLS and event loop cost, and nothing else: the floor under its path.

The transports of ``proxy.http.tls_transport`` on both sides, kept connections, and in between no
HTTP: for whatever comes a head of the usual length is sent on, and the answer goes back as it is.
Fit for nothing but small requests one after the other. Not measured unless it is asked for:

    make bench BENCH="small requests bare nginx envoy"

    python -m bench.bare PORT CERTIFICATE KEY UPSTREAM_PORT CA_FILE
"""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
import sys
from collections.abc import Coroutine
from typing import cast

import uvloop

from proxy.http.tls_transport import Buffers, accept, connect

_HEAD = (
    b"GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\nAudit-Id: 6a1f8a9e-7a53-4f1c-a1ad-3d1f5b1b6b1e\r\n"
    b"Authorization: Bearer " + b"x" * 1000 + b"\r\nImpersonate-User: user-1@example.com\r\n"
    b"Impersonate-Group: team-000\r\nImpersonate-Group: team-001\r\nImpersonate-Group: team-002\r\n"
    b"Impersonate-Group: headlamp-auth-proxy:authenticated\r\n\r\n"
)
_LENGTH = re.compile(rb"\r\ncontent-length: ([0-9]+)\r\n", re.IGNORECASE)
_HANDSHAKE = 10.0  # seconds


class _Upstream(asyncio.Protocol):
    def __init__(self, bare: Bare) -> None:
        self.bare, self.remaining = bare, 0
        self.transport: asyncio.Transport
        self.client: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def ask(self, head: bytes, client: asyncio.Transport) -> None:
        self.client = client
        self.transport.write(head)

    def data_received(self, data: bytes) -> None:
        if not self.remaining and (length := _LENGTH.search(data)):
            self.remaining = data.index(b"\r\n\r\n") + 4 + int(length[1])
        self.remaining -= len(data)
        self.client.write(data)
        if not self.remaining:
            self.bare.idle.append(self)


class _Client(asyncio.Protocol):
    def __init__(self, bare: Bare) -> None:
        self.bare = bare
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        head = _HEAD % data.split(b" ", 2)[1]
        if self.bare.idle:
            self.bare.idle.pop().ask(head, self.transport)
        else:
            self.bare.background(self.bare.connect_and_ask(head, self.transport))


class Bare:
    """Both sides of it, and what all connections share."""

    def __init__(self, upstream: int, ca_file: str) -> None:
        self.idle: list[_Upstream] = []
        self._upstream, self._trusted = upstream, ssl.create_default_context(cafile=ca_file)
        self._buffers = Buffers()
        self._tasks: set[asyncio.Task[None]] = set()

    def background(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def connect_and_ask(self, head: bytes, client: asyncio.Transport) -> None:
        host = "127.0.0.1"
        _, upstream = await connect(
            lambda: _Upstream(self), host, self._upstream, self._trusted, self._buffers,
            server_name=host,
        )  # fmt: skip
        upstream.ask(head, client)

    async def serve(self, port: int, certificate: str, key: str) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        listener = socket.create_server(("127.0.0.1", port), backlog=8192)
        listener.setblocking(False)
        while True:
            sock, _ = await asyncio.get_running_loop().sock_accept(listener)
            self.background(self._accepted(sock, context))

    async def _accepted(self, sock: socket.socket, context: ssl.SSLContext) -> None:
        await accept(_Client(self), sock, context, self._buffers, timeout=_HANDSHAKE)


def main() -> None:
    port, certificate, key, upstream, ca_file = sys.argv[1:]
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(Bare(int(upstream), ca_file).serve(int(port), certificate, key))


if __name__ == "__main__":
    main()
