"""Counters, gauges and histograms that are changed by the event loop's thread alone.

prometheus-client takes a lock for every change, since it cannot know who else makes one. Some
fifteen changes a request made that a tenth of all that a request costs; without the locks and the
search through the buckets they cost a quarter of it (``python -m bench.parts``, "count many
requests"). Names, help and exposition are prometheus-client's still. They are read on the loop too.

What is changed between the steps of a request (where its token was found) is changed at
``number``, without a call. A histogram only keeps what it observes, and looks for the buckets of
many at once: with each that was a twentieth of a request's steps (``make budget``). So somebody
must ``fold`` once in a while, lest what is kept grow.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter as Multiset
from collections.abc import Iterable
from functools import partial
from typing import cast

import prometheus_client
from prometheus_client.samples import Sample


class Number:
    """What prometheus-client keeps a number in, as far as its own classes look at it."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0.0

    def get(self) -> float:
        return self.value

    def set(self, value: float) -> None:
        self.value = value

    def get_exemplar(self) -> None:
        """There are none."""


class Counter(prometheus_client.Counter):
    """Goes up only; ``amount`` is never negative."""

    def _metric_init(self) -> None:
        self._value = self.number = Number()

    def inc(self, amount: float = 1, exemplar: object = None) -> None:  # noqa: ARG002 - theirs
        self.number.value += amount


class Gauge(prometheus_client.Gauge):
    """Goes up and down, or mirrors a function."""

    def _metric_init(self) -> None:
        self._value: Number = Number()

    def inc(self, amount: float = 1) -> None:
        self._value.value += amount

    def dec(self, amount: float = 1) -> None:
        self._value.value -= amount


class Histogram(prometheus_client.Histogram):
    """Counts observations in buckets, with ``fold``, which whoever reads it does too."""

    def _metric_init(self) -> None:
        self._sum: Number = Number()
        self._buckets: list[Number] = [Number() for _ in self._upper_bounds]
        self._observed: list[float] = []
        self.observe = self._observed.append  # type: ignore[method-assign, assignment]
        self.observe_all = self._observed.extend

    def fold(self) -> None:
        """Count what was observed since the last time, in every series of this name."""
        if self._labelnames and not self._labelvalues:  # it is of its series that there are some
            for series in cast("dict[object, Histogram]", self._metrics).values():
                series.fold()
        elif self._observed:
            self._sum.value += sum(self._observed)
            bucket = partial(bisect_left, self._upper_bounds)
            for index, count in Multiset(map(bucket, self._observed)).items():
                self._buckets[index].value += count
            self._observed.clear()

    def _child_samples(self) -> Iterable[Sample]:
        self.fold()
        return super()._child_samples()
