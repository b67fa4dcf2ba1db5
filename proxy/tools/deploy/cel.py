"""The sidecar as JSON patches in CEL, for a MutatingAdmissionPolicy that needs no webhook.

CEL there is typed by place: an object in a patch is written ``Object.spec.initContainers{...}``,
and maps of free keys as plain literals (KEP-3962). Service account admission has run before the
policy, so the token's mount is there already: in Headlamp's container it is replaced, in every
other one removed. Names between ``@`` stand for what the chart fills in: texts, and lists in CEL.
Whatever else changes pods, and whatever was in this one before, a second policy refuses it unless
the proxy is there and nobody else could get its token (``findings.obstacles``, in CEL).
"""

from __future__ import annotations

import json
from typing import Any, Final

from proxy.tools.deploy.sidecar import (
    ACCOUNT,
    GRACE_SECONDS,
    KEYS,
    NAME,
    SERVICE_ACCOUNT,
    TRUST,
    Sidecar,
    headlamp_environment,
    headlamp_mounts,
    volumes,
    writing_group,
)

IMAGE, ARGUMENTS, ENVIRONMENT = "@IMAGE@", "@ARGUMENTS@", "@ENVIRONMENT@"
MOUNTS, VOLUMES, WRITES_TO_CLAIM = "@MOUNTS@", "@VOLUMES@", "@WRITES_TO_CLAIM@"
CONTAINER: Final = "@CONTAINER@"
_FREE_KEYS: Final = frozenset({"requests", "limits"})


def injection() -> str:
    """Return the expression of the policy's one mutation: a list of patches.

    They apply in order, each to the outcome of those before it, while ``object`` stays the pod as
    it came; so what goes by an index into it comes first.
    """
    return " +\n".join(
        [
            _other_mounts("containers"),
            f"(has(object.spec.initContainers) ? {_other_mounts('initContainers')} : [])",
            _headlamp_mount(),
            _list(_patch("add", "/spec/automountServiceAccountToken", "false")),
            _list(_patch("add", "/spec/enableServiceLinks", "false")),
            _list(_patch("add", "/spec/terminationGracePeriodSeconds", _grace())),
            _made("object.spec", '"/spec', "initContainers"),
            _list(_patch("add", "/spec/initContainers/0", _proxy())),
            _made("object.spec", '"/spec', "volumes"),
            *(_appended('"/spec', ("spec", "volumes"), volume) for volume in volumes()),
            f"{VOLUMES}.map(v, {_patch('add', '/spec/volumes/-', 'v')})",
            _group(),
            _made("variables.headlamp", 'variables.path + "', "env"),
            *(
                _appended('variables.path + "', ("spec", "containers", "env"), variable)
                for variable in headlamp_environment()
            ),
        ]
    )


def _proxy() -> str:
    fields = Sidecar(image=IMAGE).init_containers[0]
    arguments, mounts = fields.pop("args"), fields.pop("volumeMounts")
    place = ("spec", "initContainers")
    written = (
        f"args: {_cel((), arguments)} + {ARGUMENTS}, env: {ENVIRONMENT}, "
        f"volumeMounts: {_cel((*place, 'volumeMounts'), mounts)} + {MOUNTS}, "
    )
    return _cel(place, fields).replace("{", "{" + written, 1)


def _group() -> str:
    """Return the patches that let the proxy write to a claim, where no group of the pod does."""
    context = "object.spec.securityContext"
    fields = writing_group()
    whole = _patch("add", "/spec/securityContext", _cel(("spec", "securityContext"), fields))
    parts = [_patch("add", f"/spec/securityContext/{k}", json.dumps(v)) for k, v in fields.items()]
    return (
        f"(!{WRITES_TO_CLAIM} || has({context}) && has({context}.fsGroup) ? [] :\n"
        f"has({context}) ? [{', '.join(parts)}] : [{whole}])"
    )


def _grace() -> str:
    present = "object.spec.terminationGracePeriodSeconds"
    return f"has({present}) && {present} > {GRACE_SECONDS} ? {present} : {GRACE_SECONDS}"


def _made(owner: str, path: str, name: str) -> str:
    """Return the patch that makes a list, empty, where the pod has none."""
    make = f'JSONPatch{{op: "add", path: {path}/{name}", value: []}}'
    return f"(has({owner}.{name}) ? [] : [{make}])"


def _appended(path: str, place: tuple[str, ...], item: dict[str, Any]) -> str:
    value = _cel(place, item)
    return f'[JSONPatch{{op: "add", path: {path}/{place[-1]}/-", value: {value}}}]'


