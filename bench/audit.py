"""What an audit log adds to a small request: this proxy beside itself with one, in turn.

The policies are ``Metadata`` for everything, with one event a request and with all stages; the log
is a file, and its writer's work is counted too, for it is the same process.
"""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial

from bench.record import Figures
from bench.requests import SIZES, case
from bench.run import Run
from bench.subjects import AUDITED, OURS
from bench.wrk import drive

_SIZE, _CONNECTIONS = "400 B", 32


def measure(run: Run) -> None:
    """``added`` (us) and ``ratio`` are to what the same round has seen without an audit."""
    with ExitStack() as stack:
        subjects = run.start_all(stack, run.stage.files_port, names=(OURS, *AUDITED))
        for _ in range(run.rounds * 4):  # what is looked for is small beside what rounds differ by
            without: Figures | None = None
            for subject in subjects:
                figures = run.attempt(
                    f"audit: {subject.name}",
                    partial(
                        drive,
                        run.stage,
                        subject,
                        f"/{SIZES[_SIZE]}",
                        connections=_CONNECTIONS,
                        seconds=2,
                    ),
                )
                if subject.name == OURS:
                    without = figures
                elif figures and without:
                    figures["added"] = figures["cpu"] - without["cpu"]
                    figures["ratio"] = figures["cpu"] / without["cpu"]
                run.add("audit", case(_SIZE, _CONNECTIONS), subject, figures)
