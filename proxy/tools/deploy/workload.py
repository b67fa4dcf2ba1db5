"""Finds Headlamp in an object and puts the proxy beside it; a second time changes nothing.

Works on mappings as they were read, whatever class they are of, so that a caller can keep their
comments and their order. Only what the sidecar is made of is added or replaced, by name; all else
in the object stays as it was.
"""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping, MutableSequence
from typing import Any, Final

from proxy.tools.deploy.sidecar import (
    GRACE_SECONDS,
    NAME,
    PREPARE,
    Sidecar,
    headlamp_environment,
    headlamp_mounts,
    pod_settings,
    volumes,
)

Mapping = MutableMapping[str, Any]
Sequence = MutableSequence[Any]

_TEMPLATED: Final = frozenset({"Deployment", "StatefulSet", "DaemonSet", "ReplicaSet"})
_LISTS: Final = frozenset({"List", "DeploymentList", "PodList", "StatefulSetList"})


class NotOneContainerError(Exception):
    """A pod has several containers that could be Headlamp, or none by the name that was given."""


def objects(document: Any) -> Iterator[Mapping]:
    """Yield the Kubernetes objects of one document, those inside of lists as well."""
    if not isinstance(document, MutableMapping):
        return
    if document.get("kind") in _LISTS:
        for item in document.get("items") or ():
            yield from objects(item)
    else:
        yield document


def pod_spec(item: Mapping) -> Mapping | None:
    """Return the spec of the pods that an object makes, or None."""
    spec = item.get("spec")
    if item.get("kind") in _TEMPLATED:
        template = spec.get("template") if isinstance(spec, MutableMapping) else None
        spec = template.get("spec") if isinstance(template, MutableMapping) else None
    elif item.get("kind") != "Pod":
        return None
    return spec if isinstance(spec, MutableMapping) else None


def headlamp_container(spec: Mapping, name: str | None = None) -> Mapping | None:
    """Return the container that is Headlamp, or None; raises ``NotOneContainerError``.

    ``name`` says which; without, it is the one called ``headlamp`` or whose image is.
    """
    containers = [c for c in spec.get("containers") or () if isinstance(c, MutableMapping)]
    if name is not None:
        return next((c for c in containers if c.get("name") == name), None)
    found = [c for c in containers if c.get("name") == "headlamp"] or [
        c for c in containers if _repository(c.get("image")) == "headlamp"
    ]
    if len(found) > 1:
        names = ", ".join(str(c.get("name")) for c in found)
        raise NotOneContainerError(f"the containers {names} could all be Headlamp")
    return found[0] if found else None


def _repository(image: Any) -> str:
    """Return the last part of an image's name, without tag and digest."""
    return str(image or "").partition("@")[0].rpartition("/")[2].partition(":")[0]


def inject(spec: Mapping, container: Mapping, sidecar: Sidecar) -> None:
    """Put ``sidecar`` into the pod of ``spec``, whose ``container`` is Headlamp."""
    grace = spec.get("terminationGracePeriodSeconds")
    settings = pod_settings()
    if isinstance(grace, int):
        settings["terminationGracePeriodSeconds"] = max(grace, GRACE_SECONDS)
    for key, value in settings.items():
        if spec.get(key) != value:
            spec[key] = value
    _put_first(spec, "initContainers", sidecar.init_containers)
    _put_last(spec, "containers", sidecar.containers)
    _put_all(spec, "volumes", volumes(), "name")
    _put_all(container, "env", headlamp_environment(), "name")
    _put_all(container, "volumeMounts", headlamp_mounts(), "mountPath")


def _put_first(spec: Mapping, key: str, ours: list[Any]) -> None:
    """Have ``ours`` at the head of a list, before whatever might need what they make."""
    present = _list(spec, key)
    if list(present[: len(ours)]) == ours and not _others(present[len(ours) :]):
        return
    _remove_ours(present)
    for position, item in enumerate(ours):
        present.insert(position, item)
    if not present:
        del spec[key]


def _put_last(spec: Mapping, key: str, ours: list[Any]) -> None:
    present = _list(spec, key)
    if [c for c in present if _is_ours(c)] == ours:
        return
    _remove_ours(present)
    present.extend(ours)


def _put_all(owner: Mapping, key: str, ours: list[Any], identity: str) -> None:
    """Have each of ``ours`` in a list, in place of the one with the same ``identity``."""
    present = _list(owner, key)
    for item in ours:
        same = [i for i, other in enumerate(present) if _value(other, identity) == item[identity]]
        if not same:
            present.append(item)
        elif present[same[0]] != item:
            present[same[0]] = item
        for extra in reversed(same[1:]):
            del present[extra]


def _list(owner: Mapping, key: str) -> Sequence:
    present = owner.get(key)
    if not isinstance(present, MutableSequence):
        present = owner[key] = []
    return present


def _others(items: Sequence) -> bool:
    return any(_is_ours(item) for item in items)


def _remove_ours(items: Sequence) -> None:
    for index in reversed(range(len(items))):
        if _is_ours(items[index]):
            del items[index]


def _is_ours(container: Any) -> bool:
    return _value(container, "name") in {NAME, PREPARE}


def _value(item: Any, key: str) -> Any:
    return item.get(key) if isinstance(item, MutableMapping) else None


def remarks(document_objects: list[Mapping], spec: Mapping, container: Mapping) -> list[str]:
    """Return what in the stream would defeat the purpose, a sentence each."""
    found = []
    arguments = [
        str(a) for a in [*(container.get("command") or ()), *(container.get("args") or ())]
    ]
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
        role = _value(item.get("roleRef"), "name")
        bound = [s for s in item.get("subjects") or () if _value(s, "kind") == "ServiceAccount"]
        if role == "cluster-admin" and any(_value(s, "name") == account for s in bound):
            name = _value(item.get("metadata"), "name")
            found.append(
                f"{item.get('kind')} {name} makes the account of this pod, {account}, "
                "cluster-admin; that account is now the proxy's, so remove the binding "
                "(clusterRoleBinding.create=false in Headlamp's chart)"
            )
    return found