def _headlamp_mount() -> str:
    mount = _cel(("spec", "containers", "volumeMounts"), headlamp_mounts()[0])
    at = f'variables.mounts.indexOf("{SERVICE_ACCOUNT}")'
    replace = (
        'JSONPatch{op: "replace", path: variables.path + "/volumeMounts/" + string('
        f"{at}), value: {mount}}}"
    )
    append = f'JSONPatch{{op: "add", path: variables.path + "/volumeMounts/-", value: {mount}}}'
    make = f'JSONPatch{{op: "add", path: variables.path + "/volumeMounts", value: [{mount}]}}'
    return (
        f"({at} >= 0 ? [{replace}] :\n"
        f"has(variables.headlamp.volumeMounts) ? [{append}] :\n[{make}])"
    )


def _other_mounts(name: str) -> str:
    """Return the patches that take the account's token from every container but Headlamp's."""
    mounted = f'm.mountPath == "{SERVICE_ACCOUNT}"'
    return (
        f'object.spec.{name}.filter(c, c.name != "{CONTAINER}" && has(c.volumeMounts) &&\n'
        f"  c.volumeMounts.exists(m, {mounted})).map(c,\n"
        f'  JSONPatch{{op: "remove", path: "/spec/{name}/" +\n'
        f"    string(object.spec.{name}.map(o, o.name).indexOf(c.name)) + "
        '"/volumeMounts/" +\n'
        f'    string(c.volumeMounts.map(m, m.mountPath).indexOf("{SERVICE_ACCOUNT}"))}})'
    )


def refusals() -> list[dict[str, str]]:
    """Return the validations of a pod with the label, as it is after all that changes pods.

    The variable ``tokens`` is ``token_volumes()``. The image is not among them, for a cluster may
    have it rewritten to a mirror of its own.
    """
    container, never = (
        f'c.name == "{CONTAINER}"',
        "token of the pod's account, which is the proxy's",
    )
    keys = f'm.name == "{KEYS}"'
    proxy = (
        f'c.name == "{NAME}" && has(c.restartPolicy) && c.restartPolicy == "Always" && '
        f"{_mounts(keys)}"
    )
    own = f'm.name == "{TRUST}" && m.mountPath == "{SERVICE_ACCOUNT}"'
    held = "m.name in variables.tokens"
    target = f'(!has(c.targetContainerName) || c.targetContainerName != "{NAME}")'
    ephemeral = "object.spec.ephemeralContainers"
    initial = "object.spec.initContainers"
    process = ("shareProcessNamespace", "hostPID")
    found = {
        f"has({initial}) && {initial}.exists(c, {proxy}) &&\n"
        f"object.spec.containers.exists(c, {container} && {_mounts(own)})": (
            f"headlamp-auth-proxy was not injected: no container of this pod is called {CONTAINER} "
            f"(set injection.container, or remove the label), or another one is called {NAME}"
        ),
        f"object.spec.containers.all(c, !({_mounts(held)})) &&\n"
        f'{initial}.all(c, c.name == "{NAME}" || !({_mounts(held)}))': (
            f"a container mounts a {never}; take the mount out"
        ),
        f"!has({ephemeral}) || {ephemeral}.all(c, {target} && !({_mounts(held)}))": (
            f"an ephemeral container would get at the {never}; do not target {NAME} or mount that"
        ),
        " && ".join(f"(!has(object.spec.{key}) || !object.spec.{key})" for key in process): (
            f"{' and '.join(process)} let the containers see into the proxy; remove them"
        ),
    }
    return [{"expression": expression, "message": text} for expression, text in found.items()]


def token_volumes() -> str:
    """Return the names of the volumes that only the proxy's container may mount.

    A token for another audience (a cloud's, a mesh's) is none that the API server takes.
    """
    token = "s.serviceAccountToken"  # noqa: S105 - a field
    bare = f'has({token}) && (!has({token}.audience) || {token}.audience == "")'
    held = f"has(v.projected) && has(v.projected.sources) && v.projected.sources.exists(s, {bare})"
    volumes = "object.spec.volumes"
    return (
        f"{json.dumps([ACCOUNT, KEYS])} +\n"
        f"(has({volumes}) ? {volumes}.filter(v, {held}).map(v, v.name) : [])"
    )


def _mounts(which: str) -> str:
    return f"has(c.volumeMounts) && c.volumeMounts.exists(m, {which})"


def _list(patch: str) -> str:
    return f"[{patch}]"


def _patch(op: str, path: str, value: str) -> str:
    return f'JSONPatch{{op: "{op}", path: "{path}", value: {value}}}'


def _cel(place: tuple[str, ...], value: Any) -> str:
    """Write ``value``, which stands at ``place`` in a pod, as a CEL literal."""
    if isinstance(value, dict):
        if place[-1] in _FREE_KEYS:
            return json.dumps(value)
        fields = ", ".join(f"{key}: {_cel((*place, key), item)}" for key, item in value.items())
        return f"Object.{'.'.join(place)}{{{fields}}}"
    if isinstance(value, list):
        return f"[{', '.join(_cel(place, item) for item in value)}]"
    return json.dumps(value)
