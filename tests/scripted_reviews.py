"""An API server that answers reviews as a test tells it, and all else with what it was sent.

    with ScriptedReviews(folder) as api:
        api.rights = [Rule(("impersonate",), ("",), ("users",), ("alice",))]   # of whoever asks
        api.allowed = {("list", "secrets", "")}          # (verb, resource/subresource, name)
        api.tokens["t"] = {"username": "robot"}          # whom TokenReview knows
        api.instead["TokenReview"] = HTTPStatus.FORBIDDEN, {"message": "no"}

It fakes no authorizer: an access review is allowed if it is in ``allowed``, for everybody or, with
``allowed_to``, for one user. A request without ``Impersonate-User`` is seen as its bearer token
says (``accounts``). Everything that is no review is answered with the headers that came.
"""

from __future__ import annotations

from http import HTTPStatus
from pathlib import Path
from typing import Any

from proxy.rights import Rule
from tests.scripted_server import Reply, Request, ScriptedServer

OURSELVES = "system:serviceaccount:headlamp:headlamp-auth-proxy"
Asked = tuple[str, str, str]


class ScriptedReviews(ScriptedServer):
    """See the module."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.rights: list[Rule] = []
        self.incomplete = False
        self.allowed: set[Asked] = set()
        self.allowed_to: dict[str, set[Asked]] = {}
        self.tokens: dict[str, dict[str, Any]] = {}
        self.audiences: list[str] = []  # of every token
        self.sees: dict[str, str] = {}  # somebody else than is asserted
        self.moved = ""  # another path, to which every review is redirected
        self.instead: dict[str, tuple[HTTPStatus, dict[str, Any]]] = {}  # by kind

    def answer(self, request: Request, reply: Reply) -> None:
        if request.method != "POST" or not request.path.endswith("reviews"):
            reply.document({name: ", ".join(request.values(name)) for name, _ in request.fields})
            return
        if self.moved and request.path != self.moved:
            reply.redirect(self.moved)
            return
        asked = request.json()
        if asked["kind"] in self.instead:
            status, document = self.instead[asked["kind"]]
            reply.document(document, status)
            return
        answer = getattr(self, f"_{asked['kind']}")(request, asked.get("spec") or {})
        reply.document({"kind": asked["kind"], "status": answer}, HTTPStatus.CREATED)

    def reviews(self, kind: str) -> list[dict[str, Any]]:
        """Return the spec of each review of a kind that was put, oldest first."""
        asked = [r.json() for r in self.requests if r.path.endswith("reviews")]
        return [document.get("spec", {}) for document in asked if document["kind"] == kind]

    def _TokenReview(self, _: Request, spec: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        user = self.tokens.get(spec["token"])
        if user is None:
            return {"user": {}, "error": "[invalid bearer token]"}
        return {"authenticated": True, "user": user, "audiences": self.audiences}

    def _SelfSubjectReview(  # noqa: N802
        self, request: Request, _: dict[str, Any]
    ) -> dict[str, Any]:
        asserted = request.values("Impersonate-User")
        name = asserted[0] if asserted else OURSELVES
        groups = [*request.values("Impersonate-Group"), "system:authenticated"]
        return {"userInfo": {"username": self.sees.get(name, name), "groups": groups}}

    def _SelfSubjectAccessReview(  # noqa: N802
        self, _: Request, spec: dict[str, Any]
    ) -> dict[str, Any]:
        return {"allowed": _asked(spec["resourceAttributes"]) in self.allowed}

    def _SubjectAccessReview(  # noqa: N802
        self, _: Request, spec: dict[str, Any]
    ) -> dict[str, Any]:
        allowed = self.allowed | self.allowed_to.get(spec["user"], set())
        return {"allowed": _asked(spec["resourceAttributes"]) in allowed}

    def _SelfSubjectRulesReview(  # noqa: N802
        self, _: Request, spec: dict[str, Any]
    ) -> dict[str, Any]:
        assert spec["namespace"]
        return {
            "resourceRules": [
                {
                    "verbs": list(rule.verbs),
                    "apiGroups": list(rule.groups),
                    "resources": list(rule.resources),
                    "resourceNames": list(rule.names),
                }
                for rule in self.rights
                if not rule.paths
            ],
            "nonResourceRules": [],
            "incomplete": self.incomplete,
        }


def _asked(attributes: dict[str, str]) -> Asked:
    resource = attributes["resource"]
    if subresource := attributes.get("subresource"):
        resource = f"{resource}/{subresource}"
    return attributes["verb"], resource, attributes.get("name", "")
