"""Every sink of a ``serve``, searched for every secret.

With TEST_EVERY_SINK=1 each ``Serve`` also audits everything, to a file and to a webhook, records
sessions and exports spans, and its requests carry a cookie and headers that are secret. When it
stops, all that it wrote is searched for what was handed out so far, for the credentials that it was
given itself, and for whatever is shaped like one. So the test in which a secret leaks fails.

What commands print, and what kubectl is told, is searched in every run.
"""

from __future__ import annotations

import base64
import functools
import json
import os
import ssl
import sys
import threading
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import trustme

from tests.kubectl import kubeconfig
from tests.leaks import hand_out, of_flags, search, values

EVERY_SINK = os.environ.get("TEST_EVERY_SINK") == "1"
BASIC = base64.b64encode(b"somebody:password-that-is-secret").decode()
HEADERS = {
    "Cookie": "session=cookie-that-is-secret",
    "Proxy-Authorization": f"Basic {BASIC}",
    "X-Secret": "header-that-is-secret",
}
WEBHOOK_TOKEN = "the-audit-webhooks-own-token"
ADMIN_PAGES = ("/metrics", "/livez?verbose", "/readyz?verbose")

hand_out("cookie-that-is-secret", "header-that-is-secret", "password-that-is-secret", BASIC)

_POLICY = "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: Metadata}]\n"


class Sinks:
    """Where one ``serve`` writes to: files below ``folder``, collectors, and whom it answers."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "every-sink"
        self._folder.mkdir(mode=0o700, exist_ok=True)
        (self._folder / "policy.yaml").write_text(_POLICY)
        self._heard: dict[str, list[bytes]] = {}
        self.collectors = {"spans": spans(), "audit webhook": webhook()}
        self._since = {name: len(it.taken) for name, it in self.collectors.items()}

    def flags(self) -> list[str]:
        """Return what switches every sink on; a test's own flags take the place of these."""
        own = self._folder / "webhook.kubeconfig"
        own.write_text(_webhook_kubeconfig(self._folder))
        return [
            f"--audit-policy-file={self._folder / 'policy.yaml'}",
            f"--audit-log-path={self._folder / 'audit.log'}",
            f"--audit-webhook-config-file={own}",
            f"--record-sessions={self._folder / 'recordings'}",
            f"--tracing-otlp-endpoint={spans().url}",
            "--tracing-sampling-rate-per-million=1000000",
        ]

    def hear(self, name: str, said: bytes | str) -> None:
        """Keep what the proxy said to somebody, to be searched like a file."""
        self._heard.setdefault(name, []).append(said.encode() if isinstance(said, str) else said)

    def written(self, log: Path, argv: Sequence[str]) -> dict[str, bytes]:
        """Return all that was written so far, by the name of its sink."""
        found = {str(path): path.read_bytes() for path in {log, *_files(argv)} if path.is_file()}
        for path in [Path(name) for name in found if Path(name).suffix in {".cast", ".part"}]:
            found[f"the terminal of {path}"] = _terminal(path)
        for name, collector in self.collectors.items():
            found[name] = b"\n".join(collector.taken[self._since[name] :])
        return found | {name: b"\n".join(said) for name, said in self._heard.items()}

    def check(self, log: Path, argv: Sequence[str]) -> None:
        """Raise AssertionError if a secret is in what a ``serve`` with these arguments wrote."""
        search(self.written(log, argv), of_flags(argv))


def _files(argv: Sequence[str]) -> Iterator[Path]:
    """Yield the files of all sinks that are files; an audit log's rotated ones too."""
    for path in map(Path, values(argv, "audit-log-path")):
        if path.name != "-":
            yield from path.parent.glob(f"{path.stem}*{path.suffix}")
    for folder in map(Path, values(argv, "record-sessions")):
        yield from folder.glob("*.cast*")


def _terminal(recording: Path) -> bytes:
    """Return what a recording shows, in one piece, for a secret may come a letter at a time.

    Raises AssertionError if what was typed is in it.
    """
    lines = recording.read_bytes().split(b"\n")[1:-1]  # an unfinished one is no event yet
    events = [json.loads(line) for line in lines]
    assert not [event for event in events if event[1] == "i"], f"{recording} has what was typed"
    return "".join(str(data) for _, kind, data in events if kind == "o").encode()


class Collector(ThreadingHTTPServer):
    """Takes what is posted as it comes: protobuf, like JSON, has texts as they are."""

    daemon_threads = True

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(("127.0.0.1", 0), _Take)
        self.url = f"http{'s' if tls else ''}://127.0.0.1:{self.server_port}"
        if tls is not None:
            self.socket = tls.wrap_socket(
                self.socket, server_side=True, do_handshake_on_connect=False
            )
        self.taken: list[bytes] = []
        threading.Thread(target=self.serve_forever, name="collector", daemon=True).start()

    def handle_error(self, request: object, client_address: object) -> None:
        """Say what went wrong, unless it is a proxy that was killed."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


class _Take(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Collector

    def do_POST(self) -> None:
        self.server.taken.append(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@functools.cache
def spans() -> Collector:
    """Return the collector of OpenTelemetry spans of this test process."""
    return Collector()


@functools.cache
def webhook() -> Collector:
    """Return the audit webhook of this test process."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _authority().issue_cert("127.0.0.1").configure_cert(tls)
    return Collector(tls)


@functools.cache
def _authority() -> trustme.CA:
    return trustme.CA()


def _webhook_kubeconfig(folder: Path) -> str:
    ca_file = folder / "webhook-ca.crt"
    _authority().cert_pem.write_to_path(str(ca_file))
    return kubeconfig(webhook().url, ca_file, {"token": WEBHOOK_TOKEN})
