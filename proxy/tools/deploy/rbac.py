"""What the proxy's account must be allowed, in three modes, and the bindings for the people.

RBAC matches whole names or everything, never a prefix, and whoever may impersonate any user may
become ``system:kube-controller-manager``, in every mode. So names are listed wherever they can be:

* ``named``: these users and these groups, on every Kubernetes.
* ``constrained``: the same, and the API server itself caps what may be done under any identity
  (KEP-5284, on by default from Kubernetes 1.36). There it also refuses service accounts, nodes and
  ``system:masters`` (k8s.io/apiserver, endpoints/filters/impersonation/mode.go).
* ``wide``: any user and any group; the guard in the proxy is then all that there is.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from proxy.reviews.privileges import CANARY
from proxy.rights import Rule

Object = dict[str, Any]

RBAC: Final = "rbac.authorization.k8s.io"
NAME: Final = "headlamp-auth-proxy-impersonator"
PEOPLE: Final = "headlamp-auth-proxy-people"
_BECOME: Final = "impersonate:user-info"
READ: Final = ("get", "list", "watch")
WRITE: Final = ("create", "update", "patch", "delete", "deletecollection")
DISCOVERY: Final = (
    "/version",
    "/healthz",
    "/livez",
    "/readyz",
    "/api",
    "/api/*",
    "/apis",
    "/apis/*",
    "/openapi",
    "/openapi/*",
)
# What Headlamp asks for on every page: whether its user may do this or that.
REVIEWS: Final = {
    "authentication.k8s.io": ("selfsubjectreviews",),
    "authorization.k8s.io": ("selfsubjectaccessreviews", "selfsubjectrulesreviews"),
}
# Every readable resource by name, for "*" would take in pods/exec, which a WebSocket opens by GET.
# Secrets are left out, as in the ClusterRole "view".
READABLE: Final = {
    "": (
        "bindings",
        "componentstatuses",
        "configmaps",
        "endpoints",
        "events",
        "limitranges",
        "namespaces",
        "namespaces/status",
        "nodes",
        "persistentvolumeclaims",
        "persistentvolumes",
        "pods",
        "pods/log",
        "pods/status",
        "podtemplates",
        "replicationcontrollers",
        "replicationcontrollers/scale",
        "resourcequotas",
        "serviceaccounts",
        "services",
    ),
    "admissionregistration.k8s.io": ("*",),
    "apiextensions.k8s.io": ("*",),
    "apiregistration.k8s.io": ("*",),
    "apps": ("*",),
    "autoscaling": ("*",),
    "batch": ("*",),
    "certificates.k8s.io": ("certificatesigningrequests",),
    "coordination.k8s.io": ("*",),
    "discovery.k8s.io": ("*",),
    "events.k8s.io": ("*",),
    "flowcontrol.apiserver.k8s.io": ("*",),
    "gateway.networking.k8s.io": ("*",),
    "metrics.k8s.io": ("*",),
    "networking.k8s.io": ("*",),
    "node.k8s.io": ("*",),
    "policy": ("*",),
    RBAC: ("*",),
    "resource.k8s.io": ("*",),
    "scheduling.k8s.io": ("*",),
    "storage.k8s.io": ("*",),
}


# Of Kubernetes' own roles, those with pods/exec and no rights over RBAC itself.
_MAKES_PODS: Final = frozenset({"edit", "admin"})


class Mode(StrEnum):
    """How far the account may impersonate."""

    CONSTRAINED = "constrained"
    NAMED = "named"
    WIDE = "wide"


@dataclass(frozen=True, slots=True)
class Rights:
    """Whom the account of the proxy may become, and who that account is.

    ``users`` and ``groups`` are names as the API server sees them, prefixes included; where users
    are named, the canary may be impersonated too.
    ``read_only`` caps the constrained mode. ``role`` is the ClusterRole that the people get; empty
    for none.
    """

    mode: Mode
    users: tuple[str, ...]
    groups: tuple[str, ...]
    own_group: str
    namespace: str
    account: str
    role: str = "view"
    read_only: bool = False
    settings: tuple[Rule, ...] = ()  # what the settings of ``serve`` need besides


def rules(rights: Rights) -> list[Object]:
    """Return the rules of the account's ClusterRole."""
    constrained = rights.mode is Mode.CONSTRAINED
    besides = [_of_setting(rule, constrained=constrained) for rule in rights.settings]
    return [*_impersonation(rights), *besides]


