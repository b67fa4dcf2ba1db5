"""Which requests are audited, and at which stages: kube-apiserver's rules, matched as it does.

The first rule that matches counts; a request that none matches is not audited. Source:
k8s.io/apiserver/pkg/audit/policy/checker.go (Kubernetes 1.36).

Request and response bodies are the API server's business: it has them decoded, and this proxy
passes them on unread. So there is one level here besides ``None``, and it is ``Metadata``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from proxy.requestinfo import RequestInfo

Stage = Literal["RequestReceived", "ResponseStarted", "ResponseComplete", "Panic"]
STAGES: Final[tuple[Stage, ...]] = (
    "RequestReceived",
    "ResponseStarted",
    "ResponseComplete",
    "Panic",
)
LEVELS: Final = ("None", "Metadata", "Request", "RequestResponse")

Stages = frozenset[Stage]
NO_STAGES: Final[Stages] = frozenset()


@dataclass(frozen=True, slots=True)
class GroupResources:
    """Resources of one API group (``""`` is the core group, ``*`` is all); none means all of it."""

    group: str = ""
    resources: tuple[str, ...] = ()
    resource_names: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule; what is empty matches everything.

    ``stages`` are those at which what it matches is audited: none of them for level ``None``.
    """

    stages: Stages
    users: frozenset[str] = frozenset()
    user_groups: frozenset[str] = frozenset()
    verbs: frozenset[str] = frozenset()
    resources: tuple[GroupResources, ...] = ()
    namespaces: frozenset[str] = frozenset()
    non_resource_urls: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Policy:
    """Decides which stages of a request are audited."""

    rules: Sequence[Rule] = field(default_factory=tuple)

    def stages(self, username: str | None, groups: Iterable[str], info: RequestInfo) -> Stages:
        """Return the stages at which the request is audited, empty if it is not.

        ``username`` is None for somebody who could not be authenticated.
        """
        for rule in self.rules:
            if _matches(rule, username, groups, info):
                return rule.stages
        return NO_STAGES


def _matches(rule: Rule, username: str | None, groups: Iterable[str], info: RequestInfo) -> bool:
    if rule.users and username not in rule.users:
        return False
    if rule.user_groups and (username is None or rule.user_groups.isdisjoint(groups)):
        return False
    if rule.verbs and info.verb not in rule.verbs:
        return False
    if rule.namespaces or rule.resources:
        return _matches_resource(rule, info)
    if rule.non_resource_urls:
        return not info.is_resource_request and any(
            _path_matches(info.path, spec) for spec in rule.non_resource_urls
        )
    return True


def _path_matches(path: str, spec: str) -> bool:
    return spec in ("*", path) or (spec.endswith("*") and path.startswith(spec.rstrip("*")))


def _matches_resource(rule: Rule, info: RequestInfo) -> bool:
    if not info.is_resource_request:
        return False
    if rule.namespaces and info.namespace not in rule.namespaces:
        return False  # what has no namespace has the empty one
    return not rule.resources or any(_among(resources, info) for resources in rule.resources)


def _among(wanted: GroupResources, info: RequestInfo) -> bool:
    if wanted.group not in ("*", info.api_group):
        return False
    if not wanted.resources:
        return True
    if wanted.resource_names and info.name not in wanted.resource_names:
        return False
    resource, sub = info.resource, info.subresource
    whole = f"{resource}/{sub}" if sub else resource
    return any(
        name in ("*", whole)
        or (bool(sub) and name == f"*/{sub}")
        or (name.endswith("/*") and name[:-2] == resource)
        for name in wanted.resources
    )
