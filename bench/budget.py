"""How much a request may cost: no timed test, but a count that is the same in every run.

    make budget                # fails where a request costs more than bench/budget.json allows
    make budget BUDGET=renew   # writes what it costs now, to be committed with the reason
    make budget BUDGET=renew PYTHON=python3.13   # likewise, of another release

Counted is ``bench.path``: a request's way through the real listener, gate, exchange, pool, metrics
and log. Function calls are Python's and C's; bytecodes are Python's instructions, which also show a
loop that calls nothing. The machine's own instructions would say more (``bench.path
--instructions``), but take valgrind and minutes. Counts depend on the release of Python, so each
that CI runs has a budget of its own; any other is said to have none, and passes. The tolerance is
for patch releases of Python and its libraries, and is less than one more pass over the header
fields costs.
"""

from __future__ import annotations

import cProfile
import json
import os
import pstats
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any, Final

from bench.path import REQUESTS, Joined, _in_loop
from proxy.observe.together import AT_ONCE
from proxy.version import is_compiled

BUDGET: Final = Path(__file__).with_name("budget.json")
TOLERANCE: Final = 0.01
RELEASE: Final = f"{sys.version_info.major}.{sys.version_info.minor}"
_RUNS, _TIMES = 5, 3 * AT_ONCE  # requests in one of so many runs; as many are told of as end

TraceFunction = Any  # mypy knows no recursive function types
Costs = dict[str, dict[str, float]]  # whose request -> what is counted -> how many a request


def calls(path: Joined, request: bytes) -> float:
    """Return how many functions a request calls, C's included."""
    profile = cProfile.Profile()
    profile.enable()
    path.send(request, _TIMES)
    profile.disable()
    return float(pstats.Stats(profile).total_calls) / _TIMES  # type: ignore[attr-defined]


def bytecodes(path: Joined, request: bytes) -> float:
    """Return how many bytecodes of Python a request executes."""
    count = 0

    def trace(frame: FrameType, event: str, _argument: object) -> TraceFunction:
        nonlocal count
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        count += event == "opcode"
        return trace

    sys.settrace(trace)
    path.send(request, _TIMES)
    sys.settrace(None)
    return count / _TIMES


def measured() -> Costs:
    return {
        whose: {what.__name__: round(least(what, request), 1) for what in (calls, bytecodes)}
        for whose, request in REQUESTS.items()
    }


def least(count: Callable[[Joined, bytes], float], request: bytes) -> float:
    """Return the least of some counts: a busy machine adds what is done once a second, and more."""
    return min(_in_loop(lambda path: count(path, request)) for _ in range(_RUNS))


def judged(costs: Costs, allowed: Costs) -> list[str]:
    """Return what costs more than is allowed."""
    return [
        f"{whose} request: {cost:.0f} {what}, {allowed[whose][what]:.0f} allowed"
        f" (and {TOLERANCE:.0%}): mend it, or `make budget BUDGET=renew` and say why"
        for whose, found in costs.items()
        for what, cost in found.items()
        if what in allowed.get(whose, {}) and cost > allowed[whose][what] * (1 + TOLERANCE)
    ]


def main() -> int:
    if os.environ.get("PYTHONHASHSEED") != "0":  # or sets are walked in another order each time
        os.execve(
            sys.executable,
            [sys.executable, "-m", "bench.budget", *sys.argv[1:]],
            os.environ | {"PYTHONHASHSEED": "0"},
        )
    if is_compiled():
        sys.stderr.write(
            "what is compiled has no bytecodes to count: `make compiled-clean` first\n"
        )
        return 2
    budgets: dict[str, Costs] = json.loads(BUDGET.read_text()) if BUDGET.exists() else {}
    costs = measured()
    for whose, found in costs.items():
        allowed = budgets.get(RELEASE, {}).get(whose, {})
        for what, cost in found.items():
            sys.stdout.write(f"{whose:12}{cost:10.0f} {what}, {allowed.get(what, 0):.0f} allowed\n")
    if "renew" in sys.argv[1:]:
        budgets[RELEASE] = costs
        BUDGET.write_text(json.dumps(budgets, indent=2, sort_keys=True) + "\n")
        return 0
    if RELEASE not in budgets:
        sys.stdout.write(f"no budget for Python {RELEASE}: nothing is judged\n")
        return 0
    problems = judged(costs, budgets[RELEASE])
    sys.stderr.write("".join(f"{problem}\n" for problem in problems))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
