"""Lists as the tables that kubectl prints, with kube-apiserver's columns.

Source: k8s.io/kubernetes/pkg/printers/internalversion/printers.go and
k8s.io/apimachinery/pkg/util/duration.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any, Final

Item = Mapping[str, Any]
Cell = str | int
_Columns = tuple[tuple[str, str, int], ...]  # name, type, priority (above 0: only with -o wide)

_ANY_COLUMNS: Final[_Columns] = (("Name", "string", 0), ("Age", "string", 0))
_COLUMNS: Final[Mapping[str, _Columns]] = {
    "configmaps": (("Name", "string", 0), ("Data", "integer", 0), ("Age", "string", 0)),
    "namespaces": (("Name", "string", 0), ("Status", "string", 0), ("Age", "string", 0)),
    "pods": (
        ("Name", "string", 0),
        ("Ready", "string", 0),
        ("Status", "string", 0),
        ("Restarts", "string", 0),
        ("Age", "string", 0),
        ("IP", "string", 1),
        ("Node", "string", 1),
    ),
}


def wanted(accept: str) -> bool:
    """Whether a client likes a table best."""
    return "as=table" in accept.partition(",")[0].lower().replace(" ", "")


def table(
    resource: str, items: Iterable[Item], version: str, now: float, *, columns: bool = True
) -> dict[str, Any]:
    """Return the table of ``items``; of a watch only the first has ``columns``."""
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": {"resourceVersion": version},
        "columnDefinitions": _definitions(resource) if columns else None,
        "rows": [
            {"cells": _CELLS.get(resource, _any)(item, now), "object": _partial(item)}
            for item in items
        ],
    }


def age(created: str, now: float) -> str:
    """Return how long ago, as duration.HumanDuration rounds it."""
    seconds = max(0, int(now - datetime.fromisoformat(created).timestamp()))
    minutes, hours = seconds // 60, seconds // 3600
    if seconds < 120:
        return f"{seconds}s"
    if minutes < 10:
        return f"{minutes}m{seconds % 60}s" if seconds % 60 else f"{minutes}m"
    if minutes < 180:
        return f"{minutes}m"
    if hours < 8:
        return f"{hours}h{minutes % 60}m" if minutes % 60 else f"{hours}h"
    return f"{hours}h" if hours < 48 else f"{hours // 24}d"


def _definitions(resource: str) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "type": kind,
            "format": "name" if name == "Name" else "",
            "description": "",
            "priority": priority,
        }
        for name, kind, priority in _COLUMNS.get(resource, _ANY_COLUMNS)
    ]


def _any(item: Item, now: float) -> list[Cell]:
    return [_name(item), _age(item, now)]


def _configmap(item: Item, now: float) -> list[Cell]:
    return [
        _name(item),
        len(item.get("data", {})) + len(item.get("binaryData", {})),
        _age(item, now),
    ]


def _namespace(item: Item, now: float) -> list[Cell]:
    return [_name(item), item["status"]["phase"], _age(item, now)]


def _pod(item: Item, now: float) -> list[Cell]:
    states = item["status"]["containerStatuses"]
    ready = f"{sum(state['ready'] for state in states)}/{len(states)}"
    restarts = str(sum(state["restartCount"] for state in states))
    phase, address = item["status"]["phase"], item["status"]["podIP"]
    return [_name(item), ready, phase, restarts, _age(item, now), address, item["spec"]["nodeName"]]


_CELLS: Final[Mapping[str, Callable[[Item, float], list[Cell]]]] = {
    "configmaps": _configmap,
    "namespaces": _namespace,
    "pods": _pod,
}


def _name(item: Item) -> str:
    return str(item["metadata"]["name"])


def _age(item: Item, now: float) -> str:
    return age(item["metadata"]["creationTimestamp"], now)


def _partial(item: Item) -> dict[str, Any]:
    return {
        "kind": "PartialObjectMetadata",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": item["metadata"],
    }
