"""When the soak calls a curve flat."""

from __future__ import annotations

import random

import pytest

from bench.soak.judge import Curve, Measure, bars, drawing, slope

MEMORY = Measure("memory", "MiB", bound=2.0, cold_bound=15.0)
HOUR = [float(second) for second in range(0, 3600, 5)]


def curve(*, per_hour: float, noise: float = 0.5, warm_up: float = 40.0) -> Curve:
    dice = random.Random(1)
    return Curve(
        MEMORY,
        HOUR,
        [50 + min(t / 600, 1) * warm_up + per_hour * t / 3600 + dice.gauss(0, noise) for t in HOUR],
    )


def test_a_slope_is_the_least_squares_one() -> None:
    assert slope([0, 1, 2, 3], [1, 3, 5, 7]) == pytest.approx(2)
    assert slope([0, 1, 2, 3], [0, 1, 0, 1]) == pytest.approx(0.2)
    assert slope([5], [1]) == 0


def test_warming_up_and_noise_are_no_leak() -> None:
    assert curve(per_hour=0).flat
    assert curve(per_hour=0, noise=3).flat
    assert curve(per_hour=0, warm_up=400).flat


@pytest.mark.parametrize("per_hour", [5, 50, -5])
def test_a_steady_rise_or_fall_is_not_flat(per_hour: float) -> None:
    leaking = curve(per_hour=per_hour)
    assert not leaking.flat
    assert leaking.slope == pytest.approx(per_hour, abs=0.5)
    assert "NOT FLAT" in str(leaking)


def test_a_run_too_short_to_warm_up_is_held_to_the_wider_bound() -> None:
    times = [float(second) for second in range(120)]
    warming = Curve(MEMORY, times, [t / 10 for t in times])
    assert warming.bound == MEMORY.cold_bound
    assert warming.flat
    assert not Curve(MEMORY, times, [float(t) for t in times]).flat


def test_the_drawings_show_the_course() -> None:
    assert bars([1, 2, 3]) == "▁▅█"
    assert bars([4, 4]) == "▁▁"
    assert len(bars(range(1000))) == 60
    drawn = drawing([curve(per_hour=0), curve(per_hour=50)])
    assert drawn.count("<polyline") == 4
    assert "+50." in drawn or "+49." in drawn
