"""CPU of a request at the same speed of the machine: the figures that targets are judged by.

On a host that is shared, whoever works on the other half of a core takes up to half of its speed,
for tenths of seconds, and the kernel's accounts call it ours: the same process was seen to take 67
and 132 us for the same request within a minute. So the load of each subject is cut into windows,
and beside it, on every core, a thread times one small piece of work again and again. Compared is
what was taken in windows in which that took the same: once as long as it usually did, and once as
little as in one window of twenty, when nearly nobody disturbed.
"""

from __future__ import annotations

import os
import statistics
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple, TypeVar

from bench.requests import SIZES, case
from bench.run import Run
from bench.subjects import AUDITED, OURS, Subject
from bench.wrk import SETTLING, driven, look, result

CASES: Final = {"400 B": ("nginx", "envoy", OURS, *AUDITED), "10 KB": ("nginx", "envoy", OURS)}
CONNECTIONS: Final = 32
SECONDS: Final = 3  # of one run
WINDOW: Final = 0.1  # seconds
ROUNDS: Final = 4  # for each of the other parts
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
    """A part of a subject's run: what the probe took, what a request took, and how many came."""

    probe: float  # seconds
    cpu: float  # us
    rate: float  # requests a second


def measure(run: Run) -> None:
    """A sample is one window."""
    windows: dict[tuple[str, Subject], list[Window]] = {}
    known = (*run.names, *AUDITED)
    names = list(dict.fromkeys(n for of in CASES.values() for n in of if n in known))
    with ExitStack() as stack:
        subjects = run.start_all(stack, run.stage.files_port, names=names)
        probe = stack.enter_context(Probe().running())
        wanted = [(size, s) for size in CASES for s in subjects if s.name in CASES[size]]
        for size, subject in wanted * (ROUNDS * run.rounds):
            found = run.attempt(
                f"windows: {case(size, CONNECTIONS)}: {subject.name}",
                partial(_windows, run, subject, probe, f"/{SIZES[size]}"),
            )
            windows.setdefault((size, subject), []).extend(found or ())
    for speed, share in SPEEDS.items():
        for (size, subject), found in at_speed(windows, share).items():
            for window in found:
                figures = {"cpu": window.cpu, "rate": window.rate, "probe": window.probe * 1e6}
                run.add("windows", case(size, CONNECTIONS) + speed, subject, figures)


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


def _windows(run: Run, subject: Subject, probe: Probe, path: str) -> list[Window]:
    found = []
    with driven(run.stage, subject, path, connections=CONNECTIONS, seconds=SECONDS) as wrk:
        time.sleep(SETTLING)
        last, core = look(run.stage, subject), _core(subject)
        until = last.at + SECONDS - 2 * SETTLING
        while last.at < until:
            time.sleep(WINDOW)
            now, then = look(run.stage, subject), _core(subject)
            took, served = probe.took(core, last.at, now.at), now.served - last.served
            if core == then and took and served > 0:
                cpu, rate = (now.cpu - last.cpu) / served * 1e6, served / (now.at - last.at)
                found.append(Window(took, cpu, rate))
            last, core = now, then
        result(wrk, SECONDS)
    return found


def _core(subject: Subject) -> int:
    """Return the core that a process works on: that of the thread which has used most CPU."""
    stats = [path.read_text() for path in Path(f"/proc/{subject.pid}/task").glob("*/stat")]
    fields = [stat.rpartition(")")[2].split() for stat in stats]
    busiest = max(fields, key=lambda field: int(field[11]) + int(field[12]))  # utime, stime
    return int(busiest[36])  # processor; proc_pid_stat(5)
