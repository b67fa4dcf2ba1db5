"""A proxy process seen from outside: what the kernel and its own metrics say of it."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from bench.soak.judge import Curve, Measure
from tests.serving import Serve

# A rise within half a run. Between two samples memory moves by about half a MiB and descriptors
# by tens (traffic comes and goes); the line through hundreds of samples does not.
MEASURES: Final = (
    Measure("memory", "MiB", bound=2.0, cold_bound=15.0),
    Measure("descriptors", "", bound=5.0, cold_bound=15.0),
    Measure("tasks", "", bound=3.0, cold_bound=3.0),
    Measure("threads", "", bound=0.5, cold_bound=2.0),
)
_RESTING: Final = ("connections_open", "requests_in_flight", "streams_open")
_REST_TIMEOUT: Final = 90.0  # seconds; idle upstream connections are kept for 60


@dataclass
class Watched:
    """Samples of one proxy, from the first ``sample`` on."""

    name: str
    serve: Serve
    times: list[float] = field(default_factory=list)
    rows: list[Mapping[str, float]] = field(default_factory=list)
    _began: float = field(default_factory=time.monotonic)

    def sample(self) -> None:
        self.times.append(time.monotonic() - self._began)
        self.rows.append(self.look())

    def look(self) -> dict[str, float]:
        status = Path(f"/proc/{self.serve.pid}/status").read_text()
        return {
            "memory": resident(self.serve.pid),
            "descriptors": len(list(Path(f"/proc/{self.serve.pid}/fd").iterdir())),
            "tasks": self.serve.metric("tasks"),
            "threads": _number(r"Threads:\s+(\d+)", status),
        }

    def curves(self) -> Sequence[Curve]:
        return [Curve(m, self.times, [row[m.name] for row in self.rows]) for m in MEASURES]

    def table(self) -> str:
        """Return the samples as CSV."""
        names = [measure.name for measure in MEASURES]
        lines = [",".join(["seconds", *names])]
        for at, row in zip(self.times, self.rows, strict=True):
            lines.append(",".join([f"{at:.1f}", *(f"{row[name]:.2f}" for name in names)]))
        return "\n".join([*lines, ""])

    def at_rest(self, before: Mapping[str, float]) -> list[str]:
        """Wait until all that traffic brought is gone; return what still is not."""
        deadline = time.monotonic() + _REST_TIMEOUT
        while (remains := self._remains(before)) and time.monotonic() < deadline:
            time.sleep(1)
        return remains

    def _remains(self, before: Mapping[str, float]) -> list[str]:
        metrics = self.serve.probe("/metrics")[1]
        remains = []
        for name in _RESTING:
            sample = rf"^headlamp_auth_proxy_{name}(?:{{.*}})? (\S+)$"
            found = re.findall(sample, metrics, re.MULTILINE)
            if left := sum(map(float, found)):
                remains.append(f"{name} {left:.0f}")
        now = self.look()
        remains += [
            f"{name} {now[name]:.0f}, {before[name]:.0f} before"
            for name in ("descriptors", "tasks")
            if now[name] > before[name]
        ]
        return remains


def resident(pid: int) -> float:
    """Return the memory of a process in MiB, files that are mapped left out."""
    return _number(r"RssAnon:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text()) / 1024


def _number(pattern: str, text: str) -> float:
    found = re.search(pattern, text)
    assert found, pattern
    return float(found[1])
