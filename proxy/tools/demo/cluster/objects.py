"""The objects that there are, and everything that happened to them, in order.

Each change has a version of its own, counted through the whole cluster as in etcd, so that a list
and the watch that follows it miss nothing and see nothing twice. The history is never shortened:
a demo does not live that long.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from copy import deepcopy
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from proxy.tools.demo.cluster.statuses import already_exists, not_found

Object = dict[str, Any]
_Key = tuple[str, str, str]  # resource, namespace, name


@dataclass(frozen=True, slots=True)
class Change:
    """What happened: ADDED or DELETED, and the object as it then was."""

    type: str
    resource: str
    object: Object

    @property
    def version(self) -> int:
        return int(self.object["metadata"]["resourceVersion"])


class Objects:
    """Objects by resource (``pods``), namespace (empty where there is none) and name."""

    def __init__(self) -> None:
        self.version = 1
        self.history: list[Change] = []
        self._objects: dict[_Key, Object] = {}

    def list(self, resource: str, namespace: str) -> Iterable[Object]:
        """Return all of a resource, by namespace and name; of every namespace for an empty one."""
        return [
            self._objects[key]
            for key in sorted(self._objects)
            if key[0] == resource and namespace in ("", key[1])
        ]

    def get(self, resource: str, namespace: str, name: str) -> Object:
        """Raises ApiError."""
        try:
            return self._objects[resource, namespace, name]
        except KeyError:
            raise not_found(resource, name) from None

    def create(self, resource: str, given: Object, now: float, *, dry_run: bool = False) -> Object:
        """Return the object as it is kept. Raises ApiError."""
        made = deepcopy(given)
        metadata = made["metadata"]
        key = resource, metadata.get("namespace", ""), metadata["name"]
        if key in self._objects:
            raise already_exists(resource, metadata["name"])
        metadata["uid"] = str(uuid.uuid4())
        metadata["creationTimestamp"] = timestamp(now)
        if not dry_run:
            self._objects[key] = made
            self._remember("ADDED", resource, made)
        return made

    def delete(self, resource: str, namespace: str, name: str) -> Object:
        """Return the object that was. Raises ApiError."""
        gone = deepcopy(self.get(resource, namespace, name))
        del self._objects[resource, namespace, name]
        self._remember("DELETED", resource, gone)
        return gone

    def since(self, version: int) -> Iterable[Change]:
        """Return the changes after ``version``."""
        return [change for change in self.history if change.version > version]

    def _remember(self, what: str, resource: str, item: Object) -> None:
        self.version += 1
        item["metadata"]["resourceVersion"] = str(self.version)
        self.history.append(Change(what, resource, item))


def timestamp(now: float) -> str:
    """Return a moment as Kubernetes writes it."""
    return f"{datetime.fromtimestamp(int(now), UTC):%Y-%m-%dT%H:%M:%SZ}"
