"""An HTTPS server that a test can read: every request head as it came, byte for byte.

What is answered is for a subclass to say, through the ``Reply`` that it is given. A ``Feed`` is a
body that grows when the test says so. Each connection has a thread; what goes wrong in one is
raised when the server is left.
"""

from __future__ import annotations

import json
import queue
import socketserver
import ssl
import sys
import threading
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from http import HTTPStatus
from io import BufferedIOBase
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

import trustme

PATIENCE = 20.0  # seconds that a client may take to open a feed


@dataclass(frozen=True)
class Request:
    """A request: ``head`` is what came, from the request line up to the empty line."""

    head: bytes
    body: bytes = b""

    @cached_property
    def fields(self) -> list[tuple[str, str]]:
        """Every header field in its order, as it was spelt."""
        lines = self.head.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")[1:]
        return [(name, value) for name, _, value in (line.partition(": ") for line in lines)]

    @property
    def method(self) -> str:
        return self.head.split(b" ", 2)[0].decode()

    @property
    def target(self) -> str:
        return self.head.split(b" ", 2)[1].decode()

    @property
    def path(self) -> str:
        return urlsplit(self.target).path

    @property
    def query(self) -> dict[str, list[str]]:
        return parse_qs(urlsplit(self.target).query)

    def values(self, name: str) -> list[str]:
        """Return all values of a header, its name in any case."""
        return [value for known, value in self.fields if known.lower() == name.lower()]

    def json(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.body)
        return document


class Feed:
    """A body that goes on for as long as the test wants it to."""

    def __init__(self) -> None:
        self.parts: queue.SimpleQueue[bytes] = queue.SimpleQueue()  # an empty one is the end

    def send(self, part: bytes) -> None:
        self.parts.put(part)

    def event(self, kind: str, thing: Mapping[str, Any]) -> None:
        """Send an event of a Kubernetes watch."""
        self.send(json.dumps({"type": kind, "object": thing}).encode() + b"\n")

    def end(self) -> None:
        self.send(b"")


class Reply:
    """One connection, seen from the server; ``switched`` once it no longer speaks HTTP."""

    def __init__(self, reader: BufferedIOBase, writer: BufferedIOBase) -> None:
        self.reader, self.writer = reader, writer
        self.switched = False

    def document(self, document: Mapping[str, Any], status: HTTPStatus = HTTPStatus.OK) -> None:
        self.whole(json.dumps(document).encode(), "application/json", status)

    def whole(self, body: bytes, content_type: str, status: HTTPStatus = HTTPStatus.OK) -> None:
        self._head(status, f"Content-Type: {content_type}", f"Content-Length: {len(body)}")
        self.writer.write(body)

    def redirect(self, target: str) -> None:
        self._head(HTTPStatus.TEMPORARY_REDIRECT, f"Location: {target}", "Content-Length: 0")

    def stream(self, feed: Feed, content_type: str) -> None:
        """Send each part of ``feed`` as a chunk of its own, as soon as it is there."""
        self._head(HTTPStatus.OK, f"Content-Type: {content_type}", "Transfer-Encoding: chunked")
        while part := feed.parts.get():
            self.writer.write(b"%x\r\n%b\r\n" % (len(part), part))
        self.writer.write(b"0\r\n\r\n")

    def switch(self, *fields: str) -> None:
        self.switched = True
        self._head(HTTPStatus.SWITCHING_PROTOCOLS, "Connection: Upgrade", *fields)

    def _head(self, status: HTTPStatus, *fields: str) -> None:
        lines = [f"HTTP/1.1 {status} {status.phrase}", *fields, "", ""]
        self.writer.write("\r\n".join(lines).encode())


class ScriptedServer(ABC):
    """A server on loopback. Leave the context only when its clients are gone.

    ``ca_file`` is written to ``folder``; ``requests`` grows, and a test may clear it.
    """

    def __init__(self, folder: Path) -> None:
        self.requests: list[Request] = []
        self.ca_file = folder / "scripted-ca.crt"
        authority = trustme.CA()
        authority.cert_pem.write_to_path(str(self.ca_file))
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1").configure_cert(self._tls)
        self._feeds: list[Feed] = []
        self._unclaimed: queue.SimpleQueue[Feed] = queue.SimpleQueue()

    @abstractmethod
    def answer(self, request: Request, reply: Reply) -> None:
        """Answer a request; called in the thread of its connection."""

    def remember(self, request: Request) -> None:
        self.requests.append(request)

    def __enter__(self) -> Self:
        self._server = _Server(self, self._tls)
        self.url = f"https://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        for feed in self._feeds:
            feed.end()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        if self._server.failures:
            raise AssertionError("the scripted server failed") from self._server.failures[0]

    def opened(self) -> Feed:
        """Wait for a client to open a feed, and return it."""
        return self._unclaimed.get(timeout=PATIENCE)

    def open_feed(self) -> Feed:
        """Return a feed for a client, and for the test that waits for it."""
        feed = Feed()
        self._feeds.append(feed)
        self._unclaimed.put(feed)
        return feed


class _Server(socketserver.ThreadingTCPServer):
    request_queue_size = 64

    def __init__(self, script: ScriptedServer, tls: ssl.SSLContext) -> None:
        super().__init__(("127.0.0.1", 0), _Connection)
        self.script = script
        self.failures: list[BaseException | None] = []
        # The handshake is the connection's own affair, lest one client keep others waiting.
        self.socket = tls.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)

    def handle_error(self, request: object, client_address: object) -> None:
        failure = sys.exception()
        if not isinstance(failure, ConnectionError | ssl.SSLError):  # clients leave as they please
            self.failures.append(failure)


class _Connection(socketserver.StreamRequestHandler):
    server: _Server
    disable_nagle_algorithm = True

    def handle(self) -> None:
        script = self.server.script
        reply = Reply(self.rfile, self.wfile)
        while not reply.switched and (head := self._read_head()):
            length = int(next(iter(Request(head).values("Content-Length")), 0))
            request = Request(head, self.rfile.read(length))
            script.remember(request)
            script.answer(request, reply)

    def _read_head(self) -> bytes:
        lines: list[bytes] = []
        while line := self.rfile.readline():
            lines.append(line)
            if line == b"\r\n":
                break
        return b"".join(lines)
