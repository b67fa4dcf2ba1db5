"""Requests on kept connections: small, usual and big answers, at one connection and at many."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from itertools import product

from bench.run import Run
from bench.wrk import drive

SIZES = {"400 B": 400, "10 KB": 10_240, "5 MB": 5 << 20}
BIG = 1 << 20  # bytes
CONNECTIONS = (1, 32, 256)


def case(size: str, connections: int) -> str:
    return f"{size} x {connections}"


def measure(run: Run) -> None:
    """Every case of every subject, in turn, round by round; all subjects stand throughout."""
    with ExitStack() as stack:
        subjects = run.start_all(stack, run.stage.files_port, direct=True)
        for _ in range(run.rounds):
            for size, connections, subject in product(SIZES, CONNECTIONS, subjects):
                figures = run.attempt(
                    f"requests: {case(size, connections)}: {subject.name}",
                    partial(
                        drive,
                        run.stage,
                        subject,
                        f"/{SIZES[size]}",
                        connections=connections,
                        seconds=run.seconds,
                        big=SIZES[size] if SIZES[size] >= BIG else 0,
                    ),
                )
                run.add("requests", case(size, connections), subject, figures)
