"""Measure this proxy beside others: starts everything itself, prints one table, keeps the figures.

    make bench                               # everything, some 26 minutes
    make bench BENCH=small                   # everything, less thoroughly
    make bench BENCH="small requests envoy nginx"   # these parts, of these proxies and of ours

The figures go to ``bench/results/last.json``; ``make bench-record`` makes them those of
``docs/performance.md``. Interrupted, it keeps what it has and leaves nothing running. Only
ratios within one run mean anything, because machines differ.

Needs nginx and wrk (Debian: apt-get install nginx-light wrk); Envoy comes from PyPI.
"""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
import tempfile
import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Final

from bench import growth, handshakes, long, recording, requests, uploads, windows
from bench.kernel import load, machine, raise_descriptor_limit
from bench.nginx import program as nginx_program
from bench.run import Run, say
from bench.stage import Stage
from bench.subjects import BARE, DIRECT, OURS, SUBJECTS
from bench.table import table

PARTS: Final = {
    "start": handshakes.start,
    "windows": windows.measure,
    "requests": requests.measure,
    "fresh": handshakes.fresh,
    "tokens": handshakes.tokens,
    "watches": long.watches,
    "events": long.events,
    "tunnel": long.tunnels,
    "uploads": uploads.measure,
    "recording": recording.measure,
    "growth": growth.measure,
}
NAMES: Final = [name for name in SUBJECTS if name != DIRECT]
RESULTS: Final = Path("bench/results/last.json")


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description=__doc__,
        epilog=f"WHAT: small, for fewer rounds\n"
        f"      a part:  {', '.join(PARTS)}\n"
        f"      a proxy: {', '.join(NAMES)}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("what", nargs="*", help="see below; default: everything", metavar="WHAT")
    what = set(parser.parse_args().what)
    if unknown := what - {"small", *PARTS, *NAMES}:
        parser.error(f"unknown: {', '.join(unknown)}; choose from small, "
                     f"{', '.join(PARTS)}, {', '.join(NAMES)}")  # fmt: skip
    if missing := [tool for tool in ("nginx", "wrk") if not (nginx_program() if tool == "nginx"
                                                             else shutil.which(tool))]:  # fmt: skip
        say(f"not found: {', '.join(missing)}; apt-get install nginx-light wrk")
        return 2
    raise_descriptor_limit()
    parts = [part for part in PARTS if part in what] or list(PARTS)
    chosen = what & set(NAMES) or set(NAMES) - {BARE}
    names = [name for name in NAMES if name in chosen or name == OURS]
    began = time.monotonic()
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-"))
        stage = stack.enter_context(Stage(Path(folder)))
        run = Run(stage, names, small="small" in what)
        before = load()
        try:
            for part in parts:
                say(f"{part}, {time.monotonic() - began:.0f} s after the start")
                run.attempt(part, partial(PARTS[part], run))
        except KeyboardInterrupt:
            run.record.missing.append("the rest: interrupted")
    run.record.about = {
        **machine(),
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "rounds": str(run.rounds),
        "load before": f"{before:.1f}",
        "took": f"{time.monotonic() - began:.0f} s",
    }
    RESULTS.parent.mkdir(exist_ok=True)
    run.record.write(RESULTS)
    sys.stdout.write(table(run.record))
    return 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # an end in order, figures kept
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
