"""One run of the benchmark: what to measure, how thoroughly, and where the figures go.

A subject that cannot be started, or a measurement that fails, is said and recorded; the rest is
still measured. Once the time is up nothing new is begun.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import Final, TypeVar

from bench.record import Figures, Record
from bench.stage import Stage
from bench.subjects import DIRECT, Subject, started

T = TypeVar("T")

TIME: Final = 40 * 60  # seconds for everything; a run takes some 26 minutes


@dataclass
class Run:
    """``small`` measures less, in less time: fewer rounds, shorter runs, fewer connections."""

    stage: Stage
    names: Sequence[str]  # of the subjects
    small: bool = False
    record: Record = field(default_factory=Record)
    _began: float = field(default_factory=time.monotonic)

    @property
    def rounds(self) -> int:
        return 1 if self.small else 3

    @property
    def seconds(self) -> int:
        return 2 if self.small else 3

    def add(self, part: str, case: str, subject: Subject, figures: Figures | None) -> None:
        """Record a sample; None is one that could not be taken."""
        if figures:
            self.record.add(part, case, subject.name, figures)

    def start_all(
        self,
        stack: ExitStack,
        upstream: int,
        *,
        direct: bool = False,
        without: Sequence[str] = (),
        names: Sequence[str] = (),
    ) -> list[Subject]:
        """Start all that can be; with ``direct``, the way without any proxy is the first.

        ``names`` are those of a part that has its own.
        """
        names = names or [name for name in self.names if name not in without]
        starts = [
            self.attempt(
                f"{name} does not start",
                partial(stack.enter_context, started(name, self.stage, upstream)),
            )
            for name in [*([DIRECT] if direct else []), *names]
        ]
        return [subject for subject in starts if subject is not None]

    def attempt(self, what: str, measure: Callable[[], T]) -> T | None:
        """Return what ``measure`` does; where it fails, or the time is up, say so and go on."""
        if time.monotonic() - self._began > TIME:
            self._miss(f"{what}: not begun, {TIME // 60} minutes are up")
            return None
        try:
            return measure()
        except Exception as error:  # noqa: BLE001
            self._miss(f"{what}: {type(error).__name__}: {error}")
            return None

    def _miss(self, what: str) -> None:
        self.record.missing.append(what)
        say(f"MISSING {what}")


def say(*lines: str) -> None:
    sys.stderr.write("".join(f"{line}\n" for line in lines))
    sys.stderr.flush()
