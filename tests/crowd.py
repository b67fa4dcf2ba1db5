"""Many users of the proxy at once, each with tokens of their own, on connections that they share.

A ``Person`` has a token that can be refreshed; each of its tokens carries other groups, so that
not only the user but the very token behind a head can be told. A ``Line`` is one client connection:
``prepare`` makes up a request of somebody and enters it into the ledger (see ``tests.witness``),
``answer`` reads the next answer and compares it with the request that it must belong to.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from tests.sessions.frames import message
from tests.witness import STDIN, STDOUT, TERMINAL, Ledger, Sent, pattern

PATIENCE = 30.0  # seconds for any one answer
SWITCHED = {"tunnel", "terminal"}  # what is answered by 101

Mint = Callable[[str, list[str]], str]  # a user's address and groups -> a token


class Person:
    """A user; ``refresh`` gives another token, with other groups."""

    def __init__(self, name: str, mint: Mint) -> None:
        self.name = name
        self._mint = mint
        self._tokens = 0
        self.refresh()

    def refresh(self) -> None:
        self._tokens += 1
        self.groups = (f"team-of-{self.name}", f"token-{self._tokens}-of-{self.name}")
        self.token = self._mint(self.name, list(self.groups))


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that was made up, and what its answer must be."""

    number: int
    user: str
    method: str
    do: str
    size: int
    raw: bytes
    statuses: tuple[int, ...]  # that may come

    def tolerating(self, *statuses: int) -> Asked:
        return replace(self, statuses=(*self.statuses, *statuses))


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes = b""

    @property
    def last(self) -> bool:
        return self.headers.get("connection", "").lower() == "close"

    @property
    def reason(self) -> str:
        """The proxy's own word for what is wrong; empty where the API server speaks."""
        if self.headers.get("content-type") != "application/json" or self.status < 400:
            return ""
        causes = json.loads(self.body).get("details", {}).get("causes", [{}])
        return str(causes[0].get("reason", ""))


@dataclass
class Line:
    """A connection of a client."""

    ledger: Ledger
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    waiting: list[Asked] = field(default_factory=list)  # for their answers, in order
    asked: Asked | None = None  # of which the line is the watch
    _events: bytes = b""  # that have come and were not read

    @classmethod
    async def open(cls, ledger: Ledger, port: int, tls: ssl.SSLContext) -> Line:
        async with asyncio.timeout(PATIENCE):
            return cls(ledger, *await asyncio.open_connection("127.0.0.1", port, ssl=tls))

    def prepare(
        self,
        person: Person,
        do: str = "small",
        *,
        size: int = 0,
        body: int = 0,
        token: str | None = None,
        query: str = "",
    ) -> Asked:
        """Make up a request; ``body``, in bytes, makes it a POST, ``token`` a refused one."""
        good = token is None
        repeatable = good and not body
        sent = Sent(person.name, person.groups, at_most=2 if repeatable else int(good))
        number = self.ledger.enter(sent)
        method = "POST" if body else "GET"
        target = f"/api/v1/namespaces/default/{'pods/p/exec' if do in SWITCHED else 'configmaps'}"
        if do == "watch":
            query += "&watch=true"
        lines = [
            f"{method} {target}?number={number}&do={do}&size={size}{query} HTTP/1.1",
            "Host: localhost",
            f"Authorization: Bearer {person.token if token is None else token}",
            f"Content-Length: {body}" if body else "Accept: application/json",
        ]
        if do in SWITCHED:
            lines += ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13",
                      "Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg=="]  # fmt: skip
        if do == "terminal":
            lines.append(f"Sec-WebSocket-Protocol: {TERMINAL}")
        raw = "\r\n".join([*lines, "", ""]).encode() + pattern(number, body)
        statuses: tuple[int, ...] = (101,) if do in SWITCHED else (200,)
        if not good:
            statuses = (401,)
        elif body or do == "reset":
            statuses = (200, 502)  # nobody may send a POST twice, so a dead connection shows
        return Asked(number, person.name, method, do, size, raw, statuses)

    def send(self, asked: Asked) -> None:
        self.waiting.append(asked)
        self.writer.write(asked.raw)

    async def answer(self) -> tuple[Asked, Answer]:
        """Read the next answer and compare it with the oldest request that has none.

        Raises a ConnectionError or EOFError where it is cut, and AssertionError where it is
        somebody else's.
        """
        async with asyncio.timeout(PATIENCE):
            answer = await self._head()
            asked = self.waiting.pop(0)
            if answer.status != 101 and (asked.do != "watch" or answer.status != 200):
                answer.body = await self._body(answer)
        self._compare(asked, answer)
        if asked.do not in {"watch", *SWITCHED}:
            self.ledger.settle(asked.number)
        return asked, answer

    async def event(self, asked: Asked) -> None:
        """Read the next event of a watch."""
        async with asyncio.timeout(PATIENCE):
            while b"\n" not in self._events:  # a chunk may hold several
                self._events += await self._chunk()
        event, _, self._events = self._events.partition(b"\n")
        told = json.loads(event)
        assert told == {"number": asked.number, "user": asked.user}, f"{told} for {asked.number}"

    async def echo(self, asked: Asked, size: int) -> None:
        """Send ``size`` bytes through a tunnel and read them back."""
        self.writer.write(pattern(asked.number, size))
        async with asyncio.timeout(PATIENCE):
            assert await self.reader.readexactly(size) == pattern(asked.number, size)

    async def printed(self, asked: Asked) -> None:
        """Type a key at a terminal, and read what it prints next."""
        self.writer.write(message(STDIN, b"x", masked=True))
        expected = message(STDOUT, pattern(asked.number, asked.size))
        async with asyncio.timeout(PATIENCE):
            assert await self.reader.readexactly(len(expected)) == expected

    def abort(self) -> None:
        """Leave without a word, whatever is under way."""
        self.writer.transport.abort()

    async def _head(self) -> Answer:
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
        status, *fields = head.removesuffix("\r\n\r\n").split("\r\n")
        headers = {n.lower(): v for n, _, v in (line.partition(": ") for line in fields)}
        return Answer(int(status.split(" ")[1]), headers)

    async def _body(self, answer: Answer) -> bytes:
        if answer.headers.get("transfer-encoding") != "chunked":
            return await self.reader.readexactly(int(answer.headers["content-length"]))
        parts = []
        while part := await self._chunk():
            parts.append(part)
        return b"".join(parts)

    async def _chunk(self) -> bytes:
        size = int(await self.reader.readuntil(b"\r\n"), 16)
        return (await self.reader.readexactly(size + 2))[:size]

    def _compare(self, asked: Asked, answer: Answer) -> None:
        where = f"{answer.status} {answer.reason} for {asked.number} ({asked.do})"
        assert answer.status in asked.statuses, where
        if answer.status != 200 or asked.do == "watch":
            return
        if asked.do == "big":
            assert answer.body == pattern(asked.number, asked.size), where
        else:
            told = json.loads(answer.body)
            assert told == {"number": asked.number, "user": asked.user}, f"{told}: {where}"
