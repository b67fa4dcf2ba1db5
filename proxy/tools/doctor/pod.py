"""How Headlamp's pod is put together, as far as it decides with whom Headlamp speaks. Pure.

Headlamp looks for the API server where its own environment says, and trusts what lies in its
service-account directory: the one must lead to the proxy, the other must be what the proxy wrote.
The kubelet sets neither for one container alone, so what is missing here is what is missing there.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from proxy.tools.deploy.findings import obstacles
from proxy.tools.deploy.sidecar import IMAGE, NAME, SERVICE_ACCOUNT, SERVING_PORT
from proxy.tools.deploy.workload import Mapping, UnfitError, headlamp_container, items, value
from proxy.tools.doctor import causes
from proxy.tools.doctor.verdict import Verdict, failed

_HOST, _PORT = "KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT"
_LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "::1"})
_REPOSITORY: Final = IMAGE.rpartition("/")[2]


@dataclass(frozen=True, slots=True)
class Workload:
    """Something that makes pods, the spec of these, and the labels by which it knows them."""

    kind: str
    name: str
    namespace: str
    spec: Mapping
    labels: Mapping = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}"

    @property
    def account(self) -> str:
        return str(value(self.spec, "serviceAccountName") or "default")

    @property
    def headlamp(self) -> Mapping | None:
        try:
            return headlamp_container(self.spec)
        except UnfitError:
            return None

    @property
    def proxy(self) -> Mapping | None:
        """Return the container that is this proxy: by its name, its image or its arguments."""
        every = [*items(self.spec, "initContainers"), *items(self.spec, "containers")]
        for container in every:
            if _is_proxy(container):
                found: Mapping = container
                return found
        return None

    @property
    def elsewhere(self) -> str:
        """Return the host at which Headlamp looks for the API server, if it is told of another.

        Empty if that is its own pod, or the API server under the name that it has in every cluster.
        """
        for entry in items(self.headlamp, "env"):
            if value(entry, "name") != _HOST:
                continue
            host = str(value(entry, "value") or value(entry, "valueFrom") or "")
            own = host in _LOOPBACK or host.partition(".")[0] == "kubernetes"
            return "" if own else host
        return ""


def _is_proxy(container: Any) -> bool:
    image = str(value(container, "image") or "")
    arguments = [str(a) for key in ("command", "args") for a in items(container, key)]
    return (
        value(container, "name") == NAME
        or _REPOSITORY in image
        or any(a.endswith(_REPOSITORY) for a in arguments)
    ) and "prepare" not in arguments


def judged_workload(workload: Workload, account: str) -> Iterator[Verdict]:
    """Yield what is wrong with a pod that has Headlamp in it.

    ``account`` is the name of the proxy's, empty if it is not known.
    """
    headlamp, proxy = workload.headlamp, workload.proxy
    if headlamp is None:
        return
    if proxy is None and workload.elsewhere:
        return  # a proxy with a Service of its own; who answers there is told through Headlamp
    if proxy is None:
        yield failed(
            causes.POD_WITHOUT_PROXY,
            f"{workload} has Headlamp, and no proxy beside it",
            f"kubectl -n {workload.namespace} get {_target(workload)} -o yaml | "
            "headlamp-auth-proxy inject - | kubectl apply -f -",
        )
        return
    if account and workload.account != account:
        yield failed(
            causes.POD_OTHER_ACCOUNT,
            f"{workload} runs as service account {workload.account}, not as {account}",
            f"kubectl -n {workload.namespace} set serviceaccount {_target(workload)} {account}",
        )
    yield from _environment(workload, headlamp, _port_of(proxy))
    yield from _mount(workload, headlamp, proxy)
    for sentence in obstacles(workload.spec, headlamp):
        yield failed(causes.TOKEN_SHARED, f"{workload}: {sentence}", f"edit {workload}: {sentence}")


def _environment(workload: Workload, headlamp: Mapping, port: int) -> Iterator[Verdict]:
    given = {value(e, "name"): value(e, "value") for e in items(headlamp, "env")}
    wrong = [
        f"{name} {given.get(name)!a}" if given.get(name) else f"no {name}"
        for name, good in ((_HOST, _LOOPBACK), (_PORT, {str(port)}))
        if given.get(name) not in good
    ]
    if wrong:
        yield failed(
            causes.HEADLAMP_BYPASSES_PROXY,
            f"{workload}: Headlamp's container has {' and '.join(wrong)}; the proxy listens at "
            f"127.0.0.1:{port}",
            f"kubectl -n {workload.namespace} set env {_target(workload)} "
            f"-c {headlamp.get('name')} {_HOST}=127.0.0.1 {_PORT}={port}",
        )


def _mount(workload: Workload, headlamp: Mapping, proxy: Mapping) -> Iterator[Verdict]:
    trust = _flag(proxy, "--trust-dir")
    written = _volume_at(proxy, trust) if trust else None
    mounted = _volume_at(headlamp, SERVICE_ACCOUNT)
    if not trust or written is None or mounted == written:
        return
    if mounted is None:
        yield failed(
            causes.HEADLAMP_OWN_ACCOUNT,
            f"{workload}: Headlamp mounts nothing at {SERVICE_ACCOUNT}, so it has its own account "
            f"there, or nothing; the proxy's CA is in the volume {written}",
            _remount(workload, headlamp, written),
        )
        return
    yield failed(
        causes.HEADLAMP_TRUST_MOUNT,
        f"{workload}: Headlamp mounts the volume {mounted} at {SERVICE_ACCOUNT}; the proxy writes "
        f"its CA to {written}",
        _remount(workload, headlamp, written),
    )


def _remount(workload: Workload, headlamp: Mapping, volume: str) -> str:
    """Return the command that mounts ``volume``; a mount is merged by where it is mounted."""
    mount = {"mountPath": SERVICE_ACCOUNT, "name": volume, "readOnly": True}
    containers = [{"name": headlamp.get("name"), "volumeMounts": [mount]}]
    patch = {"spec": {"template": {"spec": {"containers": containers}}}}
    return (
        f"kubectl -n {workload.namespace} patch {_target(workload)} -p "
        f"{shlex.quote(json.dumps(patch, separators=(',', ':')))}"
    )


def _target(workload: Workload) -> str:
    return f"{workload.kind.lower()}/{workload.name}"


def _port_of(proxy: Mapping) -> int:
    _, _, port = (_flag(proxy, "--listen") or "").rpartition(":")
    return int(port) if port.isdecimal() else SERVING_PORT


def _flag(container: Mapping, flag: str) -> str | None:
    """Return the value of a flag in a container's arguments, or in its environment."""
    arguments = [str(a) for a in items(container, "args")]
    for position, argument in enumerate(arguments):
        name, equals, given = argument.partition("=")
        if name == flag:
            return given if equals else next(iter(arguments[position + 1 :]), None)
    variable = f"HEADLAMP_AUTH_PROXY_{flag.removeprefix('--').replace('-', '_').upper()}"
    for entry in items(container, "env"):
        if value(entry, "name") == variable:
            return str(value(entry, "value") or "") or None
    return None


def _volume_at(container: Mapping, path: str) -> str | None:
    """Return the name of the volume that is mounted at a path."""
    for mount in items(container, "volumeMounts"):
        if str(value(mount, "mountPath")).rstrip("/") == path.rstrip("/"):
            return str(value(mount, "name"))
    return None
