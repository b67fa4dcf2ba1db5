"""What of a pod is the sidecar, to be compared whoever has put it there."""

from __future__ import annotations

from typing import Any

from proxy.tools.deploy.workload import headlamp_container
from tests.deploy.helm import Object, of_kind


def pod(documents: list[Object]) -> Object:
    spec: Object = of_kind(documents, "Deployment")["spec"]["template"]["spec"]
    return spec


def parts(spec: Object) -> dict[str, Any]:
    """What of a pod is the sidecar, in an order that does not depend on who wrote it."""
    headlamp = headlamp_container(spec)
    assert headlamp is not None
    ours = [c for c in [*spec["initContainers"], *spec["containers"]] if "auth-proxy" in c["name"]]
    mounts = {m["mountPath"]: m for m in headlamp["volumeMounts"]}
    return {
        "containers": ours,
        "first": spec["initContainers"][0]["name"],
        "env": {e["name"]: e["value"] for e in headlamp["env"]},
        "mount": mounts["/var/run/secrets/kubernetes.io/serviceaccount"],
        "volumes": {v["name"]: v for v in spec["volumes"] if "auth-proxy" in v["name"]},
        "automount": spec["automountServiceAccountToken"],
    }
