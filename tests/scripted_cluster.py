"""An API server that plays its part from a script, and remembers every word that it was told.

    with ScriptedCluster(folder) as cluster:
        cluster.address, cluster.ca_file     # what a proxy, or kubectl itself, is pointed at
        cluster.requests                     # each request so far: its head byte for byte, its body
        feed = cluster.feed()                # the next watch or followed log that a client opens
        feed.send(...)                       # one event, or a piece of the log
        feed.end()

It is no Kubernetes. There are no users but those that ``Impersonate-*`` names, nothing is checked
and nothing is refused, save that only members of ``ADMINISTRATORS`` are told that they may do
what they ask about.
It knows discovery in its old form, one pod ``web`` in the namespace ``default`` (get, list, watch,
log, exec: see ``scripted_exec``), configmaps that can be made, patched and deleted, and the
reviews behind ``kubectl auth whoami`` and ``can-i``. All other paths are not found. There is no
validation, no schema (use ``--validate=false``), no Table, no resource version that means
anything, and every patch is taken for a merge patch (RFC 7396).

Each connection has a thread. What goes wrong in one fails the test that leaves the context.
"""

from __future__ import annotations

import copy
import json
import queue
import socketserver
import ssl
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from http import HTTPStatus
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

import trustme

from tests.scripted_exec import (
    Process,
    choose_websocket_protocol,
    run_over_spdy,
    run_over_websocket,
    websocket_accept,
)

PATIENCE = 20.0  # seconds that a client may take to open a watch
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
_POD = {
    "kind": "Pod",
    "apiVersion": "v1",
    "metadata": {"name": "web", "namespace": "default", "uid": "1", "resourceVersion": "1"},
    "spec": {"containers": [{"name": "main", "image": "web"}]},
    "status": {"phase": "Running"},
}


def pod(**labels: str) -> dict[str, Any]:
    """Return the pod, labelled."""
    labelled: dict[str, Any] = copy.deepcopy(_POD)
    labelled["metadata"]["labels"] = labels
    return labelled


@dataclass(frozen=True)
class Request:
    """A request: ``head`` is what came, from the request line up to the empty line."""

    head: bytes
    body: bytes

    @cached_property
    def fields(self) -> list[tuple[str, str]]:
        """Every header field in its order, as it was spelt."""
        lines = self.head.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")[1:]
        return [(name, value) for name, _, value in (line.partition(": ") for line in lines)]

    @property
    def method(self) -> str:
        return self.head.split(b" ", 2)[0].decode()

    @property
    def target(self) -> str:
        return self.head.split(b" ", 2)[1].decode()

    @property
    def path(self) -> str:
        return urlsplit(self.target).path

    @property
    def query(self) -> dict[str, list[str]]:
        return parse_qs(urlsplit(self.target).query)

    def values(self, name: str) -> list[str]:
        """Return all values of a header, its name in any case."""
        return [value for known, value in self.fields if known.lower() == name.lower()]

    def json(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.body)
        return document


class Feed:
    """A body that goes on for as long as the test wants it to."""

    def __init__(self) -> None:
        self.parts: queue.SimpleQueue[bytes] = queue.SimpleQueue()  # an empty one is the last

    def send(self, part: bytes) -> None:
        self.parts.put(part)

    def event(self, kind: str, thing: Mapping[str, Any]) -> None:
        self.send(json.dumps({"type": kind, "object": thing}).encode() + b"\n")

    def end(self) -> None:
        self.parts.put(b"")


class ScriptedCluster:
    """The server. Leave the context only when its clients are gone."""

    def __init__(self, folder: Path) -> None:
        self.requests: list[Request] = []
        self.configmaps: dict[str, dict[str, Any]] = {}
        self.failures: list[BaseException | None] = []
        self.ca_file = folder / "cluster-ca.crt"
        authority = trustme.CA()
        authority.cert_pem.write_to_path(str(self.ca_file))
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1").configure_cert(self._tls)
        self._opened: queue.SimpleQueue[Feed] = queue.SimpleQueue()
        self._feeds: list[Feed] = []

    def __enter__(self) -> Self:
        self._server = _Server(self, self._tls)
        self.address = f"127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        for feed in self._feeds:
            feed.end()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        if self.failures:
            raise AssertionError("the scripted cluster failed") from self.failures[0]

    def feed(self) -> Feed:
        """Wait for a client to open a watch or follow a log, and return what feeds it."""
        return self._opened.get(timeout=PATIENCE)

    def open_feed(self) -> Feed:
        feed = Feed()
        self._feeds.append(feed)
        self._opened.put(feed)
        return feed


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    request_queue_size = 64

    def __init__(self, cluster: ScriptedCluster, tls: ssl.SSLContext) -> None:
        super().__init__(("127.0.0.1", 0), _Connection)
        self.cluster = cluster
        # The handshake is the connection's own affair, lest one client keep others waiting.
        self.socket = tls.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)

    def handle_error(self, request: object, client_address: object) -> None:
        failure = sys.exception()
        if not isinstance(failure, ConnectionError | ssl.SSLError):  # clients leave as they please
            self.cluster.failures.append(failure)


