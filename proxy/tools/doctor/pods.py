"""Trust 4, from an administrator's desk: how Headlamp's pods are put together (``pod``)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any, Final

from proxy.credentials.kubeconfig import KubeconfigError
from proxy.files import SERVICE_ACCOUNT, SourceError
from proxy.reviews.documents import Unknown
from proxy.tools.deploy.workload import pod_spec, value
from proxy.tools.doctor import causes, own_token
from proxy.tools.doctor.admin import administrator
from proxy.tools.doctor.cluster import Cluster, way_of
from proxy.tools.doctor.examination import Examination
from proxy.tools.doctor.pod import Workload, judged_workload
from proxy.tools.doctor.verdict import Verdict, noted, ok

_KINDS: Final = {
    "Deployment": "/apis/apps/v1/namespaces/{}/deployments",
    "StatefulSet": "/apis/apps/v1/namespaces/{}/statefulsets",
    "DaemonSet": "/apis/apps/v1/namespaces/{}/daemonsets",
    "Pod": "/api/v1/namespaces/{}/pods",
}


async def examine(x: Examination) -> AsyncIterator[Verdict]:
    """Say what is wrong with Headlamp's pods; nothing without an administrator."""
    namespace, account = _account(x)
    if not namespace:
        return
    async with administrator(x) as admin:
        if not isinstance(admin, Cluster):
            return
        x.say(f"how Headlamp's pods are put together in {namespace}")
        workloads = await _workloads(admin, namespace)
    if isinstance(workloads, Unknown):
        yield noted(causes.ADMIN_KUBECONFIG, workloads.why)
        return
    for workload in workloads:
        found = 0
        for verdict in judged_workload(workload, account):
            found += 1
            yield verdict
        if not found and workload.proxy is None:
            yield ok(f"{workload}: Headlamp is sent to a proxy at {workload.elsewhere}")
        elif not found:
            yield ok(f"{workload}: Headlamp is put before the proxy, and trusts it")


def _account(x: Examination) -> tuple[str, str]:
    """Return namespace and name of the proxy's account, as far as they are known."""
    if x.asked.service_account:
        namespace, _, name = x.asked.service_account.partition("/")
        return namespace, name
    try:
        way = way_of(x.config)
        raw = way.token.read() if way is not None and way.token is not None else b""
    except (KubeconfigError, SourceError):
        raw = b""
    if (named := own_token.parsed(raw.strip()).account) is not None:
        return named
    return _own_namespace(), ""


def _own_namespace() -> str:
    try:
        return (SERVICE_ACCOUNT / "namespace").read_text().strip()
    except OSError:
        return ""


async def _workloads(admin: Cluster, namespace: str) -> list[Workload] | Unknown:
    """Return what has Headlamp in it; of a pod that something makes, that is enough."""
    listed: dict[str, list[Any]] = {}
    for kind, path in _KINDS.items():
        items = await admin.items(path.format(namespace))
        if isinstance(items, Unknown):
            return items
        listed[kind] = items
    found = [
        workload
        for kind, items in listed.items()
        for item in items
        if (workload := _workload(kind, namespace, item)) is not None
        and workload.headlamp is not None
    ]
    return [_as_it_runs(workload, listed["Pod"]) for workload in found]


def _as_it_runs(workload: Workload, pods: Sequence[Any]) -> Workload:
    """Return a workload with the spec of its pods, if only these have the proxy (by injection)."""
    if workload.proxy is not None or not workload.labels:
        return workload
    for pod in pods:
        labels = value(value(pod, "metadata"), "labels") or {}
        made = replace(workload, spec=value(pod, "spec") or {})
        if workload.labels.items() <= labels.items() and made.headlamp and made.proxy:
            return made
    return workload


def _workload(kind: str, namespace: str, item: Any) -> Workload | None:
    metadata = value(item, "metadata")
    if value(metadata, "ownerReferences"):
        return None
    spec = pod_spec({**item, "kind": kind})
    if spec is None:
        return None
    labels = value(value(value(item, "spec"), "selector"), "matchLabels") or {}
    return Workload(kind, str(value(metadata, "name")), namespace, spec, labels)
