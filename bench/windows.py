"""CPU of requests and events at the same speed of the machine: what targets are judged by.

On a host that is shared, whoever works on the other half of a core takes up to half of its speed,
for tenths of seconds, and the kernel's accounts call it ours: the same process was seen to take 67
and 132 us for the same request within a minute. So the load of each subject is cut into windows,
and beside it, on every core, a thread times one small piece of work again and again. Compared is
what was taken in windows in which that took the same: once as long as it usually did, and once as
little as in one window of twenty, when nearly nobody disturbed.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple, TypeVar

from bench.client import Connection
from bench.client import run as run_client
from bench.kernel import cpu_seconds, loopback_bytes
from bench.long import INTERVAL, upstream, watching
from bench.requests import BIG, SIZES, case
from bench.run import Run
from bench.subjects import AUDITED, BARE, OURS, Subject
from bench.wrk import SETTLING, driven, result

CASES: Final = {
    "400 B": ("nginx", "envoy", OURS, *AUDITED),
    "10 KB": ("nginx", "envoy", OURS),
    "5 MB": ("nginx", OURS),
}
CONNECTIONS: Final = 32
WATCHES: Final = 500
EVENT: Final = f"event of {WATCHES} watches"  # one after the other has one; however small the run
EACH: Final = 3  # events of a watch, of a run
SECONDS: Final = 3  # of one run
WINDOW: Final = 0.1  # seconds
ROUNDS: Final = 4  # for each of the other parts
EVENT_ROUNDS: Final = 5  # the same; few, for before each there are handshakes of all watches
SPEEDS: Final = {"": 0.5, ", undisturbed": 0.05}  # which of all windows, the quickest first
SAME: Final = 0.1  # what the probe may differ by, of that window's
LEAST: Final = 10  # windows of a subject, for its figures to say anything
_EVERY: Final = 0.02  # seconds between two probes of a core
_KEPT: Final = 50  # probes of a core that are looked at; a window has five
_PRIME: Final = (1 << 256) - 189
K = TypeVar("K")


class Probe:
    """Times the same work on every core, some hundred microseconds of it, fifty times a second."""

    def __init__(self) -> None:
        self._taken: dict[int, list[tuple[float, float]]] = {}  # by core: when, how long
        self._stop = threading.Event()

    @contextmanager
    def running(self) -> Iterator[Probe]:
        threads = [
            threading.Thread(target=self._run, args=(core,)) for core in os.sched_getaffinity(0)
        ]
        for thread in threads:
            thread.start()
        try:
            yield self
        finally:
            self._stop.set()
            for thread in threads:
                thread.join()

    def _run(self, core: int) -> None:
        os.sched_setaffinity(threading.get_native_id(), {core})
        taken = self._taken[core] = []
        while not self._stop.wait(_EVERY):
            began = time.thread_time()
            pow(3, _PRIME - 2, _PRIME)
            taken.append((time.monotonic(), time.thread_time() - began))

    def took(self, core: int, begin: float, end: float) -> float:
        """Return the seconds that it took on a core between two monotonic moments; 0: unknown."""
        latest = self._taken.get(core, [])[-_KEPT:]
        within = [seconds for at, seconds in latest if begin <= at <= end]
        return statistics.median(within) if within else 0.0


class Window(NamedTuple):
    """A part of a run: what the probe took, what a request or event did, and how many came.

    Large answers, of which few end in a window and then many at once, are counted by their bytes.
    """

    probe: float  # seconds
    cpu: float  # us
    rate: float  # requests, or events, a second


Take = Callable[[], list[Window]]


def measure(run: Run) -> None:
    """A sample is one window."""
    probe = Probe()
    with probe.running():
        _in_rounds(run, ROUNDS * run.rounds, partial(_requests, run, probe))
        _in_rounds(run, EVENT_ROUNDS * run.rounds, partial(_events, run, probe))


def _in_rounds(
    run: Run, rounds: int, start: Callable[[ExitStack], Iterator[tuple[str, Subject, Take]]]
) -> None:
    """Take windows of each in turn, and record those of the speeds that are compared.

    Who is measured is started anew for each round, so that a record is not one throw: processes of
    the same program differ, for as long as they live, by more than what is looked for.
    """
    windows: dict[tuple[str, str], list[Window]] = {}

    def one_round() -> None:
        with ExitStack() as stack:
            for what, subject, take in start(stack):
                taken = run.attempt(f"windows: {what}: {subject.name}", take)
                windows.setdefault((what, subject.name), []).extend(taken or ())

    for _ in range(rounds):
        run.attempt("windows: a round", one_round)
    for speed, share in SPEEDS.items():
        for (what, name), compared in at_speed(windows, share).items():
            for window in compared:
                figures = {"cpu": window.cpu, "rate": window.rate, "probe": window.probe * 1e6}
                run.record.add("windows", what + speed, name, figures)


def _requests(run: Run, probe: Probe, stack: ExitStack) -> Iterator[tuple[str, Subject, Take]]:
    known = (*run.names, *AUDITED)
    names = list(dict.fromkeys(n for of in CASES.values() for n in of if n in known))
    subjects = run.start_all(stack, run.stage.files_port, names=names)
    for size in CASES:
        for subject in subjects:
            if subject.name in CASES[size]:
                take = partial(_of_requests, run, subject, probe, SIZES[size])
                yield case(size, CONNECTIONS), subject, take


def _events(run: Run, probe: Probe, stack: ExitStack) -> Iterator[tuple[str, Subject, Take]]:
    port, control = stack.enter_context(upstream(run.stage))
    for subject in run.start_all(stack, port, without=["naive", BARE]):
        yield EVENT, subject, partial(_run_events, run, subject, probe, control)


def at_speed(windows: Mapping[K, Sequence[Window]], share: float) -> dict[K, list[Window]]:
    """Return those in which the probe took as long as in the window at ``share`` of all.

    Whoever has too few of them for their middle to say anything has none.
    """
    probed = sorted(window.probe for of in windows.values() for window in of)
    if not probed:
        return {}
    speed = probed[int(len(probed) * share)]
    found = {
        key: [window for window in of if abs(window.probe / speed - 1) <= SAME]
        for key, of in windows.items()
    }
    return {key: of for key, of in found.items() if len(of) >= LEAST}


def _of_requests(run: Run, subject: Subject, probe: Probe, size: int) -> list[Window]:
    windows = []
    served = partial(_passed, size) if size >= BIG else run.stage.served
    with driven(run.stage, subject, f"/{size}", connections=CONNECTIONS, seconds=SECONDS) as wrk:
        time.sleep(SETTLING)
        cutter = _Cutter(subject, probe, served)
        while cutter.at < cutter.began + SECONDS - 2 * SETTLING:
            time.sleep(WINDOW)
            if window := cutter.cut():
                windows.append(window)
        result(wrk, SECONDS)
    return windows


def _passed(size: int) -> float:
    """Return how many answers' bytes have passed; each goes over the loopback twice."""
    return loopback_bytes() / (2 * size)


