"""Changes that mend, as text to paste into a shell; each was tried on a real cluster.

Whatever grants is given to ``kubectl auth reconcile``: it adds to a role and to a binding what is
not there yet, takes nothing away from anybody, and makes a binding anew that has the wrong role.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Sequence
from typing import Any, Final

import yaml

from proxy.tools.deploy.rbac import RBAC, Object
from proxy.tools.doctor.bindings import Binding, Bound, Subject

_ACCOUNT: Final = "headlamp/headlamp"  # where nothing says which account it is


def reconciled(objects: Sequence[Object], *remarks: str) -> str:
    """Return the command that makes these roles and bindings so."""
    said = "".join(f"# {line}\n" for line in remarks)
    text = yaml.safe_dump_all(objects, sort_keys=False, width=1000, explicit_start=True)
    return f"{said}kubectl auth reconcile -f - <<'EOF'\n{text}EOF"


def renewed_token(origin: str, account: tuple[str, str] | None) -> str:
    """Return how a token in a file is had anew; ``origin`` is the file with its setting."""
    namespace, name = account or ("NAMESPACE", "ACCOUNT")
    path, _, setting = origin.rpartition(" (")
    if path.startswith("/var/run/secrets/"):
        return (
            "restart the pod, which gets a new token then: "
            f"kubectl -n {namespace} rollout restart deployment/headlamp"
        )
    target = shlex.quote(path) if path and "upstream-token-file" in setting else "TOKEN_FILE"
    return f"kubectl -n {namespace} create token {name} > {target}"


def resubjected(bound: Bound, subject: Subject) -> str:
    """Return the command that puts ``subject`` in place of the one that a binding names."""
    change = {
        "op": "replace",
        "path": f"/subjects/{bound.position}",
        "value": subject.document(),
    }
    return patched(bound.binding.kind, bound.binding.name, bound.binding.namespace, [change])


def added(binding: Binding, subject: Subject) -> str:
    """Return the command that binds ``subject`` as well."""
    change = {"op": "add", "path": "/subjects/-", "value": subject.document()}
    return patched(binding.kind, binding.name, binding.namespace, [change])


def bound(role: str, subject: Subject) -> str:
    """Return the command that binds a ClusterRole to somebody in the whole cluster."""
    who = (
        f"--serviceaccount={subject.namespace}:{subject.name}"
        if subject.kind == "ServiceAccount"
        else f"--{subject.kind.lower()}={shlex.quote(subject.name)}"
    )
    name = object_name(role, subject.namespace, subject.name)
    return f"kubectl create clusterrolebinding {name} --clusterrole={shlex.quote(role)} {who}"


def object_name(*words: str) -> str:
    """Return a name of an object made of ``words``, which may be anything."""
    text = "-".join(re.sub(r"[^a-z0-9]+", "-", word.lower()).strip("-") for word in words if word)
    return text[:200].strip("-") or "headlamp-auth-proxy"


def unbound(binding: Binding, positions: Sequence[int]) -> str:
    """Return the command that takes these subjects out of a binding, or the binding away."""
    if len(positions) >= len(binding.subjects):
        where = f" -n {binding.namespace}" if binding.namespace else ""
        return f"kubectl delete {binding.kind.lower()} {shlex.quote(binding.name)}{where}"
    changes = [
        {"op": "remove", "path": f"/subjects/{position}"}
        for position in sorted(positions, reverse=True)
    ]
    return patched(binding.kind, binding.name, binding.namespace, changes)


def without_rules(kind: str, name: str, namespace: str, positions: Sequence[int]) -> str:
    """Return the command that takes these rules out of a role."""
    changes = [
        {"op": "remove", "path": f"/rules/{position}"}
        for position in sorted(positions, reverse=True)
    ]
    return patched(kind, name, namespace, changes)


def patched(kind: str, name: str, namespace: str, changes: Sequence[Any]) -> str:
    where = f" -n {namespace}" if namespace else ""
    text = json.dumps(changes, separators=(",", ":"), ensure_ascii=False)
    return (
        f"kubectl patch {kind.lower()} {shlex.quote(name)}{where} --type=json "
        f"-p {shlex.quote(text)}"
    )


def rebound(binding: Binding, role_kind: str, role: str) -> str:
    """Return the command that makes a binding anew with another role: a role is never changed."""
    document: Object = {
        "apiVersion": f"{RBAC}/v1",
        "kind": binding.kind,
        "metadata": {
            "name": binding.name,
            **({"namespace": binding.namespace} if binding.namespace else {}),
        },
        "roleRef": {"apiGroup": RBAC, "kind": role_kind, "name": role},
        "subjects": [subject.document() for subject in binding.subjects],
    }
    return reconciled([document])


def account_or_default(account: tuple[str, str] | None) -> tuple[str, str]:
    if account is not None:
        return account
    namespace, _, name = _ACCOUNT.partition("/")
    return namespace, name
