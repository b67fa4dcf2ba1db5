"""The reviews by which clients ask who they are and what they may: ``kubectl auth``, Headlamp.

``system:authenticated`` may create them, and nobody else's answer is ever given.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from proxy.tools.demo.cluster.rbac import Authorizer, Question
from proxy.userinfo import UserInfo


def review(
    resource: str, body: Mapping[str, Any], user: UserInfo, authorizer: Authorizer
) -> dict[str, Any]:
    """Return ``body`` with its answer as ``status``."""
    spec = body.get("spec") or {}
    match resource:
        case "selfsubjectreviews":
            status: dict[str, Any] = {
                "userInfo": {"username": user.username, "groups": list(user.groups)}
            }
        case "selfsubjectaccessreviews":
            reason = authorizer.allowed_by(user, _question(spec))
            status = {"allowed": reason is not None} | ({"reason": reason} if reason else {})
        case _:
            status = _rules(authorizer, user, spec.get("namespace", ""))
    return {"metadata": {}, **body, "status": status}


def _question(spec: Mapping[str, Any]) -> Question:
    if path := (spec.get("nonResourceAttributes") or {}).get("path"):
        return Question(spec["nonResourceAttributes"].get("verb", ""), path=path)
    asked = spec.get("resourceAttributes") or {}
    fields = ("verb", "group", "resource", "subresource", "name", "namespace")
    return Question(**{field: asked.get(field, "") for field in fields})


def _rules(authorizer: Authorizer, user: UserInfo, namespace: str) -> dict[str, Any]:
    rules = [dict(rule) for rule in authorizer.rules_for(user, namespace)]
    return {
        "resourceRules": [rule for rule in rules if "resources" in rule],
        "nonResourceRules": [rule for rule in rules if "nonResourceURLs" in rule],
        "incomplete": False,
    }
