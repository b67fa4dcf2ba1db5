"""Every sink of every ``serve``, searched for every secret: what ``make test-sinks`` is.

With TEST_EVERY_SINK=1 each ``Serve`` also audits everything, records sessions and exports spans,
and each of its requests carries a cookie and a header that are secret. When it has stopped, all
that it wrote is searched for the tokens that were signed in this process so far (payloads and
signatures), for those two, and for the proxy's own token. So the test in which one leaks fails.
"""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Iterable, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

EVERY_SINK = os.environ.get("TEST_EVERY_SINK") == "1"
HEADERS = {"Cookie": "session=cookie-that-is-secret", "X-Secret": "header-that-is-secret"}
SHORTEST = 20  # characters of a token's part that no sink holds by chance

handed_out = {"cookie-that-is-secret", "header-that-is-secret"}

_POLICY = "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: Metadata}]\n"
_TOKEN_FILE = "--upstream-token-file="


def hand_out(token: str) -> None:
    """Have a token's payload and signature searched for; its header says nothing of anybody."""
    handed_out.update(part for part in token.split(".")[1:] if len(part) >= SHORTEST)


def flags(folder: Path) -> list[str]:
    """Return what switches every sink on, with all files below ``folder``."""
    sinks = folder / "every-sink"
    sinks.mkdir(mode=0o700, exist_ok=True)
    policy = sinks / "policy.yaml"
    policy.write_text(_POLICY)
    return [
        f"--audit-policy-file={policy}",
        f"--audit-log-path={sinks / 'audit.log'}",
        f"--record-sessions={sinks}",
        f"--tracing-otlp-endpoint={_collector().url}",
        "--tracing-sampling-rate-per-million=1000000",
    ]


def headers(sent: Mapping[str, str]) -> dict[str, str]:
    """Return a request's headers and the secret ones."""
    return HEADERS | dict(sent)


def check(folder: Path, log: Path, argv: Sequence[str]) -> None:
    """Raise AssertionError if a secret is in what a ``serve`` has written."""
    own = [Path(x.removeprefix(_TOKEN_FILE)) for x in argv if x.startswith(_TOKEN_FILE)]
    tokens = [path.read_text().strip() for path in own if path.is_file()]
    files = [log, *(folder / "every-sink").iterdir()]
    written = {str(path): path.read_bytes() for path in files if path.is_file()}
    written["spans"] = b"".join(_collector().exports)
    search(written, [*handed_out, *(x for x in tokens if len(x) >= len("here-it-is"))])


def search(written: Mapping[str, bytes], secrets: Iterable[str]) -> None:
    """Raise AssertionError if a secret is in one of the sinks, by name."""
    for secret in secrets:
        found = [name for name, data in written.items() if secret.encode() in data]
        assert not found, f"the secret {secret[:24]!r}... is in {', '.join(found)}"


class _Collector(ThreadingHTTPServer):
    """Takes exports as they come: protobuf has texts as they are."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Take)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.exports: list[bytes] = []


class _Take(BaseHTTPRequestHandler):
    server: _Collector

    def do_POST(self) -> None:
        self.server.exports.append(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@functools.cache
def _collector() -> _Collector:
    """Return the collector of this test process."""
    server = _Collector()
    threading.Thread(target=server.serve_forever, name="collector", daemon=True).start()
    return server
