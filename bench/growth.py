"""Whether anything grows faster than its cause: connections, groups, header fields, bytes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial

from bench.client import AT_ONCE, each, open_all
from bench.client import run as run_client
from bench.kernel import cpu_seconds, resident_kib
from bench.record import Figures
from bench.requests import BIG
from bench.run import Run
from bench.stage import SIZES, Stage
from bench.subjects import Subject
from bench.wrk import drive

CONNECTIONS = (1, 10, 100, 500, 1000, 2000, 5000)
GROUPS = (1, 10, 50, 100, 250)
HEADERS = (0, 10, 25, 50, 100)
_LEAST = 2000  # requests, however few the connections


def measure(run: Run) -> None:
    """Each curve point by point, the subjects in turn at each point."""
    step = 2 if run.small else 1
    with ExitStack() as stack:
        subjects = run.start_all(stack, run.stage.files_port, without=("naive",))

        def curve(
            name: str, points: tuple[int, ...], figures: Callable[[Subject, int], Figures]
        ) -> None:
            for point in points[::step]:
                for subject in subjects:
                    seen = run.attempt(
                        f"growth: {name}: {point}: {subject.name}", partial(figures, subject, point)
                    )
                    run.add(f"growth: {name}", str(point), subject, seen)

        drive_some = partial(drive, run.stage, connections=32, seconds=2)
        curve("answer size", SIZES, lambda s, n: drive_some(s, f"/{n}", big=n if n >= BIG else 0))
        curve("header fields", HEADERS, lambda s, n: drive_some(s, "/400", headers=n))
        curve(
            "groups",
            GROUPS,
            lambda s, n: drive_some(
                s, "/400",
                tokens=run.stage.write_tokens(f"groups-{n}", run.stage.tokens(8, groups=n)),
            ),
        )  # fmt: skip
        curve("connections", CONNECTIONS, partial(_connected, run.stage))


def _connected(stage: Stage, subject: Subject, count: int) -> Figures:
    return run_client(_on_each(stage, subject, count))


async def _on_each(stage: Stage, subject: Subject, count: int) -> Figures:
    """Ask on every connection in turn while all of them are open."""
    tokens = stage.tokens(8)
    connections = await open_all(subject.port, count)
    idle, total = deque(connections), max(_LEAST, count)

    async def ask(n: int) -> None:
        connection = idle.popleft()  # whose last answer is the longest ago
        await connection.ask("/400", tokens[n % len(tokens)])
        idle.append(connection)

    at_once = min(AT_ONCE, count)
    await each(ask, range(count), at_once)
    used = cpu_seconds(subject.pid)
    await each(ask, range(total), at_once)
    used = cpu_seconds(subject.pid) - used
    resident = resident_kib(subject.pid) / 1024
    for connection in connections:
        connection.close()
    return {"cpu": used / total * 1e6, "resident": resident}
