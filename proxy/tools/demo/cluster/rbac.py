"""What RBAC says of a request: the roles and bindings that there are, and the one that allows it.

The objects are those of rbac.authorization.k8s.io as kubectl would apply them; beside them stand
the few default roles without which no client finds its way. RBAC only ever allows, so there is no
order among them. Source: k8s.io/kubernetes/plugin/pkg/auth/authorizer/rbac and
pkg/registry/rbac/validation.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from proxy.requestinfo import RequestInfo
from proxy.tools.demo.cluster.statuses import ApiError, forbidden, quoted
from proxy.userinfo import UserInfo

AUTHENTICATED: Final = "system:authenticated"
_RULES_OF_DEFAULT_ROLES: Final[Mapping[str, list[dict[str, Any]]]] = {
    "cluster-admin": [
        {"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]},
        {"nonResourceURLs": ["*"], "verbs": ["*"]},
    ],
    "system:basic-user": [
        {
            "apiGroups": ["authentication.k8s.io"],
            "resources": ["selfsubjectreviews"],
            "verbs": ["create"],
        },
        {
            "apiGroups": ["authorization.k8s.io"],
            "resources": ["selfsubjectaccessreviews", "selfsubjectrulesreviews"],
            "verbs": ["create"],
        },
    ],
    "system:discovery": [
        {
            "nonResourceURLs": [
                *["/api", "/api/*", "/apis", "/apis/*", "/openapi", "/openapi/*"],
                *["/healthz", "/livez", "/readyz", "/version", "/version/"],
            ],
            "verbs": ["get"],
        }
    ],
}
_DEFAULT_BINDINGS: Final = ("system:basic-user", "system:discovery")


@dataclass(frozen=True, slots=True)
class Question:
    """May this be done? Empty is what does not apply; with ``path`` no resource is meant."""

    verb: str
    group: str = ""
    resource: str = ""
    subresource: str = ""
    name: str = ""
    namespace: str = ""
    path: str = ""

    @classmethod
    def of(cls, info: RequestInfo) -> Question:
        """Return the question that a request puts."""
        if not info.is_resource_request:
            return cls(info.verb, path=info.path)
        return cls(
            info.verb,
            info.api_group,
            info.resource,
            info.subresource,
            info.name,
            info.namespace,
        )

    @property
    def full_resource(self) -> str:
        return f"{self.resource}/{self.subresource}" if self.subresource else self.resource


@dataclass(frozen=True, slots=True)
class _Binding:
    described: str
    namespace: str  # empty: the whole cluster
    users: frozenset[str]
    groups: frozenset[str]
    rules: Sequence[Mapping[str, Any]]

    def holds_for(self, user: UserInfo, namespace: str) -> bool:
        if self.namespace and self.namespace != namespace:
            return False
        return user.username in self.users or not self.groups.isdisjoint(user.groups)

    def allows(self, user: UserInfo, question: Question) -> bool:
        return self.holds_for(user, question.namespace) and any(
            _covers(rule, question) for rule in self.rules
        )


class Authorizer:
    """The roles and bindings among ``objects``, and those that always are."""

    def __init__(self, objects: Iterable[Mapping[str, Any]]) -> None:
        known = list(objects)
        roles = dict(_RULES_OF_DEFAULT_ROLES) | {
            item["metadata"]["name"]: item["rules"]
            for item in known
            if item["kind"] == "ClusterRole"
        }
        self._bindings = [
            _Binding(f"ClusterRoleBinding {quoted(name)}", "", frozenset(), _ALL, roles[name])
            for name in _DEFAULT_BINDINGS
        ] + [_binding(item, roles) for item in known if item["kind"].endswith("RoleBinding")]

    def allowed_by(self, user: UserInfo, question: Question) -> str | None:
        """Return what allows it, in words, or None where nothing does."""
        for binding in self._bindings:
            if binding.allows(user, question):
                return f"RBAC: allowed by {binding.described}"
        return None

    def check(self, user: UserInfo, question: Question) -> None:
        """Raises ApiError: 403 where nothing allows it."""
        if self.allowed_by(user, question) is None:
            raise refusal(user, question)

    def rules_for(self, user: UserInfo, namespace: str) -> Iterator[Mapping[str, Any]]:
        for binding in self._bindings:
            if binding.holds_for(user, namespace):
                yield from binding.rules


def refusal(user: UserInfo, question: Question) -> ApiError:
    """Return the 403 to a question, as forbiddenMessage words it."""
    who = f"User {quoted(user.username)} cannot {question.verb}"
    if question.path:
        return forbidden(f"{who} path {quoted(question.path)}")
    what = f"resource {quoted(question.full_resource)} in API group {quoted(question.group)}"
    where = f"in the namespace {quoted(question.namespace)}"
    if not question.namespace:
        where = "at the cluster scope"
    return forbidden(f"{who} {what} {where}", question.resource, question.group, question.name)


_ALL: Final = frozenset({AUTHENTICATED})


def _binding(item: Mapping[str, Any], roles: Mapping[str, Sequence[Mapping[str, Any]]]) -> _Binding:
    role, metadata = item["roleRef"]["name"], item["metadata"]
    subjects = [_subject(subject) for subject in item["subjects"]]
    users = frozenset(name for kind, name in subjects if kind == "User")
    groups = frozenset(name for kind, name in subjects if kind == "Group")
    described = f"{item['kind']} {quoted(metadata['name'])} of ClusterRole {quoted(role)}"
    return _Binding(described, metadata.get("namespace", ""), users, groups, roles[role])


def _subject(subject: Mapping[str, str]) -> tuple[str, str]:
    if subject["kind"] == "ServiceAccount":
        return "User", f"system:serviceaccount:{subject['namespace']}:{subject['name']}"
    return subject["kind"], subject["name"]


def _covers(rule: Mapping[str, Any], question: Question) -> bool:
    if not _names(rule["verbs"], question.verb):
        return False
    if question.path:
        return any(_path_matches(url, question.path) for url in rule.get("nonResourceURLs", ()))
    names = rule.get("resourceNames", ())
    return (
        _names(rule.get("apiGroups", ()), question.group)
        and _resource_matches(rule.get("resources", ()), question)
        and (not names or question.name in names)
    )


def _names(values: Sequence[str], value: str) -> bool:
    return "*" in values or value in values


def _resource_matches(resources: Sequence[str], question: Question) -> bool:
    return _names(resources, question.full_resource) or (
        bool(question.subresource) and f"*/{question.subresource}" in resources
    )


def _path_matches(url: str, path: str) -> bool:
    return url == path or (url.endswith("*") and path.startswith(url[:-1]))