def _run_events(run: Run, subject: Subject, probe: Probe, control: int) -> list[Window]:
    return run_client(_of_events(run, subject, probe, control))


async def _of_events(run: Run, subject: Subject, probe: Probe, control: int) -> list[Window]:
    seen, windows = 0, []

    async def see(connection: Connection) -> None:
        nonlocal seen
        for _ in range(EACH):
            await connection.event()
            seen += 1

    async with watching(run.stage, subject, WATCHES) as watches, asyncio.TaskGroup() as seeing:
        for connection in watches:
            seeing.create_task(see(connection))
        _, writer = await asyncio.open_connection("127.0.0.1", control)
        writer.write(b"pace %d %f\n" % (EACH * WATCHES, INTERVAL))
        await asyncio.sleep(SETTLING)
        cutter = _Cutter(subject, probe, lambda: seen)
        while cutter.at < cutter.began + EACH * WATCHES * INTERVAL - 2 * SETTLING:
            await asyncio.sleep(WINDOW)
            if window := cutter.cut():
                windows.append(window)
    writer.close()
    return windows


class _Cutter:
    """Cuts a subject's run into windows, of whatever ``served`` counts."""

    def __init__(self, subject: Subject, probe: Probe, served: Callable[[], float]) -> None:
        self._subject, self._probe, self._served = subject, probe, served
        self.began = self.at = time.monotonic()
        self._core, self._cpu, self._count = _core(subject), cpu_seconds(subject.pid), served()

    def cut(self) -> Window | None:
        """Return the window since the last cut; None if it says nothing."""
        at, core = time.monotonic(), _core(self._subject)
        cpu, count = cpu_seconds(self._subject.pid), self._served()
        took, served = self._probe.took(core, self.at, at), count - self._count
        window = None
        if core == self._core and took and served > 0:
            window = Window(took, (cpu - self._cpu) / served * 1e6, served / (at - self.at))
        self.at, self._core, self._cpu, self._count = at, core, cpu, count
        return window


def _core(subject: Subject) -> int:
    """Return the core that a process works on: that of the thread which has used most CPU."""
    stats = [path.read_text() for path in Path(f"/proc/{subject.pid}/task").glob("*/stat")]
    fields = [stat.rpartition(")")[2].split() for stat in stats]
    busiest = max(fields, key=lambda field: int(field[11]) + int(field[12]))  # utime, stime
    return int(busiest[36])  # processor; proc_pid_stat(5)
