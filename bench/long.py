"""Long-running requests: watches at rest, events through them, and tunnels."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from functools import partial
from typing import Any

from bench.client import Connection, each, open_all, percentiles
from bench.client import run as run_client
from bench.kernel import cpu_seconds, resident_kib
from bench.record import Figures
from bench.run import Run
from bench.stage import Stage
from bench.streams import FRAME
from bench.subjects import Subject
from tests.process import Process, free_port

_PER_USER = 50  # watches; how many one user may have is limited
_BURSTS = 20
INTERVAL = 0.002  # seconds from event to event where they are paced
_MEGABYTES = 64


def watches(run: Run) -> None:
    """What a watch holds while nothing happens."""
    count = 200 if run.small else 2000
    _in_turn(run, "idle watches", f"{count} watches", partial(_idle, run.stage, count), rounds=1)


def events(run: Run) -> None:
    """Events through many watches: to all at once, and to one after the other."""
    count = 100 if run.small else 500
    for how, measure in (("at once", _burst), ("every 2 ms", _paced)):
        case = f"{count} watches, {how}"
        _in_turn(run, "events", case, partial(measure, run.stage, count), direct=True)


def tunnels(run: Run) -> None:
    """An exec's round trip, and how much it carries."""
    _in_turn(run, "tunnel", "round trip", partial(_echoes, run.stage), direct=True)
    _in_turn(run, "tunnel", f"{_MEGABYTES} MB", partial(_bulk, run.stage), direct=True)


def _in_turn(
    run: Run,
    part: str,
    case: str,
    measure: Callable[[Subject, int], Coroutine[Any, Any, Figures]],
    *,
    direct: bool = False,
    rounds: int = 0,
) -> None:
    """Measure each subject in turn, round by round; ``measure`` gets it and the control port."""
    with ExitStack() as stack:
        port, control = stack.enter_context(upstream(run.stage))
        subjects = run.start_all(stack, port, direct=direct)
        for _ in range(rounds or run.rounds):
            for subject in subjects:
                figures = run.attempt(
                    f"{part}: {case}: {subject.name}",
                    partial(_measured, measure, subject, control),
                )
                run.add(part, case, subject, figures)


def _measured(
    measure: Callable[[Subject, int], Coroutine[Any, Any, Figures]], subject: Subject, control: int
) -> Figures:
    return run_client(measure(subject, control))


@contextmanager
def upstream(stage: Stage) -> Iterator[tuple[int, int]]:
    """Start ``bench.streams``; yield its port and its control port."""
    port, control = free_port(), free_port()
    argv = [sys.executable, "-m", "bench.streams", str(port), str(control), str(stage.certificate)]
    process = Process(argv, stage.folder / "streams.log")
    try:
        yield port, control
    finally:
        process.stop(5)


@asynccontextmanager
async def watching(stage: Stage, subject: Subject, count: int) -> AsyncIterator[list[Connection]]:
    tokens = stage.tokens(-(-count // _PER_USER))
    connections = await open_all(subject.port, count)
    try:
        await each(lambda n: connections[n].watch(tokens[n % len(tokens)]), range(count))
        yield connections
    finally:
        for connection in connections:
            connection.close()


async def _idle(stage: Stage, count: int, subject: Subject, _control: int) -> Figures:
    async with watching(stage, subject, 20):  # what is made on first use is not a watch's
        pass
    before = resident_kib(subject.pid)
    async with watching(stage, subject, count):
        await asyncio.sleep(1)
        held = resident_kib(subject.pid) - before
        used = cpu_seconds(subject.pid)
        await asyncio.sleep(2)
        used = cpu_seconds(subject.pid) - used
    return {"KiB": held / count, "resident": (before + held) / 1024, "cpu_percent": used / 2 * 100}


async def _burst(stage: Stage, count: int, subject: Subject, control: int) -> Figures:
    async with watching(stage, subject, count) as connections:
        reader, writer = await asyncio.open_connection("127.0.0.1", control)
        used, delays = _cpu(subject), list[float]()
        for _ in range(_BURSTS):
            writer.write(b"burst\n")
            delays += await asyncio.gather(*(c.event() for c in connections))
            await reader.readline()
        used = _cpu(subject) - used
        writer.close()
    return {"cpu": used / len(delays) * 1e6, **percentiles([delay / 1e9 for delay in delays])}


async def _paced(stage: Stage, count: int, subject: Subject, control: int) -> Figures:
    total = 2 * count
    async with watching(stage, subject, count) as connections:
        reader, writer = await asyncio.open_connection("127.0.0.1", control)
        used = _cpu(subject)
        writer.write(b"pace %d %f\n" % (total, INTERVAL))

        async def two(connection: Connection) -> list[int]:
            return [await connection.event() for _ in range(2)]

        delays = [d for pair in await asyncio.gather(*map(two, connections)) for d in pair]
        await reader.readline()
        used = _cpu(subject) - used
        writer.close()
    return {"cpu": used / total * 1e6, **percentiles([delay / 1e9 for delay in delays])}


@asynccontextmanager
async def _tunnel(stage: Stage, subject: Subject) -> AsyncIterator[Connection]:
    connection = await Connection.open(subject.port)
    try:
        await connection.tunnel(stage.tokens(1)[0])
        yield connection
    finally:
        connection.close()


async def _echoes(stage: Stage, subject: Subject, _control: int) -> Figures:
    took = []
    async with _tunnel(stage, subject) as connection:
        await connection.echo()
        used = _cpu(subject)
        for _ in range(1000):
            began = time.monotonic()
            await connection.echo()
            took.append(time.monotonic() - began)
        used = _cpu(subject) - used
    return {"cpu": used / len(took) * 1e6, **percentiles(took)}


async def _bulk(stage: Stage, subject: Subject, _control: int) -> Figures:
    async with _tunnel(stage, subject) as connection:
        await connection.bulk(32, FRAME)
        used, began = _cpu(subject), time.monotonic()
        await connection.bulk(_MEGABYTES * (1 << 20) // FRAME, FRAME)
        took, used = time.monotonic() - began, _cpu(subject) - used
    return {"cpu": used / _MEGABYTES * 1e6, "rate": _MEGABYTES / took}


def _cpu(subject: Subject) -> float:
    return cpu_seconds(subject.pid) if subject.pid else 0.0
