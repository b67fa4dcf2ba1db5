"""An API server that plays its part from a script, and remembers every word that it was told.

    with ScriptedCluster(folder) as cluster:
        cluster.url, cluster.ca_file         # what a proxy, or kubectl itself, is pointed at
        cluster.requests                     # each request so far: its head byte for byte, its body
        feed = cluster.opened()              # the next watch or followed log that a client opens
        feed.event("ADDED", pod(step="1"))   # or, for a log: feed.send(b"...")
        feed.end()

It is no Kubernetes. There are no users but those that ``Impersonate-*`` names, nothing is checked
and nothing is refused, save that only members of ``ADMINISTRATORS`` are told that they may do what
they ask about. It knows discovery in its old form, one pod ``web`` in the namespace ``default``
(get, list, watch, log, exec: see ``scripted_exec``), configmaps that can be made, patched and
deleted, and the reviews behind ``kubectl auth whoami`` and ``can-i``. All else is not found. There
is no validation, no schema (use ``--validate=false``), no Table, no resource version that means
anything, and every patch is taken for a merge patch (RFC 7396).
"""

from __future__ import annotations

from http import HTTPStatus
from pathlib import Path
from typing import Any

from proxy.reviews.client import USER_AGENT
from tests.scripted_exec import (
    V4,
    V5,
    Process,
    choose_protocol,
    run_over_spdy,
    run_over_websocket,
    websocket_accept,
)
from tests.scripted_server import Reply, Request, ScriptedServer

ADMINISTRATORS = "tag:k8s-admin"
LOG = b"line one\nline two\n"

_VERSIONS = {"kind": "APIVersions", "versions": ["v1"]}
_NO_GROUPS = {"kind": "APIGroupList", "apiVersion": "v1", "groups": []}
_VERBS = ["create", "delete", "get", "list", "patch", "watch"]
_RESOURCES = {
    "kind": "APIResourceList",
    "groupVersion": "v1",
    "resources": [
        {"name": name, "singularName": "", "namespaced": True, "kind": kind, "verbs": _VERBS}
        for name, kind in (("configmaps", "ConfigMap"), ("pods", "Pod"))
    ],
}


def pod(**labels: str) -> dict[str, Any]:
    """Return the pod as the API server shows it, labelled."""
    return {
        "kind": "Pod",
        "apiVersion": "v1",
        "metadata": {"name": "web", "namespace": "default", "labels": labels},
        "spec": {"containers": [{"name": "main", "image": "web"}]},
        "status": {"phase": "Running"},
    }


class ScriptedCluster(ScriptedServer):
    """The API server; ``configmaps`` are those that there are, by name."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.configmaps: dict[str, dict[str, Any]] = {}

    def remember(self, request: Request) -> None:
        """Leave out what the proxy asks about itself, whenever it likes."""
        if request.values("User-Agent") != [USER_AGENT]:
            super().remember(request)

    def answer(self, request: Request, reply: Reply) -> None:
        match request.method, *request.path.strip("/").split("/"):
            case "GET", "api":
                reply.document(_VERSIONS)
            case "GET", "apis":
                reply.document(_NO_GROUPS)
            case "GET", "api", "v1":
                reply.document(_RESOURCES)
            case _, "api", "v1", "namespaces", "default", "pods", *rest:
                self._pods(request, rest, reply)
            case _, "api", "v1", "namespaces", "default", "configmaps", *rest:
                self._configmaps(request, rest, reply)
            case "POST", "apis", "authentication.k8s.io", "v1", "selfsubjectreviews":
                reply.document(_self_subject_review(request), HTTPStatus.CREATED)
            case "POST", "apis", "authorization.k8s.io", "v1", "selfsubjectaccessreviews":
                reply.document(_self_subject_access_review(request), HTTPStatus.CREATED)
            case _:
                _not_found(request, reply)

    def _pods(self, request: Request, rest: list[str], reply: Reply) -> None:
        match request.method, *rest:
            case ("GET",) if "watch" in request.query:
                reply.stream(self.open_feed(), "application/json")
            case ("GET",):
                reply.document({"kind": "PodList", "apiVersion": "v1", "items": [pod()]})
            case "GET", "web":
                reply.document(pod())
            case "GET", "web", "log" if "follow" in request.query:
                reply.stream(self.open_feed(), "text/plain")
            case "GET", "web", "log":
                reply.whole(LOG, "text/plain")
            case "GET" | "POST", "web", "exec":
                _exec(request, reply)
            case _:
                _not_found(request, reply)

    def _configmaps(self, request: Request, rest: list[str], reply: Reply) -> None:
        known = self.configmaps
        match request.method, *rest:
            case ("POST",):
                made = request.json()
                known[made["metadata"]["name"]] = made
                reply.document(made, HTTPStatus.CREATED)
            case "GET", name if name in known:
                reply.document(known[name])
            case "PATCH", name if name in known:
                known[name] = _merged(known[name], request.json())
                reply.document(known[name])
            case "DELETE", name if known.pop(name, None):
                reply.document({"kind": "Status", "apiVersion": "v1", "status": "Success"})
            case _:
                _not_found(request, reply)


def _exec(request: Request, reply: Reply) -> None:
    process = Process.of(request.query)
    if request.values("Upgrade") == ["websocket"]:
        protocol = choose_protocol(request.values("Sec-WebSocket-Protocol"), (V5, V4))
        reply.switch(
            "Upgrade: websocket",
            f"Sec-WebSocket-Accept: {websocket_accept(*request.values('Sec-WebSocket-Key'))}",
            f"Sec-WebSocket-Protocol: {protocol}",
        )
        run_over_websocket(process, reply.reader, reply.writer)
    else:
        protocol = choose_protocol(request.values("X-Stream-Protocol-Version"), (V4,))
        reply.switch("Upgrade: SPDY/3.1", f"X-Stream-Protocol-Version: {protocol}")
        run_over_spdy(process, reply.reader, reply.writer)


def _not_found(request: Request, reply: Reply) -> None:
    reply.document(
        {
            "kind": "Status",
            "apiVersion": "v1",
            "status": "Failure",
            "reason": "NotFound",
            "message": f"{request.method} {request.path} is not in the script",
            "code": 404,
        },
        HTTPStatus.NOT_FOUND,
    )


def _self_subject_review(request: Request) -> dict[str, Any]:
    user = {
        "username": ",".join(request.values("Impersonate-User")),
        "groups": request.values("Impersonate-Group"),
    }
    return {
        "kind": "SelfSubjectReview",
        "apiVersion": "authentication.k8s.io/v1",
        "status": {"userInfo": user},
    }


def _self_subject_access_review(request: Request) -> dict[str, Any]:
    return {
        "kind": "SelfSubjectAccessReview",
        "apiVersion": "authorization.k8s.io/v1",
        "status": {"allowed": ADMINISTRATORS in request.values("Impersonate-Group")},
    }


def _merged(target: Any, patch: Any) -> Any:
    if not isinstance(patch, dict):
        return patch
    merged = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = _merged(merged.get(name), value)
    return merged
