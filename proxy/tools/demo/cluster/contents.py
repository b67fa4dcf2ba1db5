"""What is in the sample cluster when it starts: the demo's own objects, as if they were running."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from proxy.tools.demo.cluster.objects import Object, Objects, timestamp

NODE: Final = "sample-node"
LOG: Final = (
    "listening on :8080",
    "GET /prices 200 3ms",
    "GET /prices/apple 200 1ms",
    "GET /prices/quince 404 1ms",
    "POST /orders 201 12ms",
)
_RESOURCES: Final = {"ConfigMap": "configmaps", "Namespace": "namespaces", "Pod": "pods"}


def fill(objects: Objects, manifests: Iterable[Object], now: float) -> None:
    """Put in what the cluster knows among ``manifests``, and what every cluster has."""
    ordinary = [_namespace(name) for name in ("default", "kube-system")]
    for item in (*ordinary, *manifests):
        resource = _RESOURCES.get(item["kind"])
        if resource is not None:
            objects.create(resource, _alive(item, timestamp(now)), now)


def _namespace(name: str) -> Object:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}


def _alive(item: Object, started: str) -> Object:
    """Return an object as the controllers and the kubelet would leave it."""
    match item["kind"]:
        case "Namespace":
            return item | {"status": {"phase": "Active"}}
        case "Pod":
            spec = item["spec"] | {"nodeName": NODE}
            return item | {"spec": spec, "status": _running(item["spec"]["containers"], started)}
        case _:
            return item


def _running(containers: Iterable[dict[str, Any]], started: str) -> dict[str, Any]:
    return {
        "phase": "Running",
        "podIP": "10.0.0.7",
        "containerStatuses": [
            {
                "name": container["name"],
                "image": container["image"],
                "ready": True,
                "restartCount": 0,
                "state": {"running": {"startedAt": started}},
            }
            for container in containers
        ],
    }
