"""The program itself, started as its user would start it, and what stands around it.

``Serve`` runs ``headlamp-auth-proxy serve`` in a process of its own. ``issuer_in_thread`` keeps a
``FakeIssuer`` (see there for what it fakes) answering while a test waits for a program.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import ssl
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Coroutine, Iterator, Mapping
from http.client import HTTPResponse
from pathlib import Path
from typing import Any, TypeVar

from tests.issuer import FakeIssuer
from tests.kubectl import kubeconfig
from tests.process import Process, free_port
from tests.sinks import ADMIN_PAGES, EVERY_SINK, HEADERS, Sinks

START_TIMEOUT = 20.0  # seconds
STOP_GRACE = 40.0  # seconds
WHOAMI = "/.auth-proxy/whoami"

T = TypeVar("T")


class Run:
    """Awaits, for a thread without an event loop, what belongs to the loop of another."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def __call__(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(START_TIMEOUT)

    @contextlib.contextmanager
    def entered(self, manager: contextlib.AbstractAsyncContextManager[T]) -> Iterator[T]:
        value = self(manager.__aenter__())
        try:
            yield value
        finally:
            self(manager.__aexit__(None, None, None))


@contextlib.contextmanager
def loop_in_thread() -> Iterator[Run]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="loop")
    thread.start()
    try:
        yield Run(loop)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@contextlib.contextmanager
def issuer_in_thread() -> Iterator[tuple[FakeIssuer, Run]]:
    """Yield an issuer that answers from another thread, and how to await its coroutines there."""
    with loop_in_thread() as run, run.entered(FakeIssuer()) as issuer:
        yield issuer, run


class Serve:
    """A running proxy. ``flags`` are added to those for its own listeners and certificates.

    A flag given here comes after, and so in place of, the one that would be set anyway. With
    ``every_sink`` all that it writes is searched for secrets when it stops; False is for a test of
    what a proxy does that writes nothing else.
    """

    def __init__(
        self,
        folder: Path,
        *flags: str,
        env: Mapping[str, str] | None = None,
        every_sink: bool = EVERY_SINK,
    ) -> None:
        self.folder = folder
        self.port, self.admin_port = free_port(), free_port()
        self.url = f"https://127.0.0.1:{self.port}"
        self.ca_file = folder / "trust" / "ca.crt"
        self.log = folder / "serve.log"
        self.sinks = Sinks(folder) if every_sink else None
        self.argv = [
            str(Path(sys.executable).parent / "headlamp-auth-proxy"),
            "serve",
            f"--listen=127.0.0.1:{self.port}",
            f"--admin-listen=127.0.0.1:{self.admin_port}",
            f"--trust-dir={folder / 'trust'}",
            f"--cert-dir={folder / 'certs'}",
            *(self.sinks.flags() if self.sinks else ()),
            *flags,
        ]
        self._env = env
        self._process: Process | None = None

    def __enter__(self) -> Serve:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        self._process = Process(self.argv, self.log, env=self._env)
        self.wait_until(lambda: self.probe("/livez")[0] == 200, "alive")

    def stop(self) -> int | None:
        """Stop with SIGTERM; return the exit status."""
        process, self._process = self._process, None
        if process is None:
            return None
        if self.sinks:
            for page in ADMIN_PAGES:
                self.sinks.hear("admin pages", self.probe(page)[1])
        status = process.stop(STOP_GRACE)
        if self.sinks:
            self.sinks.check(self.log, self.argv)
        return status

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def terminate(self) -> None:
        """Send SIGTERM and do not wait."""
        os.kill(self.pid, signal.SIGTERM)

    def wait_until(self, condition: Callable[[], bool], what: str) -> None:
        """Poll, for as long as the process lives and at most START_TIMEOUT."""
        assert self._process is not None
        self._process.wait_until(condition, what, START_TIMEOUT)

    def wait_ready(self) -> None:
        self.wait_until(lambda: self.probe("/readyz")[0] == 200, "ready")

    def probe(self, path: str) -> tuple[int, str]:
        """Ask the admin listener; status 0 while there is none."""
        try:
            with urllib.request.urlopen(
                f"http://127.0.0.1:{self.admin_port}{path}", timeout=5
            ) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def metric(self, line_start: str) -> float:
        """The value of the one sample whose line starts so, prefix left out."""
        start = f"headlamp_auth_proxy_{line_start}"
        lines = [x for x in self.probe("/metrics")[1].splitlines() if x.startswith(start)]
        assert len(lines) == 1, f"{len(lines)} samples start with {start}"
        return float(lines[0].rsplit(" ", 1)[1])

    def get(
        self,
        path: str,
        token: str | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        patience: float = 30,
    ) -> tuple[int, dict[str, Any]]:
        """GET through the proxy, for at most ``patience`` seconds; return status and JSON body."""
        return self._ask("GET", path, None, token, headers or {}, patience)

    def post(
        self, path: str, body: Mapping[str, Any], token: str | None = None
    ) -> tuple[int, dict[str, Any]]:
        """POST JSON through the proxy; return the status and the JSON body."""
        sent = {"Content-Type": "application/json"}
        return self._ask("POST", path, json.dumps(body).encode(), token, sent)

    def whoami(self, token: str) -> tuple[str, list[str]]:
        """The user and groups that the API server sees. Raises AssertionError if it sees none."""
        review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
        path = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
        status, body = self.post(path, review, token)
        assert status == 201, body
        user = body["status"]["userInfo"]
        return user["username"], user["groups"]

    def _ask(
        self,
        method: str,
        path: str,
        body: bytes | None,
        token: str | None,
        headers: Mapping[str, str],
        patience: float = 30,
    ) -> tuple[int, dict[str, Any]]:
        sent = (HEADERS if self.sinks else {}) | dict(headers)
        if token is not None:
            sent["Authorization"] = f"Bearer {token}"
        request = urllib.request.Request(self.url + path, body, sent, method=method)
        tls = ssl.create_default_context(cafile=str(self.ca_file))
        try:
            with urllib.request.urlopen(request, context=tls, timeout=patience) as answer:
                return answer.status, json.loads(self._heard(path, answer) or b"{}")
        except urllib.error.HTTPError as error:
            return error.code, json.loads(self._heard(path, error) or b"{}")

    def _heard(self, path: str, answer: HTTPResponse | urllib.error.HTTPError) -> bytes:
        """Read an answer; keep it where the words are the proxy's own."""
        body = answer.read()
        page = path.startswith(WHOAMI) and "--whoami=off" not in self.argv
        if self.sinks and (page or b" (audit ID " in body):
            self.sinks.hear("answers", body)
        return body

    def kubeconfig(self, name: str, token: str) -> Path:
        """Write a kubeconfig for this proxy with a user's token."""
        path = self.folder / f"{name}.kubeconfig"
        path.write_text(kubeconfig(self.url, self.ca_file, {"token": token}))
        return path

    def logged(self) -> list[dict[str, Any]]:
        """All log lines so far; each must be JSON."""
        lines = self.log.read_text().splitlines(keepends=True)
        return [json.loads(line) for line in lines if line.endswith("\n")]

    def requests(self) -> list[dict[str, Any]]:
        return [line for line in self.logged() if line["event"] == "request"]
