"""CPU per request and memory, beside nginx passing bytes through, in one run on one machine.

    make bench

An nginx serves small files over TLS, as the API server would; wrk asks for them through nginx (a
plain reverse proxy, TLS in and TLS out) and through this proxy (which besides verifies the token,
writes the identity, counts and logs), in turn, several rounds. CPU is the kernel's account of the
proxy's processes, so what wrk and the upstream use does not count. Medians; only the ratios mean
anything, because machines differ.

Needs nginx and wrk (Debian: apt-get install nginx-light wrk).
"""

from __future__ import annotations

import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import trustme

from tests.issuer import jwks_document, rsa_key, tsidp_claims
from tests.process import Process, free_port
from tests.serving import Serve

SIZES = (400, 10_240)  # bytes of an answer
CONNECTIONS = 32
SECONDS = 4
ROUNDS = 3
ISSUER = "https://idp.tail1234.ts.net"
_TICKS = os.sysconf("SC_CLK_TCK")

NGINX = """
daemon off; worker_processes 1; pid {folder}/{name}.pid; error_log {folder}/{name}.err;
events {{ worker_connections 4096; }}
http {{
  access_log off; keepalive_requests 100000000;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  {extra}
  server {{
    listen 127.0.0.1:{port} ssl;
    ssl_certificate {folder}/tls.crt; ssl_certificate_key {folder}/tls.key;
    {server}
  }}
}}
"""
PASS_THROUGH = """
    location / {
      proxy_pass https://upstream; proxy_http_version 1.1; proxy_set_header Connection "";
    }
"""


@dataclass
class Subject:
    """A proxy under measurement; ``pid`` is its working process."""

    name: str
    port: int
    pid: int
    cpu: dict[int, list[float]] = field(default_factory=dict)  # size -> us per request
    rate: dict[int, list[float]] = field(default_factory=dict)  # size -> requests per second


def main() -> int:
    missing = [tool for tool in ("nginx", "wrk") if shutil.which(tool) is None]
    if missing:
        sys.stderr.write(f"not found: {', '.join(missing)}; apt-get install nginx-light wrk\n")
        return 2
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        upstream = _prepare(folder)
        stack.enter_context(_nginx(folder, "upstream", upstream, f"root {folder}/www;"))
        subjects = list(_subjects(stack, folder, upstream))
        token = rsa_key().token(tsidp_claims(ISSUER, groups=["a", "b", "c"]) | {"exp": 2**32})
        for _ in range(ROUNDS):
            for size in SIZES:
                for subject in subjects:
                    _measure(subject, size, token)
        _report(subjects)
    return 0


def _prepare(folder: Path) -> int:
    ca = trustme.CA()
    issued = ca.issue_cert("127.0.0.1", "localhost")
    ca.cert_pem.write_to_path(folder / "ca.crt")
    issued.private_key_pem.write_to_path(folder / "tls.key")
    issued.cert_chain_pems[0].write_to_path(folder / "tls.crt")
    (folder / "jwks.json").write_bytes(jwks_document(rsa_key()))
    (folder / "token").write_text("x" * 1000)
    (folder / "www").mkdir()
    for size in SIZES:
        (folder / "www" / str(size)).write_bytes(b"x" * size)
    folder.chmod(0o755)  # nginx's worker is another user
    return free_port()


def _subjects(stack: ExitStack, folder: Path, upstream: int) -> Iterator[Subject]:
    port = free_port()
    extra = f"upstream upstream {{ server 127.0.0.1:{upstream}; keepalive 64; }}"
    worker = stack.enter_context(_nginx(folder, "passing", port, PASS_THROUGH, extra))
    yield Subject("nginx", port, worker)
    serve = Serve(
        folder,
        f"--oidc-issuer-url={ISSUER}",
        f"--oidc-client-id={tsidp_claims(ISSUER)['aud']}",
        f"--oidc-jwks-file={folder / 'jwks.json'}",
        f"--upstream=https://127.0.0.1:{upstream}",
        f"--upstream-ca-file={folder / 'ca.crt'}",
        f"--upstream-token-file={folder / 'token'}",
    )
    stack.enter_context(serve).wait_ready()
    yield Subject("headlamp-auth-proxy", serve.port, serve.pid)


@contextmanager
def _nginx(folder: Path, name: str, port: int, server: str, extra: str = "") -> Iterator[int]:
    """Run an nginx with one worker; yield the worker's process id."""
    config = folder / f"{name}.conf"
    config.write_text(NGINX.format(folder=folder, name=name, port=port, server=server, extra=extra))
    process = Process(["nginx", "-c", str(config)], folder / f"{name}.log")
    try:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        _await(lambda: bool(children.read_text().split()), process)
        yield int(children.read_text().split()[0])
    finally:
        process.stop(5)


def _await(condition: Callable[[], bool], process: Process) -> None:
    while not condition():
        process.raise_if_exited()
        time.sleep(0.02)


def _measure(subject: Subject, size: int, token: str) -> None:
    before = _cpu_seconds(subject.pid)
    run = subprocess.run(
        [
            *("wrk", "-t1", f"-c{CONNECTIONS}", f"-d{SECONDS}s"),
            *("-H", f"Authorization: Bearer {token}", "-H", "Accept: application/json"),
            f"https://127.0.0.1:{subject.port}/{size}",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    if failed := re.search(r"Non-2xx.*|Socket errors.*", run.stdout):
        raise SystemExit(f"{subject.name}: {failed[0]}")
    requests = int(re.search(r"(\d+) requests in", run.stdout)[1])  # type: ignore[index]
    used = _cpu_seconds(subject.pid) - before
    subject.cpu.setdefault(size, []).append(used / requests * 1e6)
    subject.rate.setdefault(size, []).append(requests / SECONDS)


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def _resident_megabytes(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024  # type: ignore[index]


def _report(subjects: list[Subject]) -> None:
    floor = subjects[0]
    lines = [
        f"{CONNECTIONS} connections, TLS in and out, medians of {ROUNDS} rounds of {SECONDS} s",
        f"{'':22}{'answer':>9}{'CPU/request':>14}{'ratio':>8}{'requests/s':>12}{'resident':>11}",
    ]
    for size in SIZES:
        least = statistics.median(floor.cpu[size])
        for subject in subjects:
            cpu = statistics.median(subject.cpu[size])
            rate = statistics.median(subject.rate[size])
            lines.append(
                f"{subject.name:22}{size:>7} B{cpu:>11.1f} us{cpu / least:>8.2f}{rate:>12.0f}"
                f"{_resident_megabytes(subject.pid):>8.1f} MB"
            )
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    sys.exit(main())
