"""Everything that clients do to the proxy, all at once and for as long as it takes.

Each ``_..`` coroutine is one kind of client, which begins again whenever it has ended. Every answer
is compared with its request, and every head that reaches the API server with its sender (see
``tests.witness``), so that a soak is a long test of identities as well.
"""

from __future__ import annotations

import asyncio
import random
import ssl
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from tests.crowd import Asked, Line, Person
from tests.witness import Ledger, Witness

WATCHES, TUNNELS, TERMINALS = 40, 6, 6  # clients of a kind
WORKERS = 12  # clients that share what is asked for by and by
REFRESH_EVERY = 60.0  # seconds, each person's token
RESTART_EVERY = 97.0  # seconds between two losses of every upstream connection
LEARNING = 8.0  # seconds from a new key to the proxy's knowing it, at most
LEFT = (ConnectionError, EOFError, ssl.SSLError)  # that a client may meet, and begins again

ASKED = {"small": 60, "chunked": 15, "big": 8, "doomed": 3, "last": 4, "reset": 1, "hang": 1,
         "upload": 8, "bad": 3}  # fmt: skip


@dataclass
class Traffic:
    """``rate`` is in requests per second, beside the watches and tunnels."""

    ledger: Ledger
    witness: Witness
    people: list[Person]
    port: int
    tls: ssl.SSLContext
    rate: float
    seen: Counter[str] = field(default_factory=Counter)
    rotated_at: float = -LEARNING  # loop time
    _dice: random.Random = field(default_factory=lambda: random.Random(1))

    async def run(self, seconds: float) -> None:
        """Go on for so long, then let every client leave."""
        kinds: list[tuple[Callable[[], Awaitable[None]], int]] = [
            (self._ask, WORKERS), (self._watch, WATCHES), (self._tunnel, TUNNELS),
            (self._terminal, TERMINALS), (self._refresh, 1), (self._restart, 1),
        ]  # fmt: skip
        try:
            async with asyncio.timeout(seconds), asyncio.TaskGroup() as group:
                for kind, count in kinds:
                    for _ in range(count):
                        group.create_task(self._again(kind))
        except TimeoutError:
            return

    async def _again(self, kind: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await kind()
            except LEFT:
                self.seen["cut"] += 1
                await asyncio.sleep(0.1)
            except (AssertionError, ValueError) as error:
                self.ledger.violations.append(f"an answer is wrong: {error}")

    async def _open(self) -> Line:
        return await Line.open(self.ledger, self.port, self.tls)

    async def _ask(self) -> None:
        line = await self._open()
        try:
            for _ in range(self._dice.randint(1, 40)):
                await asyncio.sleep(self._dice.expovariate(self.rate / WORKERS))
                asked = self._make_up(line)
                line.send(asked)
                if asked.do == "hang" or self._dice.random() < 0.02:
                    await asyncio.sleep(self._dice.uniform(0, 0.2))
                    self.seen["aborted"] += 1
                    return
                _, answer = await line.answer()
                self.seen[answer.reason or str(answer.status)] += 1
                if answer.last:
                    return
        finally:
            line.abort()

    def _make_up(self, line: Line) -> Asked:
        dice, person = self._dice, self._dice.choice(self.people)
        (do,) = dice.choices(list(ASKED), list(ASKED.values()))
        if do == "upload":
            asked = line.prepare(person, body=dice.choice((100, 5_000, 200_000)))
        elif do == "bad":
            asked = line.prepare(person, token=dice.choice(["x", person.token[:-8] + "AAAAAAAA"]))
        else:
            asked = line.prepare(person, do, size=dice.choice((10_000, 100_000, 1_000_000)))
        return asked if do == "bad" else self._tolerant(asked)

    def _tolerant(self, asked: Asked) -> Asked:
        """Bear with what may happen at any moment.

        The API server is lost, or a key is so new that the proxy does not know it and has looked
        for others just now (bad tokens make it look).
        """
        lately = asyncio.get_running_loop().time() - self.rotated_at < LEARNING
        return asked.tolerating(502, *([401] if lately else []))

    def rotated(self) -> None:
        """The issuer has a new key: everybody signs in again."""
        self.rotated_at = asyncio.get_running_loop().time()
        for person in self.people:
            person.refresh()

    async def _watch(self) -> None:
        line = await self._open()
        try:
            asked = line.prepare(self._dice.choice(self.people), "watch", query="&every=1")
            line.send(self._tolerant(asked))
            _, answer = await line.answer()
            self.seen["watches"] += 1
            if answer.status == 200:
                for _ in range(self._dice.randint(1, 60)):
                    await line.event(asked)
        finally:
            line.abort()

    async def _tunnel(self) -> None:
        line = await self._open()
        try:
            asked = line.prepare(self._dice.choice(self.people), "tunnel")
            line.send(self._tolerant(asked))
            _, answer = await line.answer()
            self.seen["tunnels"] += 1
            for _ in range(self._dice.randint(1, 30) if answer.status == 101 else 0):
                await line.echo(asked, self._dice.choice((10, 1_000, 100_000)))
                await asyncio.sleep(0.5)
        finally:
            line.abort()

    async def _terminal(self) -> None:
        line = await self._open()
        try:
            person, size = self._dice.choice(self.people), self._dice.choice((10, 1_000, 100_000))
            asked = line.prepare(person, "terminal", size=size, query="&every=0.5")
            line.send(self._tolerant(asked))
            _, answer = await line.answer()
            self.seen["terminals"] += 1
            for _ in range(self._dice.randint(1, 30) if answer.status == 101 else 0):
                await line.printed(asked)
        finally:
            line.abort()

    async def _refresh(self) -> None:
        await asyncio.sleep(REFRESH_EVERY / len(self.people))
        self._dice.choice(self.people).refresh()
        self.seen["refreshed"] += 1

    async def _restart(self) -> None:
        await asyncio.sleep(RESTART_EVERY)
        self.witness.drop_connections()
        self.seen["upstream connections lost at once"] += 1
