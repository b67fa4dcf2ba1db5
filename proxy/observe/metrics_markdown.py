"""The table of all metrics for the documentation, from the registry itself, so it cannot drift."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

from prometheus_client import Metric

from proxy.observe.metrics import PREFIX, Metrics
from proxy.requestinfo import KINDS

_OPEN_LABELS: Final = frozenset({"code", "version", "compiled", "python_version"})
_LISTED_VALUES: Final = 6  # more are reasons: they are the labels of the error table
_SUFFIX: Final = {"counter": "_total", "info": "_info"}


def metrics_markdown() -> str:
    """Return a Markdown table of every metric: name, type, labels with their values, help."""
    metrics = Metrics("")
    ended = [(HTTPStatus.OK.value, kind) for kind in KINDS]
    metrics.requests_ended(ended)  # else nothing shows which labels requests_total has
    rows = ["| name | type | labels | meaning |", "|---|---|---|---|"]
    rows += sorted(_row(family) for family in metrics.registry.collect() if _is_ours(family))
    return "\n".join(rows) + "\n"


def _is_ours(family: Metric) -> bool:
    return family.name.startswith(PREFIX)


def _row(family: Metric) -> str:
    name = family.name + _SUFFIX.get(family.type, "")
    return f"| `{name}` | {family.type} | {_labels(family)} | {family.documentation} |"


def _labels(family: Metric) -> str:
    values: dict[str, list[str]] = {}
    for sample in family.samples:
        for label, value in sample.labels.items():
            if label != "le" and value not in values.setdefault(label, []):
                values[label].append(value)
    return "; ".join(_label(name, found) for name, found in values.items()) or "-"


def _label(name: str, values: list[str]) -> str:
    if name in _OPEN_LABELS:
        return f"`{name}`"
    if len(values) > _LISTED_VALUES:
        return f"`{name}` ({len(values)} values of the error table)"
    return f"`{name}` ({', '.join(values)})"
