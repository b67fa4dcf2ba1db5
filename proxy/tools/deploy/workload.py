"""Finds Headlamp in an object and puts the proxy beside it; a second time changes nothing.

Works on mappings as they were read, whatever class they are of, so that a caller can keep their
comments and their order. Only what the sidecar is made of is added or replaced, by name; all else
in the object stays as it was.
"""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping, MutableSequence
from typing import Any, Final

from proxy.tools.deploy.mounts import PREFIX
from proxy.tools.deploy.sidecar import (
    GRACE_SECONDS,
    NAME,
    PREPARE,
    SERVICE_ACCOUNT,
    Sidecar,
    headlamp_environment,
    headlamp_mounts,
    pod_settings,
    writing_group,
)

Mapping = MutableMapping[str, Any]
Sequence = MutableSequence[Any]

_TEMPLATED: Final = frozenset({"Deployment", "StatefulSet", "DaemonSet", "ReplicaSet"})
_LISTS: Final = frozenset({"List", "DeploymentList", "PodList", "StatefulSetList"})


class UnfitError(Exception):
    """A pod into which the proxy cannot be put; the message says why."""


def objects(document: Any) -> Iterator[Mapping]:
    """Yield the Kubernetes objects of one document, those inside of lists as well."""
    if not isinstance(document, MutableMapping):
        return
    if _kind(document) in _LISTS:
        for item in items(document, "items"):
            yield from objects(item)
    else:
        yield document


def items(owner: Any, key: str) -> list[Any]:
    """Return what is in a list of ``owner``; nothing where there is no such list."""
    present = value(owner, key)
    return list(present) if isinstance(present, MutableSequence) else []


def value(item: Any, key: str) -> Any:
    """Return a field of ``item``; None where there is none."""
    return item.get(key) if isinstance(item, MutableMapping) else None


def _kind(item: Mapping) -> str:
    return str(item.get("kind"))


def pod_spec(item: Mapping) -> Mapping | None:
    """Return the spec of the pods that an object makes, or None."""
    spec = item.get("spec")
    if _kind(item) in _TEMPLATED:
        template = spec.get("template") if isinstance(spec, MutableMapping) else None
        spec = template.get("spec") if isinstance(template, MutableMapping) else None
    elif _kind(item) != "Pod":
        return None
    return spec if isinstance(spec, MutableMapping) else None


def headlamp_container(spec: Mapping, name: str | None = None) -> Mapping | None:
    """Return the container that is Headlamp, or None; raises ``UnfitError``.

    ``name`` says which; without, it is the one called ``headlamp`` or whose image is.
    """
    containers = [c for c in items(spec, "containers") if isinstance(c, MutableMapping)]
    if name is not None:
        return next((c for c in containers if c.get("name") == name), None)
    found = [c for c in containers if c.get("name") == "headlamp"] or [
        c for c in containers if _repository(c.get("image")) == "headlamp"
    ]
    if len(found) > 1:
        names = ", ".join(str(c.get("name")) for c in found)
        raise UnfitError(
            f"the containers {names} could all be Headlamp; say which with --container"
        )
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
    _put_all(spec, "volumes", sidecar.volumes, "name")
    _remove_mounted(spec, len(sidecar.mounts))
    if sidecar.writes_to_claim:
        _let_write(spec)
    _put_all(container, "env", headlamp_environment(), "name")
    _put_all(container, "volumeMounts", headlamp_mounts(), "mountPath")
    for other in others(spec, container):
        _take_out(other, "volumeMounts", "mountPath", SERVICE_ACCOUNT)


def _remove_mounted(spec: Mapping, wanted: int) -> None:
    """Take out what an injection before this one has mounted and this one does not."""
    present = _list(spec, "volumes")
    ours = {f"{PREFIX}{number}" for number in range(1, wanted + 1)}
    for index in reversed(range(len(present))):
        name = str(value(present[index], "name"))
        if name.startswith(PREFIX) and name not in ours:
            del present[index]


def _let_write(spec: Mapping) -> None:
    context = spec.get("securityContext")
    if context is None:
        context = spec["securityContext"] = {}
    if not isinstance(context, MutableMapping):
        raise UnfitError("securityContext is not a mapping")
    if context.get("fsGroup") is None:  # whichever it is, the proxy is in it
        context.update(writing_group())


def others(spec: Mapping, container: Mapping) -> list[Mapping]:
    """Return the containers of a pod that are neither Headlamp nor ours."""
    every = [*items(spec, "initContainers"), *items(spec, "containers")]
    every += items(spec, "ephemeralContainers")
    return [
        c for c in every if isinstance(c, MutableMapping) and c is not container and not _is_ours(c)
    ]


def _take_out(owner: Mapping, key: str, field: str, unwanted: str) -> None:
    present = owner.get(key)
    if isinstance(present, MutableSequence):
        for index in reversed(range(len(present))):
            if value(present[index], field) == unwanted:
                del present[index]


def _put_first(spec: Mapping, key: str, ours: list[Any]) -> None:
    """Have ``ours`` at the head of a list, before whatever might need what they make."""
    present = _list(spec, key)
    if list(present[: len(ours)]) == ours and not _any_ours(present[len(ours) :]):
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
        same = [i for i, other in enumerate(present) if value(other, identity) == item[identity]]
        if not same:
            present.append(item)
        elif present[same[0]] != item:
            present[same[0]] = item
        for extra in reversed(same[1:]):
            del present[extra]


def _list(owner: Mapping, key: str) -> Sequence:
    present = owner.get(key)
    if present is None:
        present = owner[key] = []
    if not isinstance(present, MutableSequence):
        raise UnfitError(f"{key} is not a list")
    return present


def _any_ours(present: Sequence) -> bool:
    return any(_is_ours(item) for item in present)


def _remove_ours(present: Sequence) -> None:
    for index in reversed(range(len(present))):
        if _is_ours(present[index]):
            del present[index]


def _is_ours(container: Any) -> bool:
    return value(container, "name") in {NAME, PREPARE}
