"""What was measured: samples, each of one subject doing one thing once, and medians over them."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

Figures = dict[str, float]


@dataclass
class Record:
    """One run of the benchmark; what could not be measured is in ``missing``, with the reason."""

    about: dict[str, str] = field(default_factory=dict)
    samples: list[tuple[str, str, str, Figures]] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)

    def add(self, part: str, case: str, subject: str, figures: Figures) -> None:
        self.samples.append((part, case, subject, figures))

    def parts(self) -> list[str]:
        return list(dict.fromkeys(part for part, _, _, _ in self.samples))

    def cases(self, part: str) -> list[str]:
        """Return a part's cases in the order in which they were measured."""
        return list(dict.fromkeys(case for p, case, _, _ in self.samples if p == part))

    def subjects(self, part: str) -> list[str]:
        return list(dict.fromkeys(subject for p, _, subject, _ in self.samples if p == part))

    def median(self, part: str, case: str, subject: str, figure: str) -> float | None:
        """Return the middle one of what the rounds gave, None where nothing was measured."""
        found = [
            figures[figure]
            for p, c, s, figures in self.samples
            if (p, c, s) == (part, case, subject) and figure in figures
        ]
        return statistics.median(found) if found else None

    def ratio(self, part: str, case: str, figure: str, subject: str, to: str) -> float | None:
        """Return how many times as much ``subject`` has as ``to``, medians of the same run."""
        mine = self.median(part, case, subject, figure)
        other = self.median(part, case, to, figure)
        return mine / other if mine is not None and other else None

    def write(self, path: Path) -> None:
        """Write all of it as JSON, one sample a line."""
        lines = ",\n".join(f"  {_json(sample)}" for sample in self.samples)
        path.write_text(
            f'{{\n"about": {json.dumps(self.about, indent=1)},\n'
            f'"missing": {json.dumps(self.missing, indent=1)},\n"samples": [\n{lines}\n]\n}}\n'
        )

    @classmethod
    def read(cls, path: Path) -> Self:
        read: dict[str, Any] = json.loads(path.read_text())
        return cls(read["about"], [tuple(s) for s in read["samples"]], read["missing"])


def _json(sample: tuple[str, str, str, Figures]) -> str:
    part, case, subject, figures = sample
    rounded: Iterable[tuple[str, float]] = figures.items()
    return json.dumps([part, case, subject, {k: float(f"{v:.5g}") for k, v in rounded}])
