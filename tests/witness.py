"""An API server that knows of every request who sent it, and says when the head tells otherwise.

A client enters each request into the ``Ledger`` before it is sent, and writes the number that it
gets into the target, the body and whatever else goes along. The ``Witness`` stands at a socket
where the API server would, reads requests with h11 (a parser that has nothing in common with the
proxy's own), and compares the identity headers of each head, whole, with what the ledger says of
that number. What differs is kept in ``Ledger.violations``: a wrong or incomplete identity, a
request that should never have come this far, one that came twice, one that mixes two bodies.

It fakes no Kubernetes: how it answers is asked for in the query (``?do=``, see ``_ANSWERS``), bad
manners of a server included.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
import struct
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from socket import SO_LINGER, SOL_SOCKET
from typing import cast
from urllib.parse import parse_qs, urlsplit

import h11

from proxy.reviews.client import USER_AGENT
from tests.sessions.frames import message

OWN_GROUP = "headlamp-auth-proxy:authenticated"
CREDENTIAL = "the-proxys-own-token"
REVIEWS = (b"/apis/authentication.k8s.io/", b"/apis/authorization.k8s.io/")
TERMINAL = "v5.channel.k8s.io"
STDIN, STDOUT = 0, 1  # channels of it
HANGING = 3600.0  # seconds, longer than any test


@dataclass(slots=True)
class Sent:
    """A request of a client: whom it is from, and how often it may be seen upstream."""

    user: str
    groups: tuple[str, ...]
    at_most: int  # 0 for one that must be refused, 2 for one that may be sent again
    seen: int = 0


@dataclass
class Ledger:
    """Every request under way, by its number, and what was seen that should not have been."""

    sent: dict[int, Sent] = field(default_factory=dict)
    violations: list[str] = field(default_factory=list)
    heads: int = 0  # that were compared
    _number: int = 0
    _wanted: int = 0
    _compared: asyncio.Event = field(default_factory=asyncio.Event)

    async def until_compared(self, heads: int) -> None:
        """Wait until so many heads were compared."""
        self._wanted, self._compared = heads, asyncio.Event()
        await self._compared.wait()

    def enter(self, sent: Sent) -> int:
        self._number += 1
        self.sent[self._number] = sent
        return self._number

    def settle(self, number: int) -> None:
        """Strike out a request that was answered: should it come again, that is a violation."""
        del self.sent[number]

    def check(self, number: int, headers: list[tuple[str, str]]) -> Sent | None:
        """Compare the head of a request; return whose it is where that is known."""
        self.heads += 1
        if self.heads == self._wanted:
            self._compared.set()
        sent = self.sent.get(number)
        if sent is None:
            self.violations.append(f"{number} came although it was never sent, or was answered")
            return None
        sent.seen += 1
        if sent.seen > sent.at_most:
            self.violations.append(f"{number} came {sent.seen} times, {sent.at_most} are allowed")
        identity = sorted(h for h in headers if h[0].startswith(("impersonate-", "x-remote-")))
        groups = sorted({*sent.groups, OWN_GROUP})
        expected = [*(("impersonate-group", g) for g in groups), ("impersonate-user", sent.user)]
        if identity != expected:
            self.violations.append(f"{number} of {sent.user} {groups} came as {identity}")
        if [v for n, v in headers if n == "authorization"] != [f"Bearer {CREDENTIAL}"]:
            self.violations.append(f"{number} came with another credential than the proxy's")
        return sent

    def body(self, number: int, body: bytes) -> None:
        if body != pattern(number, len(body)):
            self.violations.append(f"{number} came with a body that is not its own")


def pattern(number: int, size: int) -> bytes:
    """``size`` bytes that say whose they are, wherever they are looked at."""
    word = b"%d;" % number
    return (word * (size // len(word) + 1))[:size]


class Witness:
    """The server; its ``port`` is kept when it is run again."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.port = 0
        self.answers: Counter[str] = Counter()  # by what was asked for
        self.connections: set[_Connection] = set()
        self.accepted = 0

    @contextlib.asynccontextmanager
    async def run(self, tls: ssl.SSLContext) -> AsyncIterator[Witness]:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(
            lambda: _Connection(self), "127.0.0.1", self.port, ssl=tls, backlog=1024
        )
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            self.drop_connections()
            await server.wait_closed()

    def drop_connections(self) -> None:
        for connection in list(self.connections):
            connection.transport.abort()


