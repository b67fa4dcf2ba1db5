"""Whatever is shared between users, no request ever reaches the API server as somebody else's.

Two hundred users send requests over connections that many of them share, pipelined, aborted, with
tokens that are refreshed on the way and tokens that are wrong, to an API server that drops,
resets and closes its connections as it likes. It knows of each request whose it is, and compares.

MIXING_REQUESTS sets how many are sent (4,000), MIXING_SEED which they are.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import ssl
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.conftest import Tls
from tests.crowd import Asked, Line, Person
from tests.issuer import CLIENT_ID, jwks_document, rsa_key, tsidp_claims
from tests.serving import Serve
from tests.witness import CREDENTIAL, Ledger, Witness

ISSUER = "https://idp.tail1234.ts.net"
PEOPLE = 200
LINES = 60  # client connections at a time, each with its users by turns
REQUESTS = int(os.environ.get("MIXING_REQUESTS", "4000"))
SEED = int(os.environ.get("MIXING_SEED", "1"))

ASKED = {"small": 50, "chunked": 15, "big": 10, "upload": 10, "doomed": 8, "last": 4, "reset": 1}


def mint(user: str, groups: list[str]) -> str:
    return rsa_key().token(tsidp_claims(ISSUER, user, groups))


@dataclass
class Crowd:
    """The users, and what has become of their requests."""

    ledger: Ledger
    port: int
    tls: ssl.SSLContext
    people: list[Person] = field(
        default_factory=lambda: [Person(f"user-{n}@example.com", mint) for n in range(PEOPLE)]
    )
    left: int = REQUESTS
    seen: Counter[str] = field(default_factory=Counter)

    async def use_lines(self, dice: random.Random) -> None:
        """Open one connection after another, and send batches of requests over each."""
        while self.left > 0:
            line = await Line.open(self.ledger, self.port, self.tls)
            try:
                for _ in range(dice.randint(1, 12)):
                    await self._batch(line, dice)
            except (ConnectionError, EOFError, ssl.SSLError):
                self.seen["connections cut"] += 1
            finally:
                line.abort()

    async def _batch(self, line: Line, dice: random.Random) -> None:
        batch = [self._make_up(line, dice) for _ in range(dice.randint(1, 8))]
        self.left -= len(batch)
        if dice.random() < 0.1:
            dice.choice(self.people).refresh()
        for asked in batch:
            line.send(asked)
            if dice.random() < 0.1:
                await asyncio.sleep(0)  # so that a head may come in pieces, or others go first
        if dice.random() < 0.03:
            self.seen["aborted"] += len(batch)
            raise ConnectionAbortedError
        for _ in batch:
            _, answer = await line.answer()
            self.seen[answer.reason or str(answer.status)] += 1
            if answer.last:
                raise ConnectionAbortedError

    def _make_up(self, line: Line, dice: random.Random) -> Asked:
        person = dice.choice(self.people)
        if dice.random() < 0.03:  # somebody else's claims under this one's signature
            head, _, signature = person.token.split(".")
            claims = dice.choice(self.people).token.split(".")[1]
            if claims != person.token.split(".")[1]:
                return line.prepare(person, token=f"{head}.{claims}.{signature}")
        (do,) = dice.choices(list(ASKED), list(ASKED.values()))
        if do == "upload":
            return line.prepare(person, body=dice.choice((10, 3_000, 70_000)))
        return line.prepare(person, do, size=dice.choice((100, 20_000, 150_000)))


@contextlib.contextmanager
def serve_before(folder: Path, witness: Witness, tls: Tls, *flags: str) -> Iterator[Serve]:
    """Run a proxy, with its keys from a file, in front of ``witness``."""
    (folder / "token").write_text(CREDENTIAL)
    (folder / "jwks.json").write_bytes(jwks_document(rsa_key()))
    serve = Serve(
        folder,
        f"--oidc-issuer-url={ISSUER}",
        f"--oidc-client-id={CLIENT_ID}",
        f"--oidc-jwks-file={folder / 'jwks.json'}",
        f"--upstream=https://127.0.0.1:{witness.port}",
        f"--upstream-ca-file={tls.ca_file}",
        f"--upstream-token-file={folder / 'token'}",
        *flags,
    )
    with serve:
        serve.wait_ready()
        yield serve


async def test_two_hundred_users_are_never_taken_for_each_other(tmp_path: Path, tls: Tls) -> None:
    ledger = Ledger()
    async with Witness(ledger).run(tls.server) as witness:
        with serve_before(tmp_path, witness, tls) as serve:
            trust = ssl.create_default_context(cafile=str(serve.ca_file))
            crowd = Crowd(ledger, serve.port, trust)
            async with asyncio.TaskGroup() as group:
                for number in range(LINES):
                    group.create_task(crowd.use_lines(random.Random(f"{SEED}-{number}")))
            retries = serve.metric("upstream_retries_total")
    figures = {
        "requests": REQUESTS - crowd.left,
        "heads compared": ledger.heads,
        "sent again": retries,
        "upstream connections": witness.accepted,
    } | crowd.seen
    sys.stdout.write(f"{figures}\n")  # shown by pytest -rP
    assert ledger.violations == []
    # The conditions that could mix users up were all met, and more than once.
    assert ledger.heads > 0.8 * REQUESTS
    assert retries > 0.01 * REQUESTS
    for what in ("200", "signature_invalid", "upstream_reset", "aborted", "connections cut"):
        assert crowd.seen[what] > 0.001 * REQUESTS, what
