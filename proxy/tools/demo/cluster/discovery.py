"""What the sample cluster serves, and the documents by which clients find out.

The unaggregated form of discovery, which every client still reads.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

AUTHENTICATION: Final = "authentication.k8s.io"
AUTHORIZATION: Final = "authorization.k8s.io"
VERSION: Final = {
    "major": "1",
    "minor": "36",
    "gitVersion": "v1.36.0+sample",
    "gitCommit": "",
    "gitTreeState": "clean",
    "buildDate": "1970-01-01T00:00:00Z",
    "goVersion": "none",
    "compiler": "none",
    "platform": "sample",
}


@dataclass(frozen=True, slots=True)
class Resource:
    """A resource; a subresource's name has a slash in it."""

    name: str
    kind: str
    verbs: tuple[str, ...]
    namespaced: bool = True
    short: str = ""
    group: str = ""

    def described(self) -> dict[str, Any]:
        entry: dict[str, Any] = {
            "name": self.name,
            "singularName": "" if "/" in self.name else self.kind.lower(),
            "namespaced": self.namespaced,
            "kind": self.kind,
            "verbs": self.verbs,
        }
        return entry | {"shortNames": [self.short]} if self.short else entry


_READ: Final = ("get", "list", "watch")
RESOURCES: Final = (
    Resource("configmaps", "ConfigMap", ("create", "delete", *_READ), short="cm"),
    Resource("events", "Event", _READ, short="ev"),  # none ever happen; describe asks for them
    Resource("namespaces", "Namespace", _READ, namespaced=False, short="ns"),
    Resource("pods", "Pod", ("delete", *_READ), short="po"),
    Resource("pods/exec", "PodExecOptions", ("create", "get")),
    Resource("pods/log", "Pod", ("get",)),
    Resource("selfsubjectreviews", "SelfSubjectReview", ("create",), False, "", AUTHENTICATION),
    Resource(
        "selfsubjectaccessreviews", "SelfSubjectAccessReview", ("create",), False, "", AUTHORIZATION
    ),
    Resource(
        "selfsubjectrulesreviews", "SelfSubjectRulesReview", ("create",), False, "", AUTHORIZATION
    ),
)


def find(group: str, name: str) -> Resource | None:
    return next((r for r in RESOURCES if (r.group, r.name) == (group, name)), None)


def document(path: str) -> dict[str, Any] | None:
    """Return the discovery document at ``path``, or None where there is none."""
    match path.strip("/").split("/"):
        case ["api"]:
            return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []}
        case ["api", "v1"]:
            return _resource_list("")
        case ["apis"]:
            groups = [_group(group) for group in (AUTHENTICATION, AUTHORIZATION)]
            return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}
        case ["apis", (group)] if group in (AUTHENTICATION, AUTHORIZATION):
            return {"kind": "APIGroup", "apiVersion": "v1", **_group(group)}
        case ["apis", (group), "v1"] if group in (AUTHENTICATION, AUTHORIZATION):
            return _resource_list(group)
        case ["version"]:
            return dict(VERSION)
        case _:
            return None


def _group(group: str) -> dict[str, Any]:
    version = {"groupVersion": f"{group}/v1", "version": "v1"}
    return {"name": group, "versions": [version], "preferredVersion": version}


def _resource_list(group: str) -> dict[str, Any]:
    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": f"{group}/v1" if group else "v1",
        "resources": [resource.described() for resource in RESOURCES if resource.group == group],
    }
