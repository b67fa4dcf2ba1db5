"""Our histograms say what prometheus-client's own say of the same observations."""

from __future__ import annotations

import math
from typing import Any

import prometheus_client
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest

from proxy.observe.metrics import Metrics
from proxy.observe.series import Histogram

BUCKETS = (0.001, 0.5, 1.0, 30.0)
SECONDS = st.sampled_from([0.0, 0.001, 0.5, 0.25, 7.0, 30.0, 31.0, math.inf])


@given(st.lists(st.tuples(st.sampled_from("ab"), SECONDS | st.just(None))))
def test_whenever_observations_are_folded_they_are_counted_once(
    steps: list[tuple[str, float | None]],
) -> None:
    """None is a moment at which somebody folds, as housekeeping does."""
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    histogram = Histogram("x", "X.", ["label"], registry=ours, buckets=BUCKETS)
    model = prometheus_client.Histogram("x", "X.", ["label"], registry=theirs, buckets=BUCKETS)
    for label, seconds in steps:
        ours_of, model_of = histogram.labels(label), model.labels(label)
        if seconds is None:
            histogram.fold()
        else:
            ours_of.observe(seconds)
            model_of.observe(seconds)
    assert _but_created(ours) == _but_created(theirs)
    assert _but_created(ours) == _but_created(theirs), "a second scrape"


def _but_created(registry: CollectorRegistry) -> list[bytes]:
    return [line for line in generate_latest(registry).splitlines() if b"_created" not in line]


def test_nothing_that_was_observed_is_kept_once_it_is_folded() -> None:
    metrics = Metrics("test")
    metrics.unary_answered([0.1, 0.2], [0.3, 0.4])
    metrics.stream_answered("watch", 0.1, 0.2)
    assert sum(map(_kept, metrics._histograms)) == 9
    metrics.fold()
    assert sum(map(_kept, metrics._histograms)) == 0


def _kept(histogram: Any) -> int:
    series = [histogram] if hasattr(histogram, "_observed") else histogram._metrics.values()
    return sum(len(one._observed) for one in series)
