"""Bodies that go up."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from itertools import product

from bench.run import Run
from bench.wrk import drive

SIZES = {"10 KB": 10_240, "1 MB": 1 << 20}


def measure(run: Run) -> None:
    with ExitStack() as stack:
        subjects = run.start_all(stack, run.stage.files_port, direct=True)
        for _ in range(run.rounds):
            for size, subject in product(SIZES, subjects):
                post = partial(drive, method="POST", upload=SIZES[size], connections=8, seconds=3)
                figures = run.attempt(
                    f"uploads: {size}: {subject.name}", partial(post, run.stage, subject, "/upload")
                )
                run.add("uploads", f"{size} x 8", subject, figures)