class _Connection(asyncio.Protocol):
    transport: asyncio.Transport

    def __init__(self, witness: Witness) -> None:
        self.witness, self.ledger = witness, witness.ledger
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
        self._body: list[bytes] = []
        self._doomed = False
        self._tunnel = False
        self._echoes = False
        self._streaming: asyncio.TimerHandle | None = None
        self._writable = True
        self.number = 0
        self.query: dict[str, str] = {}
        self.sent: Sent | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.witness.connections.add(self)
        self.witness.accepted += 1

    def connection_lost(self, _: Exception | None) -> None:
        self.witness.connections.discard(self)
        if self._streaming is not None:
            self._streaming.cancel()

    def pause_writing(self) -> None:
        self._writable = False

    def resume_writing(self) -> None:
        self._writable = True

    def data_received(self, data: bytes) -> None:
        if self._tunnel:
            if self._echoes:
                self.transport.write(data)
            return
        self._http.receive_data(data)
        try:
            self._advance()
        except h11.RemoteProtocolError as error:
            self.ledger.violations.append(f"what came is not HTTP: {error}")
            self.transport.abort()

    def _advance(self) -> None:
        while not self._tunnel:
            event = self._http.next_event()
            if isinstance(event, h11.Request):
                if self._doomed:
                    self.transport.abort()
                    return
                self._begin(event)
            elif isinstance(event, h11.Data):
                self._body.append(bytes(event.data))
            elif isinstance(event, h11.EndOfMessage):
                if self.number:
                    self.ledger.body(self.number, b"".join(self._body))
                self._answer()
            elif event is h11.PAUSED and self._http.trailing_data[0] and not self._tunnel:
                self.ledger.violations.append(f"something came behind {self.number}, unanswered")
                self.transport.abort()
                return
            else:
                return

    def _begin(self, request: h11.Request) -> None:
        self._body = []
        headers = [(name.decode(), value.decode()) for name, value in request.headers]
        if ("user-agent", USER_AGENT) in headers and request.target.startswith(REVIEWS):
            self.query, self.number, self.sent = {"do": "unknown"}, 0, None
            return
        target = urlsplit(request.target.decode())
        self.query = {name: values[-1] for name, values in parse_qs(target.query).items()}
        self.number = int(self.query["number"])
        self.sent = self.ledger.check(self.number, headers)

    def _answer(self) -> None:
        do = self.query.get("do", "small")
        self.witness.answers[do] += 1
        _ANSWERS[do](self)
        if self._http.our_state is h11.DONE and self._http.their_state is h11.DONE:
            self._http.start_next_cycle()
        elif self._http.our_state is h11.MUST_CLOSE:
            self.transport.close()

    # what may be asked for

    def _head(self, *fields: tuple[str, str], status: int = 200) -> None:
        self._send(h11.Response(status_code=status, headers=list(fields)))

    def _send(self, event: h11.Event) -> None:
        self.transport.write(self._http.send(event) or b"")

    def _told(self) -> bytes:
        """Who this server takes the request for, and which it was."""
        user = self.sent.user if self.sent else ""
        return json.dumps({"number": self.number, "user": user}).encode()

    def small(self, *more: tuple[str, str]) -> None:
        told = self._told()
        self._head(("Content-Type", "application/json"), ("Content-Length", str(len(told))), *more)
        self._send(h11.Data(data=told))
        self._send(h11.EndOfMessage())

    def chunked(self) -> None:
        told = self._told()
        self._head(("Content-Type", "application/json"), ("Transfer-Encoding", "chunked"))
        for part in (told[:7], told[7:]):
            self._send(h11.Data(data=part))
        self._send(h11.EndOfMessage())

    def big(self) -> None:
        size = int(self.query["size"])
        self._head(("Content-Type", "text/plain"), ("Content-Length", str(size)))
        self._send(h11.Data(data=pattern(self.number, size)))
        self._send(h11.EndOfMessage())

    def last(self) -> None:
        self.small(("Connection", "close"))

    def doomed(self) -> None:
        """Answer, and drop the connection without a word when the next request comes."""
        self.small()
        self._doomed = True

    def reset(self) -> None:
        """Reset the connection in the middle of an answer."""
        self._head(("Content-Type", "text/plain"), ("Content-Length", "1000"))
        self._send(h11.Data(data=pattern(self.number, 500)))
        sock = self.transport.get_extra_info("socket")
        sock.setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()

    def unknown(self) -> None:
        """Know nothing of reviews, which the proxy asks for on its own account."""
        self._head(("Content-Length", "0"), status=404)
        self._send(h11.EndOfMessage())

    def hang(self) -> None:
        """Never answer."""

    def watch(self) -> None:
        """Send an event at once and then every ``every`` seconds, until the client leaves."""
        self._head(("Content-Type", "application/json"), ("Transfer-Encoding", "chunked"))
        self._event()

    def _event(self) -> None:
        if self._writable:
            self._send(h11.Data(data=self._told() + b"\n"))
        every = float(self.query.get("every", HANGING))
        self._streaming = asyncio.get_running_loop().call_later(every, self._event)

    def tunnel(self) -> None:
        """Switch protocols, and send back whatever comes."""
        self._switch()
        self._echoes = True
        self.transport.write(self._http.trailing_data[0])

    def terminal(self) -> None:
        """Print ``size`` bytes at once and then every ``every`` seconds, whatever is typed."""
        self._switch(("Sec-WebSocket-Protocol", TERMINAL))
        self._print()

    def _print(self) -> None:
        if self._writable:
            printed = pattern(self.number, int(self.query["size"]))
            self.transport.write(message(STDOUT, printed))
        every = float(self.query.get("every", HANGING))
        self._streaming = asyncio.get_running_loop().call_later(every, self._print)

    def _switch(self, *more: tuple[str, str]) -> None:
        upgrade = [("Connection", "Upgrade"), ("Upgrade", "websocket"), *more]
        self._send(h11.InformationalResponse(status_code=101, headers=upgrade))
        self._tunnel = True


_ANSWERS: dict[str, Callable[[_Connection], None]] = {
    name: getattr(_Connection, name)
    for name in (
        "small",
        "chunked",
        "big",
        "last",
        "doomed",
        "reset",
        "hang",
        "watch",
        "tunnel",
        "terminal",
        "unknown",
    )
}
