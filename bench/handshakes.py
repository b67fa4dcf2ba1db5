"""What costs once: a TLS connection, the first sight of a token, and the start of the process."""

from __future__ import annotations

import compileall
import time
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Final

from bench.client import Connection, each, percentiles
from bench.client import run as run_client
from bench.kernel import cpu_seconds, resident_kib
from bench.record import Figures
from bench.run import Run
from bench.subjects import Subject, started

PROGRAM: Final = Path(__file__).parents[1] / "proxy"


def fresh(run: Run) -> None:
    """Requests that each come on a TLS connection of their own."""
    tokens = run.stage.tokens(8) * (20 if run.small else 60)
    with ExitStack() as stack:
        subjects = run.start_all(stack, run.stage.files_port, direct=True)
        for _ in range(run.rounds):
            for subject in subjects:
                figures = run.attempt(
                    f"fresh connections: {subject.name}",
                    partial(_asked, subject, tokens, kept=False),
                )
                run.add("fresh connections", f"{len(tokens)} requests", subject, figures)


def tokens(run: Run) -> None:
    """Requests that each bring a token that was never seen before, on kept connections."""
    count = 200 if run.small else 1000
    with ExitStack() as stack:
        subjects = run.start_all(stack, run.stage.files_port)
        for _ in range(run.rounds):
            unseen = run.stage.tokens(count)
            for subject in subjects:
                figures = run.attempt(
                    f"new tokens: {subject.name}", partial(_asked, subject, unseen, kept=True)
                )
                run.add("new tokens", f"{count} tokens", subject, figures)


def start(run: Run) -> None:
    """From nothing to the first answer, and what is resident then."""
    # An image and an installed wheel have bytecode; a checkout may not, nor be given any.
    compileall.compile_dir(PROGRAM, quiet=1)
    for _ in range(run.rounds):
        for name in run.names:
            run.attempt(f"start: {name}", partial(_started, run, name))


def _started(run: Run, name: str) -> None:
    with started(name, run.stage, run.stage.files_port) as subject:
        resident = resident_kib(subject.pid) / 1024
        figures = {"seconds": subject.start, "resident": resident}
        run.add("start", "to the first answer", subject, figures)


def _asked(subject: Subject, tokens: Sequence[str], *, kept: bool) -> Figures:
    used = cpu_seconds(subject.pid) if subject.pid else 0.0
    took = run_client(_ask(subject.port, tokens, kept=kept))
    used = cpu_seconds(subject.pid) - used if subject.pid else 0.0
    return {"cpu": used / len(tokens) * 1e6, **percentiles(took)}


async def _ask(port: int, tokens: Sequence[str], *, kept: bool) -> list[float]:
    pool: list[Connection] = []

    async def once(token: str) -> float:
        began = time.monotonic()
        connection = pool.pop() if pool else await Connection.open(port)
        await connection.ask("/400", token, *([] if kept else ["Connection: close"]))
        if kept:
            pool.append(connection)
        else:
            connection.close()
        return time.monotonic() - began

    try:
        return await each(once, tokens)
    finally:
        for connection in pool:
            connection.close()
