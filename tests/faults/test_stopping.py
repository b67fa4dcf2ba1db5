"""Stopped under load, and killed: nothing is half done, and Headlamp's trust holds."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import ssl
import time
from pathlib import Path

import pytest

from tests.conftest import Tls
from tests.crowd import Asked, Line, Person
from tests.faults.conftest import Stage, token
from tests.serving import Serve
from tests.test_identity_mixing import mint, serve_before
from tests.witness import Ledger, Witness

LINES = 30


async def _until_it_ends(ledger: Ledger, serve: Serve, trust: ssl.SSLContext, n: int) -> list[int]:
    """Ask without a pause, until connections are refused; return what stayed without an answer."""
    dice, person = random.Random(n), Person(f"user-{n}@example.com", mint)
    unanswered: list[int] = []
    while True:
        try:
            line = await Line.open(ledger, serve.port, trust)
        except (OSError, ssl.SSLError):
            return unanswered
        try:
            while True:
                asked = line.prepare(person, dice.choice(["small", "chunked", "big"]), size=50_000)
                line.send(asked)
                _, answer = await line.answer()
                if answer.last:
                    break
        except (ConnectionError, EOFError, ssl.SSLError):
            unanswered += [asked.number for asked in line.waiting]
        finally:
            line.abort()


async def _until_cut(line: Line, watch: Asked) -> int:
    """Count a watch's events to its end, which must not look like one."""
    events = 0
    try:
        while True:
            await line.event(watch)
            events += 1
    except (ConnectionError, EOFError, ssl.SSLError):
        return events


@pytest.mark.slow
async def test_sigterm_under_load_leaves_no_request_half_done(tmp_path: Path, tls: Tls) -> None:
    ledger = Ledger()
    async with Witness(ledger).run(tls.server) as witness:
        with serve_before(tmp_path, witness, tls, "--shutdown-grace=2s") as serve:
            trust = ssl.create_default_context(cafile=str(serve.ca_file))
            watcher = await Line.open(ledger, serve.port, trust)
            watch = watcher.prepare(Person("bob@example.com", mint), "watch", query="&every=0.1")
            watcher.send(watch)
            await watcher.answer()
            asking = [
                asyncio.create_task(_until_it_ends(ledger, serve, trust, n)) for n in range(LINES)
            ]
            await ledger.until_compared(500)
            serve.terminate()
            began = time.monotonic()
            unanswered = [number for numbers in await asyncio.gather(*asking) for number in numbers]
            drained = time.monotonic() - began
            events = await _until_cut(watcher, watch)
            watcher.abort()
            assert await asyncio.to_thread(serve.stop) == 0
    assert ledger.violations == []
    # Who was not answered was not heard either: its connection was closed before it asked.
    assert [ledger.sent[number].seen for number in unanswered] == [0] * len(unanswered)
    assert drained < 2  # requests did not wait for the stream
    assert events >= 5  # which went on for as long as it was given


def test_after_a_sigkill_it_serves_again_what_headlamp_trusts(stage: Stage) -> None:
    serve = stage.serve()
    with serve:
        serve.wait_ready()
        trusted = serve.ca_file.read_bytes()
        assert serve.get("/version", token())[0] == 200
        os.kill(serve.pid, signal.SIGKILL)
        serve.stop()
    began = time.monotonic()
    with serve:
        serve.wait_ready()
        assert serve.ca_file.read_bytes() == trusted
        serve.wait_until(lambda: serve.get("/version", token())[0] == 200, "serving")
        assert time.monotonic() - began < 15
