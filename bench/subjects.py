"""The proxies under measurement, each with one process that works, and TLS on both sides.

This proxy is started as it ships: limits, metrics, guard and access log are on, and the log goes
into a pipe that somebody reads, as in a container.
"""

from __future__ import annotations

import os
import ssl
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from bench import envoy, nginx
from bench.path import POLICIES
from bench.stage import CREDENTIAL, Stage
from tests.issuer import jwks_document
from tests.process import Process, free_port
from tests.serving import Serve

DIRECT: Final = "direct"  # to the upstream, without any proxy: what latencies are compared with
OURS: Final = "headlamp-auth-proxy"
BARE: Final = "bare"  # our transports alone; measured where it is asked for
AUDITED: Final = {f"audit, {policy}": policy for policy in ("ResponseComplete", "all stages")}
RECORDING: Final = "recorded"
START_TIMEOUT: Final = 15.0  # seconds


@dataclass(frozen=True)
class Subject:
    """A running proxy; ``pid`` is its working process, 0 where there is none."""

    name: str
    port: int
    pid: int
    start: float  # seconds from nothing to its first answer


Start = Callable[[Stage, Path, int], AbstractContextManager[tuple[int, int]]]


@contextmanager
def started(name: str, stage: Stage, upstream: int) -> Iterator[Subject]:
    """Start a proxy to an upstream port, and wait for its first answer.

    Raises RuntimeError with the end of its log where there is none, and FileNotFoundError where it
    is not installed.
    """
    folder = stage.folder / f"{name}-{free_port()}"
    folder.mkdir(mode=0o755)
    began = time.monotonic()
    with {**SUBJECTS, **WITH_MORE}[name](stage, folder, upstream) as (port, pid):
        _await_answer(port, stage.tokens(1)[0], folder)
        yield Subject(name, port, pid, time.monotonic() - began)


def _await_answer(port: int, token: str, folder: Path) -> None:
    url, headers = f"https://127.0.0.1:{port}/400", {"Authorization": f"Bearer {token}"}
    anybody = ssl._create_unverified_context()
    deadline = time.monotonic() + START_TIMEOUT
    while True:
        try:
            request = urllib.request.Request(url, headers=headers)
            urllib.request.urlopen(request, context=anybody, timeout=5).close()
        except OSError as error:
            if time.monotonic() > deadline:
                logs = [p for p in folder.iterdir() if p.suffix in (".log", ".read", ".err")]
                tails = [p.read_text(errors="replace")[-300:] for p in logs if p.is_file()]
                raise RuntimeError("\n".join([f"no answer: {error}", *tails])) from None
            time.sleep(0.005)
        else:
            return


@contextmanager
def _direct(stage: Stage, folder: Path, upstream: int) -> Iterator[tuple[int, int]]:
    yield upstream, 0


@contextmanager
def _nginx(stage: Stage, folder: Path, upstream: int) -> Iterator[tuple[int, int]]:
    port = free_port()
    with nginx.passing(folder, port, stage.certificate, upstream) as pid:
        yield port, pid


@contextmanager
def _envoy(stage: Stage, folder: Path, upstream: int) -> Iterator[tuple[int, int]]:
    port = free_port()
    with envoy.running(
        folder, port, stage.certificate, upstream, stage.ca_file, stage.issuer, CREDENTIAL
    ) as pid:
        yield port, pid


@contextmanager
def _process(argv: Sequence[object], log: Path) -> Iterator[int]:
    process = Process([str(word) for word in argv], log)
    try:
        yield process.pid
    finally:
        process.stop(5)


@contextmanager
def _naive(stage: Stage, folder: Path, upstream: int) -> Iterator[tuple[int, int]]:
    port, keys = free_port(), folder / "jwks.json"
    keys.write_bytes(jwks_document(stage.issuer.key))
    argv = [
        *(sys.executable, "-m", "bench.naive", port, stage.certificate, upstream, stage.ca_file),
        *(stage.issuer.url, stage.issuer.client_id, keys, stage.token_file),
    ]
    with _process(argv, folder / "naive.log") as pid:
        yield port, pid


@contextmanager
def _ours(stage: Stage, folder: Path, upstream: int, *flags: str) -> Iterator[tuple[int, int]]:
    serve = Serve(
        folder,
        f"--oidc-issuer-url={stage.issuer.url}",
        f"--oidc-client-id={stage.issuer.client_id}",
        f"--oidc-ca-file={stage.issuer.ca_file}",
        f"--upstream=https://127.0.0.1:{upstream}",
        f"--upstream-ca-file={stage.ca_file}",
        f"--upstream-token-file={stage.token_file}",
        "--shutdown-grace=1s",
        *flags,
    )
    with _read_as_it_comes(serve.log), serve:
        yield serve.port, serve.pid


@contextmanager
def _bare(stage: Stage, folder: Path, upstream: int) -> Iterator[tuple[int, int]]:
    port = free_port()
    argv = [
        *(sys.executable, "-m", "bench.bare", port, stage.certificate, stage.key),
        *(upstream, stage.ca_file),
    ]
    with _process(argv, folder / "bare.log") as pid:
        yield port, pid


@contextmanager
def _audited(
    stage: Stage, folder: Path, upstream: int, *, policy: str
) -> Iterator[tuple[int, int]]:
    policy_file = folder / "policy.yaml"
    policy_file.write_bytes(POLICIES[policy])
    flags = (
        f"--audit-policy-file={policy_file}",
        f"--audit-log-path={folder / 'audit.log'}",
        "--audit-log-maxsize=64",
        "--audit-log-maxbackup=1",
    )
    with _ours(stage, folder, upstream, *flags) as running:
        yield running


@contextmanager
def _recording(stage: Stage, folder: Path, upstream: int) -> Iterator[tuple[int, int]]:
    flags = f"--record-sessions={folder / 'recordings'}", "--record-sessions-failure=closed"
    with _ours(stage, folder, upstream, *flags) as running:
        yield running


@contextmanager
def _read_as_it_comes(log: Path) -> Iterator[None]:
    """Make a named pipe and read it, as a container runtime reads a container's log."""
    os.mkfifo(log)
    with log.with_suffix(".read").open("wb") as kept:
        reader = subprocess.Popen(["cat", log], stdout=kept, start_new_session=True)
    try:
        yield
    finally:
        reader.terminate()
        reader.wait()


SUBJECTS: Final[dict[str, Start]] = {
    DIRECT: _direct,
    "nginx": _nginx,
    "envoy": _envoy,
    "naive": _naive,
    BARE: _bare,
    OURS: _ours,
}

# This proxy with something on that costs, each in a part of its own, beside it as it ships.
WITH_MORE: Final[dict[str, Start]] = {
    **{name: partial(_audited, policy=policy) for name, policy in AUDITED.items()},
    RECORDING: _recording,
}
