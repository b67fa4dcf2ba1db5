"""Whether a curve is flat: a least-squares line through its second half, and how much it rises.

The first half is for warming up (caches fill, the allocator finds its size). What is judged is the
rise of the line over the second half as a whole, in the measure's own unit, so that the bound means
the same for a run of any length: a run that is twice as long finds leaks half as large.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

WARM_UP: Final = 300.0  # seconds
_BARS: Final = "▁▂▃▄▅▆▇█"
_COLUMNS: Final = 60
_WIDTH, _HEIGHT, _MARGIN = 640, 140, 34  # of a curve in the drawing, in pixels


@dataclass(frozen=True)
class Measure:
    """Something that is sampled; ``bound`` is how far it may rise (or fall) in a second half.

    ``cold_bound`` holds instead where the first half is shorter than WARM_UP.
    """

    name: str
    unit: str
    bound: float
    cold_bound: float


@dataclass(frozen=True)
class Curve:
    """Samples of one measure: ``times`` in seconds from the start, in order."""

    measure: Measure
    times: Sequence[float]
    values: Sequence[float]

    @property
    def _half(self) -> int:
        return len(self.times) // 2

    @property
    def hours(self) -> float:
        """Return how long the second half is."""
        return (self.times[-1] - self.times[self._half]) / 3600

    @property
    def slope(self) -> float:
        """Return the slope of the second half, in units per hour."""
        return slope(self.times[self._half :], self.values[self._half :]) * 3600

    @property
    def rise(self) -> float:
        return self.slope * self.hours

    @property
    def bound(self) -> float:
        cold = self.times[self._half] - self.times[0] < WARM_UP
        return self.measure.cold_bound if cold else self.measure.bound

    @property
    def flat(self) -> bool:
        return abs(self.rise) <= self.bound

    def __str__(self) -> str:
        second = self.values[self._half :]
        mean = sum(second) / len(second)
        unit = f" {self.measure.unit}" if self.measure.unit else ""
        return (
            f"{self.measure.name:12} {bars(self.values)}\n"
            f"{'':12} start {self.values[0]:.1f}, least {min(self.values):.1f}, most "
            f"{max(self.values):.1f}, end {self.values[-1]:.1f}{unit}\n"
            f"{'':12} second half: mean {mean:.2f}{unit}, slope {self.slope:+.2f}{unit}/h, rise "
            f"{self.rise:+.2f}{unit} in {self.hours:.2f} h, bound {self.bound:g}{unit}: "
            f"{'flat' if self.flat else 'NOT FLAT'}"
        )


def slope(times: Sequence[float], values: Sequence[float]) -> float:
    """Return the least-squares slope; 0 for fewer than two samples."""
    middle, mean = sum(times) / len(times), sum(values) / len(values)
    spread = sum((t - middle) ** 2 for t in times)
    if not spread:
        return 0.0
    return sum((t - middle) * (v - mean) for t, v in zip(times, values, strict=True)) / spread


def bars(values: Sequence[float]) -> str:
    """Draw values in a line of text, each column the mean of its share."""
    columns = min(_COLUMNS, len(values))
    edges = [len(values) * n // columns for n in range(columns + 1)]
    means = [sum(values[a:b]) / (b - a) for a, b in pairwise(edges)]
    low, high = min(means), max(means)
    step = (high - low) / (len(_BARS) - 1) or 1.0
    return "".join(_BARS[round((mean - low) / step)] for mean in means)


def drawing(curves: Sequence[Curve]) -> str:
    """Draw the curves below each other, as SVG, with the line through each second half."""
    parts = [_drawn(curve, n * (_HEIGHT + _MARGIN) + _MARGIN) for n, curve in enumerate(curves)]
    height = len(curves) * (_HEIGHT + _MARGIN) + _MARGIN
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH + 2 * _MARGIN}" '
        f'height="{height}" font-family="sans-serif" font-size="11">\n{"".join(parts)}</svg>\n'
    )


def _drawn(curve: Curve, top: int) -> str:
    ceiling = max(curve.values) * 1.1 or 1.0
    first, last = curve.times[0], curve.times[-1]

    def point(time: float, value: float) -> str:
        x = _MARGIN + _WIDTH * (time - first) / ((last - first) or 1.0)
        return f"{x:.1f},{top + _HEIGHT * (1 - value / ceiling):.1f}"

    points = " ".join(map(point, curve.times, curve.values))
    begin = curve.times[curve._half]
    second = curve.values[curve._half :]
    mean, reach = sum(second) / len(second), curve.rise / 2
    line = f"{point(begin, mean - reach)} {point(last, mean + reach)}"
    title = (
        f"{curve.measure.name}, 0 to {ceiling:.0f} {curve.measure.unit}, over "
        f"{(last - first) / 60:.0f} min; {curve.slope:+.2f} {curve.measure.unit}/h"
    )
    return (
        f'<text x="{_MARGIN}" y="{top - 6}">{title}</text>\n'
        f'<rect x="{_MARGIN}" y="{top}" width="{_WIDTH}" height="{_HEIGHT}" fill="none" '
        f'stroke="#ccc"/>\n<polyline points="{points}" fill="none" stroke="#36c"/>\n'
        f'<polyline points="{line}" fill="none" stroke="#c33" stroke-width="2"/>\n'
    )