def _of_setting(rule: Rule, *, constrained: bool) -> Object:
    """Return a rule as an object; in the constrained mode, impersonation has another verb."""
    verbs = [_BECOME if constrained and verb == "impersonate" else verb for verb in rule.verbs]
    return {"apiGroups": list(rule.groups), "resources": list(rule.resources), "verbs": verbs}


def _impersonation(rights: Rights) -> list[Object]:
    groups = tuple(dict.fromkeys((rights.own_group, *rights.groups)))
    # Or the proxy's question about itself would be put in the first person's name.
    users = tuple(dict.fromkeys((CANARY, *rights.users))) if rights.users else ()
    match rights.mode:
        case Mode.NAMED:
            return [
                _rule("", ["users"], ["impersonate"], users),
                _rule("", ["groups"], ["impersonate"], groups),
            ]
        case Mode.WIDE:
            return [_rule("", ["users", "groups"], ["impersonate"])]
        case Mode.CONSTRAINED:
            become = [_BECOME]
            return [
                _rule("authentication.k8s.io", ["users"], become, users),
                _rule("authentication.k8s.io", ["groups"], become, groups),
                *cap(read_only=rights.read_only),
            ]


def cap(*, read_only: bool) -> list[Object]:
    """Return what may be done under any identity (the second half of a constrained grant)."""
    discovery = {"nonResourceURLs": list(DISCOVERY), "verbs": _on(("get",))}
    if not read_only:
        return [{**_rule("*", ["*"], _on((*READ, *WRITE)))}, discovery]
    reviews = [_rule(group, list(names), _on(("create",))) for group, names in REVIEWS.items()]
    readable = [_rule(group, list(names), _on(READ)) for group, names in READABLE.items()]
    return [*readable, *reviews, discovery]


def account_manifests(rights: Rights) -> list[Object]:
    """Return the ClusterRole of the proxy's account and its binding."""
    subject = {"kind": "ServiceAccount", "name": rights.account, "namespace": rights.namespace}
    role = {**_object("ClusterRole", NAME), "rules": rules(rights)}
    return [role, _binding(NAME, NAME, [subject])]


def people_manifests(rights: Rights) -> list[Object]:
    """Return the binding that lets the people do something; none without people or a role."""
    subjects = [_subject("User", name) for name in rights.users]
    subjects += [_subject("Group", name) for name in rights.groups]
    return [_binding(PEOPLE, rights.role, subjects)] if subjects and rights.role else []


def warnings(rights: Rights) -> list[str]:
    """Return what whoever applies this should know, a sentence each."""
    found = []
    if rights.mode is Mode.WIDE:
        found.append(
            "wide: whoever holds this account's token can become anybody, "
            "system:kube-controller-manager included; use named or constrained where you can"
        )
    if rights.mode is Mode.CONSTRAINED and not rights.users:
        found.append(
            "no --user: any user may be impersonated within the cap, "
            "system:kube-controller-manager included; name them where you can"
        )
    if rights.role in _MAKES_PODS and not rights.read_only:
        found.append(
            f"{rights.role} is bound in every namespace, {rights.namespace} included, where it "
            "lets its people exec into the proxy's pod and so become everybody who is named here; "
            "bind it by RoleBindings in other namespaces (--role= leaves the binding out)"
        )
    bare = [name for name in rights.users if "@" in name and ":" not in name.partition("@")[0]]
    if bare:
        found.append(
            f"{', '.join(bare)}: on GKE, a binding that is meant for a Google account of that name "
            "matches as well; set --oidc-username-prefix (for example tsidp:) and name the users "
            "with it"
        )
    return found


def _on(verbs: tuple[str, ...]) -> list[str]:
    return [f"impersonate-on:user-info:{verb}" for verb in verbs]


def _rule(
    group: str, resources: list[str], verbs: list[str], names: tuple[str, ...] = ()
) -> Object:
    rule: Object = {"apiGroups": [group], "resources": resources, "verbs": verbs}
    return rule | {"resourceNames": list(names)} if names else rule


def _object(kind: str, name: str) -> Object:
    return {"apiVersion": f"{RBAC}/v1", "kind": kind, "metadata": {"name": name}}


def _subject(kind: str, name: str) -> Object:
    return {"apiGroup": RBAC, "kind": kind, "name": name}


def _binding(name: str, role: str, subjects: list[Object]) -> Object:
    reference = {"apiGroup": RBAC, "kind": "ClusterRole", "name": role}
    return {**_object("ClusterRoleBinding", name), "roleRef": reference, "subjects": subjects}
