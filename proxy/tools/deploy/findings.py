"""What in Headlamp's pod, or beside it, would defeat the purpose of putting the proxy there.

From then on the pod's account may impersonate people, so no other container may hold its token:
what would hand it to one is an obstacle, and the pod is refused. The admission policy of the chart
refuses the same (``cel.refusals``). The rest are warnings, because they only weaken or annoy.
"""

from __future__ import annotations

from typing import Any

from proxy.tools.deploy.sidecar import ACCOUNT, KEYS, SERVICE_ACCOUNT
from proxy.tools.deploy.workload import Mapping, items, others, value


def obstacles(spec: Mapping, container: Mapping) -> list[str]:
    """Return what would give another container the account's token, a sentence each."""
    found = [
        f"{key} lets the containers see into each other's processes, the proxy's token and keys "
        "included; remove it"
        for key in ("shareProcessNamespace", "hostPID")
        if spec.get(key)
    ]
    tokens = {ACCOUNT, KEYS} | {
        value(volume, "name") for volume in items(spec, "volumes") if _holds_token(volume)
    }
    for other in [*others(spec, container), container]:
        found += [
            f"the container {other.get('name')} mounts the volume {value(mount, 'name')}, with the "
            "token of the pod's account, which is now the proxy's; take the mount out"
            for mount in items(other, "volumeMounts")
            if value(mount, "name") in tokens and value(mount, "mountPath") != SERVICE_ACCOUNT
        ]
    return found


def _holds_token(volume: Any) -> bool:
    """Return whether a volume has a token that the API server takes: one for no other audience."""
    sources = items(value(volume, "projected"), "sources")
    tokens = [value(source, "serviceAccountToken") for source in sources]
    return any(token is not None and not value(token, "audience") for token in tokens)


def remarks(document_objects: list[Mapping], spec: Mapping, container: Mapping) -> list[str]:
    """Return what in the stream its operator should know of, a sentence each."""
    found = []
    arguments = [str(a) for key in ("command", "args") for a in items(container, key)]
    if any(a.lstrip("-").startswith("unsafe-use-service-account-token") for a in arguments):
        found.append(
            "Headlamp runs with -unsafe-use-service-account-token, so it drops its users' tokens; "
            "remove it"
        )
    if any(a.lstrip("-").startswith("base-url=") and not a.endswith("=") for a in arguments):
        found.append(
            "Headlamp runs with -base-url, under which it never refreshes a token: its users will "
            "have to sign in again every few minutes; serve it at the root of a host name"
        )
    if spec.get("hostNetwork"):
        found.append(
            "the pod uses the node's network, so everything on the node reaches the proxy; "
            "remove hostNetwork"
        )
    account = spec.get("serviceAccountName") or "default"
    for item in document_objects:
        role = value(item.get("roleRef"), "name")
        bound = [s for s in items(item, "subjects") if value(s, "kind") == "ServiceAccount"]
        if role == "cluster-admin" and any(value(s, "name") == account for s in bound):
            name = value(item.get("metadata"), "name")
            found.append(
                f"{item.get('kind')} {name} makes the account of this pod, {account}, "
                "cluster-admin; that account is now the proxy's, so remove the binding "
                "(clusterRoleBinding.create=false in Headlamp's chart)"
            )
    return found
