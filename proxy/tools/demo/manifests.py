"""The Kubernetes objects of the demo: the proxy's account, who may do what, and something to see.

A real API server is given them by ``kubectl apply``, and the sample cluster starts from the same
ones, so that a tour means the same on both. The proxy's part is that of deploy/rbac.yaml: these
people and these groups may be impersonated, and nobody else.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from proxy.reviews.privileges import CANARY
from proxy.tools.demo.people import ADMINS, USERS, VIEWERS

OWN_GROUP: Final = "headlamp-auth-proxy:authenticated"
ACCOUNT_NAMESPACE: Final = "headlamp"
ACCOUNT_NAME: Final = "headlamp-auth-proxy"
SHOP: Final = "shop"

_RBAC: Final = "rbac.authorization.k8s.io"
Manifest = dict[str, Any]


def manifests() -> list[Manifest]:
    """Return all objects, in an order in which they can be made."""
    return [
        *(_object("v1", "Namespace", name) for name in (ACCOUNT_NAMESPACE, SHOP)),
        *_account(),
        *_people(),
        *_workload(),
    ]


def as_list(objects: Iterable[Manifest]) -> Manifest:
    return {"apiVersion": "v1", "kind": "List", "items": list(objects)}


def _account() -> list[Manifest]:
    name = f"{ACCOUNT_NAME}-impersonator"
    groups = sorted({group for user in USERS for group in user.groups})
    rules = [
        _rule(["users"], ["impersonate"], [CANARY, *(user.email for user in USERS)]),
        _rule(["groups"], ["impersonate"], [OWN_GROUP, *groups]),
    ]
    account = {"kind": "ServiceAccount", "name": ACCOUNT_NAME, "namespace": ACCOUNT_NAMESPACE}
    return [
        _object("v1", "ServiceAccount", ACCOUNT_NAME, ACCOUNT_NAMESPACE)
        | {"automountServiceAccountToken": False},
        _object(f"{_RBAC}/v1", "ClusterRole", name) | {"rules": rules},
        _binding("ClusterRoleBinding", name, name, account),
    ]


def _people() -> list[Manifest]:
    viewer = [
        _rule(["pods"], ["get", "list", "watch"]),
        _rule(["pods/log"], ["get"]),
    ]
    return [
        _binding("ClusterRoleBinding", "admins", "cluster-admin", _group(ADMINS)),
        _object(f"{_RBAC}/v1", "ClusterRole", "pod-viewer") | {"rules": viewer},
        _binding("RoleBinding", "viewers", "pod-viewer", _group(VIEWERS), SHOP),
    ]


def _workload() -> list[Manifest]:
    # The account must be there before a pod: it is a controller that makes it elsewhere.
    account = _object("v1", "ServiceAccount", "default", SHOP)
    prices = _object("v1", "ConfigMap", "prices", SHOP) | {"data": {"apple": "1", "pear": "2"}}
    return [account, prices, _pod("web"), _pod("worker")]


def _pod(name: str) -> Manifest:
    pod = _object("v1", "Pod", name, SHOP)
    pod["metadata"]["labels"] = {"app": name}
    container = {"name": name, "image": f"registry.example.com/shop/{name}:1.4"}
    return pod | {"spec": {"automountServiceAccountToken": False, "containers": [container]}}


def _object(api_version: str, kind: str, name: str, namespace: str = "") -> Manifest:
    metadata = {"name": name, "namespace": namespace} if namespace else {"name": name}
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata}


def _rule(resources: list[str], verbs: list[str], names: list[str] | None = None) -> Manifest:
    rule: Manifest = {"apiGroups": [""], "resources": resources, "verbs": verbs}
    return rule | {"resourceNames": names} if names else rule


def _binding(kind: str, name: str, role: str, subject: Manifest, namespace: str = "") -> Manifest:
    reference = {"apiGroup": _RBAC, "kind": "ClusterRole", "name": role}
    binding = _object(f"{_RBAC}/v1", kind, name, namespace)
    return binding | {"roleRef": reference, "subjects": [subject]}


def _group(name: str) -> Manifest:
    return {"apiGroup": _RBAC, "kind": "Group", "name": name}
