"""RBAC's objects as they stand in the cluster: who is bound to what, read from their JSON.

Only what RBAC itself looks at is kept. The API server has validated these objects, so what is of
another shape is left out and nothing is said about it. Source: k8s.io/kubernetes,
pkg/registry/rbac/validation/rule.go (appliesToUser).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from proxy.reviews.requested import service_account
from proxy.rights import Rule
from proxy.userinfo import UserInfo

RBAC: Final = "rbac.authorization.k8s.io"
PATHS: Final = {
    "ClusterRoleBinding": f"/apis/{RBAC}/v1/clusterrolebindings",
    "RoleBinding": f"/apis/{RBAC}/v1/rolebindings",
    "ClusterRole": f"/apis/{RBAC}/v1/clusterroles",
    "Role": f"/apis/{RBAC}/v1/roles",
}
_BOOTSTRAPPING: Final = "kubernetes.io/bootstrapping"

RoleKey = tuple[str, str, str]  # kind, namespace (empty for a ClusterRole), name


@dataclass(frozen=True, slots=True)
class Subject:
    """Who is bound; ``namespace`` is a service account's."""

    kind: str
    name: str
    namespace: str = ""

    def __str__(self) -> str:
        name = f"{self.namespace}/{self.name}" if self.namespace else self.name
        return f"{self.kind} {name!a}"

    def document(self) -> dict[str, str]:
        if self.kind == "ServiceAccount":
            return {"kind": self.kind, "name": self.name, "namespace": self.namespace}
        return {"apiGroup": RBAC, "kind": self.kind, "name": self.name}

    def applies_to(self, user: UserInfo) -> bool:
        match self.kind:
            case "User":
                return self.name == user.username
            case "Group":
                return self.name in user.groups
            case _:
                return service_account(user.username) == (self.namespace, self.name)


@dataclass(frozen=True, slots=True)
class Binding:
    """A ClusterRoleBinding, or a RoleBinding in ``namespace``."""

    name: str
    role: RoleKey
    subjects: tuple[Subject, ...]
    namespace: str = ""
    built_in: bool = False  # Kubernetes makes and mends it itself

    @property
    def kind(self) -> str:
        return "RoleBinding" if self.namespace else "ClusterRoleBinding"

    def __str__(self) -> str:
        return f"{self.kind} {self.name}" + (f" in {self.namespace}" if self.namespace else "")

    @property
    def role_words(self) -> str:
        kind, _, name = self.role
        return f"{kind} {name}"


@dataclass(frozen=True, slots=True)
class Bound:
    """A binding that names somebody, and the position of the subject that does."""

    binding: Binding
    position: int

    @property
    def subject(self) -> Subject:
        return self.binding.subjects[self.position]


@dataclass(frozen=True, slots=True)
class Bindings:
    """All bindings and roles of a cluster."""

    bindings: tuple[Binding, ...]
    roles: Mapping[RoleKey, tuple[Rule, ...]] = field(default_factory=dict)

    def naming(self, user: UserInfo) -> list[Bound]:
        """Return each subject that is ``user``, or a group of theirs."""
        return [bound for bound in self.every() if bound.subject.applies_to(user)]

    def every(self) -> Iterator[Bound]:
        for binding in self.bindings:
            yield from (Bound(binding, n) for n in range(len(binding.subjects)))

    def rules_of(self, binding: Binding) -> tuple[Rule, ...] | None:
        """Return what the binding's role allows; None if there is no such role."""
        return self.roles.get(binding.role)


def read(listed: Mapping[str, Sequence[Any]]) -> Bindings:
    """Return what the items of each kind (those of ``PATHS``) say."""
    bindings = [
        binding
        for kind in ("ClusterRoleBinding", "RoleBinding")
        for item in listed.get(kind, ())
        if (binding := _binding(item)) is not None
    ]
    roles = {
        (kind, _text(_metadata(item), "namespace"), _text(_metadata(item), "name")): tuple(
            rule for value in _items(item, "rules") if (rule := _rule(value)) is not None
        )
        for kind in ("ClusterRole", "Role")
        for item in listed.get(kind, ())
    }
    return Bindings(tuple(bindings), roles)


def _binding(item: Any) -> Binding | None:
    metadata, reference = _metadata(item), _value(item, "roleRef")
    kind = _text(reference, "kind")
    namespace = _text(metadata, "namespace")
    if not kind:
        return None
    return Binding(
        name=_text(metadata, "name"),
        role=(kind, namespace if kind == "Role" else "", _text(reference, "name")),
        subjects=tuple(
            Subject(_text(s, "kind"), _text(s, "name"), _text(s, "namespace"))
            for s in _items(item, "subjects")
        ),
        namespace=namespace,
        built_in=_value(_value(metadata, "labels"), _BOOTSTRAPPING) is not None,
    )


def _rule(item: Any) -> Rule | None:
    if not isinstance(item, Mapping):
        return None
    return Rule(
        verbs=_texts(item, "verbs"),
        groups=_texts(item, "apiGroups"),
        resources=_texts(item, "resources"),
        names=_texts(item, "resourceNames"),
        paths=_texts(item, "nonResourceURLs"),
    )


def _metadata(item: Any) -> Any:
    return _value(item, "metadata")


def _value(item: Any, key: str) -> Any:
    return item.get(key) if isinstance(item, Mapping) else None


def _text(item: Any, key: str) -> str:
    value = _value(item, key)
    return value if isinstance(value, str) else ""


def _items(item: Any, key: str) -> Iterable[Any]:
    value = _value(item, key)
    return value if isinstance(value, list) else ()


def _texts(item: Any, key: str) -> tuple[str, ...]:
    return tuple(value for value in _items(item, key) if isinstance(value, str))
