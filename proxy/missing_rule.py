"""Which rule of RBAC a request lacked that the API server has refused, and how to grant it.

Only the API server's own words count as a refusal by RBAC: quotas, admission and services behind
the ``proxy`` subresource answer 403 as well. The words name the verb, because it need not be that
of the request (``exec`` over WebSocket is ``create`` from Kubernetes 1.35 on); the rest is what the
request resolves to.

What is written out is to be pasted by an administrator, and the names in it were chosen by somebody
else: each is quoted so that it stays one text, and what cannot be seen is written as an escape.
Source of the words: k8s.io/apiserver, endpoints/handlers/responsewriters/errors.go.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from typing import Any, Final

from proxy.requestinfo import RequestInfo

LONGEST: Final = 253  # characters of a name in Kubernetes; whatever is longer can be no rule

# In JSON, YAML (which may fold the line) and protobuf.
_REFUSED: Final = re.compile(
    rb'forbidden: User \\?"[^"]{0,512}"\s+cannot\s+([a-z]{1,32})\s+(?:resource|path)\s'
)
_RBAC: Final = "rbac.authorization.k8s.io"
_NAMELESS: Final = frozenset({"create", "list", "watch", "deletecollection"})
_NOT_IN_A_NAME: Final = re.compile(r"[^a-z0-9]+")


@dataclass(frozen=True, slots=True)
class MissingRule:
    """What would have had to be allowed; what does not apply is empty.

    ``path`` is that of a request for no resource. Without ``namespace`` it is about the whole
    cluster.
    """

    verb: str
    group: str = ""
    resource: str = ""
    subresource: str = ""
    name: str = ""
    namespace: str = ""
    path: str = ""

    def as_fields(self) -> dict[str, str]:
        """Return it with RBAC's own names, without what does not apply."""
        if self.path:
            return {"verb": self.verb, "path": self.path}
        fields = {"verb": self.verb, "apiGroup": self.group, "resource": self.resource}
        if self.subresource:
            fields["subresource"] = self.subresource
        if self.name:
            fields["name"] = self.name
        if self.namespace:
            fields["namespace"] = self.namespace
        return fields

    def __str__(self) -> str:
        if self.path:
            return f"{self.verb} {self.path}"
        what = f"{self.resource}/{self.subresource}" if self.subresource else self.resource
        what = f"{what}.{self.group}" if self.group else what
        named = f" {self.name}" if self.name else ""
        where = f"in namespace {self.namespace}" if self.namespace else "in the whole cluster"
        return f"{self.verb} {what}{named} {where}"


def missing_rule(info: RequestInfo, refusal: bytes) -> MissingRule | None:
    """Return the rule that ``refusal``, the beginning of a 403's body, says is missing, if any."""
    found = _REFUSED.search(refusal)
    if found is None:
        return None
    verb = found[1].decode()
    if verb.startswith("impersonate"):
        return None  # about the proxy's own account
    if not info.is_resource_request:
        rule = MissingRule(verb, path=info.path)
    else:
        rule = MissingRule(
            verb,
            info.api_group,
            info.resource,
            info.subresource,
            info.name,
            # A namespace itself is no more in a namespace than a node is.
            info.namespace if info.resource != "namespaces" else "",
        )
    return rule if all(len(text) <= LONGEST for text in rule.as_fields().values()) else None


def manifest(rule: MissingRule, username: str) -> str:
    """Return the role and the binding that would let ``username`` do it, as YAML."""
    namespaced = bool(rule.namespace)
    kind = "Role" if namespaced else "ClusterRole"
    name = _name("let", rule.verb, rule.resource or "path", rule.subresource, _mark(rule, username))
    metadata = {"name": name} | ({"namespace": rule.namespace} if namespaced else {})
    return "---\n".join(
        (
            _document(kind, metadata, {"rules": [_rule(rule)]}),
            _binding(kind, name, username, metadata),
        )
    )


def view_binding(username: str) -> str:
    """Return what lets ``username`` see the whole cluster, as YAML."""
    return _binding("ClusterRole", "view", username, {"name": _name("let-view", _mark(username))})


def _binding(role_kind: str, role: str, username: str, metadata: dict[str, str]) -> str:
    return _document(
        "RoleBinding" if "namespace" in metadata else "ClusterRoleBinding",
        metadata,
        {
            "roleRef": {"apiGroup": _RBAC, "kind": role_kind, "name": role},
            "subjects": [{"apiGroup": _RBAC, "kind": "User", "name": username}],
        },
    )


def shown(text: str) -> str:
    """Return ``text`` with what cannot be seen, or turns the writing round, as an escape."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else _escape(c) for c in text)


def _escape(char: str) -> str:
    code = ord(char)
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _rule(rule: MissingRule) -> dict[str, list[str]]:
    if rule.path:
        return {"verbs": [rule.verb], "nonResourceURLs": [rule.path]}
    what = f"{rule.resource}/{rule.subresource}" if rule.subresource else rule.resource
    found = {"verbs": [rule.verb], "apiGroups": [rule.group], "resources": [what]}
    if rule.name and (rule.subresource or rule.verb not in _NAMELESS):
        found["resourceNames"] = [rule.name]
    return found


def _mark(*parts: object) -> str:
    """Return what tells one name from others: the same one would take another's binding away."""
    return hashlib.sha256(repr(parts).encode("utf-8", "replace")).hexdigest()[:8]


def _name(*parts: str) -> str:
    return _NOT_IN_A_NAME.sub("-", "-".join(filter(None, parts)).lower()).strip("-")[:LONGEST]


def _document(kind: str, metadata: dict[str, str], rest: dict[str, Any]) -> str:
    """Write YAML in which every text that is not ours is quoted as in JSON."""
    lines = {"apiVersion": f"{_RBAC}/v1", "kind": kind, "metadata": metadata, **rest}
    return "".join(_entry(key, value) for key, value in lines.items())


def _entry(key: str, value: Any) -> str:
    if isinstance(value, list) and all(isinstance(item, dict) for item in value):
        return f"{key}:\n" + "".join(f"  - {_lines(item, 4)}\n" for item in value)
    if isinstance(value, dict):
        return f"{key}:\n  {_lines(value, 2)}\n"
    return f"{key}: {value}\n"


def _lines(fields: dict[str, Any], indent: int) -> str:
    return f"\n{' ' * indent}".join(f"{key}: {_quoted(value)}" for key, value in fields.items())


def _quoted(value: Any) -> str:
    return shown(json.dumps(value, ensure_ascii=False))