class _Connection(socketserver.StreamRequestHandler):
    server: _Server
    disable_nagle_algorithm = True

    def handle(self) -> None:
        self._switched = False
        while not self._switched and (head := self._read_head()):
            request = Request(head, self.rfile.read(_content_length(head)))
            self.server.cluster.requests.append(request)
            self._answer(request)

    def _read_head(self) -> bytes:
        lines: list[bytes] = []
        while line := self.rfile.readline():
            lines.append(line)
            if line == b"\r\n":
                break
        return b"".join(lines)

    def _answer(self, request: Request) -> None:
        match request.method, *request.path.strip("/").split("/"):
            case "GET", "api":
                self._say(_VERSIONS)
            case "GET", "apis":
                self._say(_NO_GROUPS)
            case "GET", "api", "v1":
                self._say(_RESOURCES)
            case _, "api", "v1", "namespaces", "default", "pods", *rest:
                self._pods(request, rest)
            case _, "api", "v1", "namespaces", "default", "configmaps", *rest:
                self._configmaps(request, rest)
            case "POST", "apis", "authentication.k8s.io", "v1", "selfsubjectreviews":
                self._say(_self_subject_review(request), HTTPStatus.CREATED)
            case "POST", "apis", "authorization.k8s.io", "v1", "selfsubjectaccessreviews":
                self._say(_self_subject_access_review(request), HTTPStatus.CREATED)
            case _:
                self._not_found(request)

    def _pods(self, request: Request, rest: list[str]) -> None:
        match request.method, *rest:
            case ("GET",) if "watch" in request.query:
                self._stream("application/json")
            case ("GET",):
                self._say({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": [pod()]})
            case "GET", "web":
                self._say(pod())
            case "GET", "web", "log" if "follow" in request.query:
                self._stream("text/plain")
            case "GET", "web", "log":
                self._send(HTTPStatus.OK, LOG, "Content-Type: text/plain")
            case _, "web", "exec":
                self._exec(request)
            case _:
                self._not_found(request)

    def _configmaps(self, request: Request, rest: list[str]) -> None:
        known = self.server.cluster.configmaps
        match request.method, *rest:
            case ("GET",):
                items = list(known.values())
                self._say({"kind": "ConfigMapList", "apiVersion": "v1", "items": items})
            case ("POST",):
                made = request.json()
                made["metadata"]["uid"] = made["metadata"]["name"]
                known[made["metadata"]["name"]] = made
                self._say(made, HTTPStatus.CREATED)
            case "GET", name if name in known:
                self._say(known[name])
            case "PATCH", name if name in known:
                known[name] = _merged(known[name], request.json())
                self._say(known[name])
            case "DELETE", name if known.pop(name, None):
                self._say(_status("Success", details={"name": name, "uid": name}))
            case _:
                self._not_found(request)

    def _exec(self, request: Request) -> None:
        process = Process.of(request.query)
        self._switched = True
        if request.values("Upgrade") == ["websocket"]:
            self._switch(
                "Upgrade: websocket",
                f"Sec-WebSocket-Accept: {websocket_accept(*request.values('Sec-WebSocket-Key'))}",
                "Sec-WebSocket-Protocol: "
                + choose_websocket_protocol(*request.values("Sec-WebSocket-Protocol")),
            )
            run_over_websocket(process, self.rfile, self.wfile)
        else:
            self._switch("Upgrade: SPDY/3.1", "X-Stream-Protocol-Version: v4.channel.k8s.io")
            run_over_spdy(process, self.rfile, self.wfile)

    def _switch(self, *fields: str) -> None:
        self._head(HTTPStatus.SWITCHING_PROTOCOLS, "Connection: Upgrade", *fields)

    def _not_found(self, request: Request) -> None:
        message = f"{request.method} {request.path} is not in the script"
        self._say(_status("Failure", reason="NotFound", message=message), HTTPStatus.NOT_FOUND)

    def _say(self, document: Mapping[str, Any], status: HTTPStatus = HTTPStatus.OK) -> None:
        self._send(status, json.dumps(document).encode(), "Content-Type: application/json")

    def _send(self, status: HTTPStatus, body: bytes, *fields: str) -> None:
        self._head(status, *fields, f"Content-Length: {len(body)}")
        self.wfile.write(body)

    def _stream(self, content_type: str) -> None:
        feed = self.server.cluster.open_feed()
        self._head(HTTPStatus.OK, f"Content-Type: {content_type}", "Transfer-Encoding: chunked")
        while part := feed.parts.get():
            self.wfile.write(b"%x\r\n%b\r\n" % (len(part), part))
        self.wfile.write(b"0\r\n\r\n")

    def _head(self, status: HTTPStatus, *fields: str) -> None:
        lines = [f"HTTP/1.1 {status} {status.phrase}", *fields, "", ""]
        self.wfile.write("\r\n".join(lines).encode())


def _content_length(head: bytes) -> int:
    return int(next(iter(Request(head, b"").values("Content-Length")), 0))


def _status(outcome: str, **members: Any) -> dict[str, Any]:
    return {"kind": "Status", "apiVersion": "v1", "status": outcome} | members


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
