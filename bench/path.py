"""What a request costs from the client's bytes to the API server's and back, without a socket.

The real listener, gate, exchange, pool, metrics and access log; only the two transports are not:
they remember the last that was written. So this is the proxy's own work, apart from TLS, the event
loop and the kernel, and it can be counted in instructions, which are the same in every run.

.venv/bin/python -m bench.path                 microseconds of CPU
.venv/bin/python -m bench.path --instructions  instructions, counted by valgrind (a minute)
.venv/bin/python -m bench.path --calls         Python's and C's function calls
.venv/bin/python -m bench.path --audit         what a Metadata audit log adds, its writer included;
                                               with --instructions likewise in those, of user space
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import gc
import os
import pstats
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

import uvloop

from bench.parts import ISSUER, _Keys
from proxy.audit.log_file import LogFile, Rotation
from proxy.audit.observer import AuditObserver
from proxy.audit.policy_file import parse_policy
from proxy.authn.authenticator import Authenticator, TrustedIssuer
from proxy.authn.cache import TokenCache
from proxy.authn.mapping import ClaimMapping
from proxy.authn.verifier import TokenRules
from proxy.credentials.credential import from_files
from proxy.gate import Gate
from proxy.headers import RequestHeaders
from proxy.http.listener import ClientConnection, Listener
from proxy.http.pool import MAX_IDLE, Pool
from proxy.http.service import Admission, Service
from proxy.http.tls_transport import Buffers
from proxy.http.upstream import UpstreamConnection
from proxy.impersonation import Policy
from proxy.limits import MAX_REQUESTS_PER_USER, MAX_STREAMS_PER_USER, Tally
from proxy.observe.access_log import AccessLog
from proxy.observe.log_writer import LogWriter
from proxy.observe.metrics import Metrics
from proxy.observe.requests import RequestObserver
from proxy.observe.together import AT_ONCE, BatchObserver, Together
from proxy.reviews.client import Reviewer
from proxy.reviews.self_check import SelfCheck, WithheldCredential
from tests.authn.tokens import NOWHERE
from tests.issuer import rsa_key, tsidp_claims

TOKEN = rsa_key().token(tsidp_claims(ISSUER, groups=["a", "b", "c"]) | {"exp": 2**32}).encode()
WRK: Final = (
    b"GET /api/v1/namespaces/default/pods?limit=500 HTTP/1.1\r\nHost: 127.0.0.1:6443\r\n"
    b"Authorization: Bearer " + TOKEN + b"\r\nAccept: application/json\r\n\r\n"
)
HEADLAMP: Final = (
    b"GET /api/v1/namespaces/default/pods?limit=500 HTTP/1.1\r\nHost: 127.0.0.1:6443\r\n"
    b"User-Agent: Headlamp 0.45.0 (linux/amd64)\r\nAccept: application/json\r\n"
    b"Accept-Encoding: gzip\r\nAuthorization: Bearer " + TOKEN + b"\r\n"
    b"Cookie: headlamp-auth-main.0=" + TOKEN + b"\r\nReferer: https://headlamp.example/\r\n"
    b"X-Forwarded-For: 10.0.0.1\r\nX-Forwarded-Host: headlamp.example\r\n\r\n"
)
ANSWER: Final = (
    b"HTTP/1.1 200 OK\r\nAudit-Id: 6a1f8a9e-7a53-4f1c-a1ad-3d1f5b1b6b1e\r\n"
    b"Cache-Control: no-cache, private\r\nContent-Type: application/json\r\n"
    b"X-Kubernetes-Pf-Flowschema-Uid: 3f9e\r\nX-Kubernetes-Pf-Prioritylevel-Uid: 7c1d\r\n"
    b"Date: Tue, 24 Nov 2026 00:00:00 GMT\r\nContent-Length: 400\r\n\r\n" + b"x" * 400
)
_POLICY: Final = b"apiVersion: audit.k8s.io/v1\nkind: Policy\n"
# A policy of the length of those that are in use: what is asked here matches its last rule.
_RULES: Final = b"".join(
    b"- {level: None, users: ['system:u%d'], verbs: [watch], "
    b"resources: [{group: '', resources: [endpoints, services]}]}\n"
    b"- {level: Metadata, resources: [{group: g%d.example, resources: [a, b/status]}]}\n" % (n, n)
    for n in range(10)
)
POLICIES: Final = {
    "nothing": b"",
    "ResponseComplete": _POLICY + b"omitStages: [RequestReceived]\nrules: [{level: Metadata}]\n",
    "all stages": _POLICY + b"rules: [{level: Metadata}]\n",
    "all stages, twenty rules before": _POLICY + b"rules:\n" + _RULES + b"- {level: Metadata}\n",
}
REQUESTS: Final = {"wrk's": WRK, "Headlamp's": HEADLAMP}


class Transport(asyncio.Transport):
    """Takes everything at once, and remembers the last."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""

    def write(self, data: Any) -> None:
        self.written = data

    def is_closing(self) -> bool:
        return False

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None: ...

    def get_write_buffer_size(self) -> int:
        return 0


class Joined:
    """One client connection and one to the API server, joined by everything in between."""

    def __init__(self, folder: Path, policy_file: bytes = b"") -> None:
        (folder / "token").write_text("x" * 1000)
        metrics = Metrics("bench")
        credential = from_files(folder / "token", None)
        rules = TokenRules(ISSUER, frozenset([str(tsidp_claims(ISSUER)["aud"])]))
        mapping = ClaimMapping("email", groups_claims=("tags", "groups"))
        authenticator = Authenticator([TrustedIssuer(rules, mapping, _Keys(), NOWHERE)])
        policy = Policy("headlamp-auth-proxy:authenticated")
        cache: TokenCache[Admission] = TokenCache()
        unasked: Reviewer = None  # type: ignore[assignment]
        self.writers = [LogWriter(os.open(os.devnull, os.O_WRONLY))]
        observers: list[BatchObserver] = [RequestObserver(metrics, AccessLog(self.writers[0]))]
        if policy_file:
            self.writers.append(LogFile(folder / "audit.log", Rotation(64 << 20, 0, 1)))
            self.writers[1].on_write = partial(metrics.audit_written, "log")
            observers.append(AuditObserver(parse_policy(policy_file)[0], self.writers[1:]))
        context = credential.ssl_context()
        self.pool = Pool(
            "upstream", 443, server_name="upstream", settings=credential, buffers=Buffers()
        )
        self.pool._context = context
        service = Service(
            gate=Gate(authenticator, cache, policy, metrics),
            credential=WithheldCredential(credential, SelfCheck(unasked, policy)),
            pool=self.pool,
            authority=b"10.96.0.1",
            headers=RequestHeaders(),
            observer=Together(observers),
            streams=Tally(MAX_STREAMS_PER_USER),
            requests=Tally(MAX_REQUESTS_PER_USER),
        )
        arrived = Listener(service).arrive("127.0.0.1")
        assert arrived is not None
        self.client: ClientConnection = arrived
        self.down, self.up = Transport(), Transport()
        self.client.connection_made(self.down)
        self.upstream = UpstreamConnection(self.pool._forget, self.pool._heads.read)
        self.upstream.connection_made(self.up)
        self.upstream.tls = context
        self.upstream.opened_at = now = asyncio.get_running_loop().time()
        self.upstream.usable_until = now + MAX_IDLE
        self.pool._open.add(self.upstream)
        self.pool._idle.append(self.upstream)

    def check(self, request: bytes) -> None:
        """Convince oneself that a request goes all the way."""
        self.client.data_received(request)
        assert b"Impersonate-User: alice@example.com\r\n" in self.up.written, self.up.written
        self.upstream.data_received(ANSWER)
        assert self.down.written.endswith(ANSWER[-400:]), self.down.written
        assert self.client.exchange is None

    def send(self, request: bytes, times: int) -> None:
        received, answered = self.client.data_received, self.upstream.data_received
        for _ in range(times):
            received(request)
            answered(ANSWER)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--instructions", action="store_true")
    parser.add_argument("--calls", action="store_true")
    parser.add_argument("--audit", action="store_true")
    parser.add_argument("--run", nargs=3, metavar=("WHOSE", "TIMES", "POLICY"), help="only that")
    options = parser.parse_args()
    if options.run:
        whose, times, name = options.run
        counted = partial(
            _send_counted, request=REQUESTS[whose], times=int(times), writing=options.audit
        )
        _in_loop(counted, POLICIES[name])
    for whose, request in REQUESTS.items():
        if options.audit:
            _print_audited(whose, request, instructions=options.instructions)
        elif options.instructions:
            sys.stdout.write(f"{whose:12}{_instructions(whose):10.0f} instructions\n")
        elif options.calls:
            _in_loop(partial(_print_calls, request=request))
        else:
            microseconds = _in_loop(partial(_seconds, request=request)) * 1e6
            sys.stdout.write(f"{whose:12}{microseconds:8.2f} us\n")
    return 0


def _in_loop(work: Callable[[Joined], float], policy_file: bytes = b"") -> float:
    async def run(folder: Path) -> float:
        path = Joined(folder, policy_file)
        for request in REQUESTS.values():
            path.check(request)
        path.send(WRK, 100)  # until everything is specialised and cached
        path.send(HEADLAMP, 100)
        try:
            return work(path)
        finally:
            for writer in path.writers:
                writer.close()

    with tempfile.TemporaryDirectory() as folder:
        return asyncio.Runner(loop_factory=uvloop.new_event_loop).run(run(Path(folder)))


def _seconds(path: Joined, request: bytes) -> float:
    """Return the best of many short runs: the others were disturbed."""
    return _best(path, request, number=6 * AT_ONCE, runs=200, clock=time.thread_time)


def _print_audited(whose: str, request: bytes, *, instructions: bool) -> None:
    """Print what each policy adds to a request of which nothing is audited."""
    if instructions:
        best = {name: _instructions(whose, name, "--audit") for name in POLICIES}
    else:
        best = _best_by_policy(request)
    unit = "instructions" if instructions else "us"
    without = best["nothing"]
    for name, cost in best.items():
        sys.stdout.write(f"{whose:12}{name:34}{cost:10.2f} {unit}  {cost - without:+10.2f}\n")


def _best_by_policy(request: bytes) -> dict[str, float]:
    """Return microseconds by policy, taken in turn, the best of 3."""
    best = dict.fromkeys(POLICIES, float("inf"))
    for _ in range(3):
        for name, policy_file in POLICIES.items():
            took = _in_loop(partial(_process_seconds, request=request), policy_file) * 1e6
            best[name] = min(best[name], took)
    return best


def _process_seconds(path: Joined, request: bytes) -> float:
    """Return the best of a few runs in CPU of all threads; each writes what it has collected."""
    return _best(path, request, number=32 * AT_ONCE, runs=10, clock=time.process_time)


def _best(
    path: Joined, request: bytes, *, number: int, runs: int, clock: Callable[[], float]
) -> float:
    """Return the seconds of ``clock`` for one of ``number`` requests, in the best of ``runs``."""
    best = float("inf")
    gc.collect()
    for _ in range(runs):
        began = clock()
        path.send(request, number)
        best = min(best, clock() - began)
    return best / number


def _print_calls(path: Joined, request: bytes) -> float:
    number = 32 * AT_ONCE
    profile = cProfile.Profile()
    profile.enable()
    path.send(request, number)
    profile.disable()
    statistics = pstats.Stats(profile)
    total = statistics.total_calls  # type: ignore[attr-defined]
    sys.stdout.write(f"{total / number:.1f} calls\n")
    statistics.sort_stats("calls").print_stats(60)
    return 0


def _instructions(whose: str, policy: str = "nothing", *options: str) -> float:
    """Count from the moment at which all has been started and warmed up."""
    times = 32 * AT_ONCE
    with tempfile.TemporaryDirectory() as folder:
        run = subprocess.run(
            [
                *("valgrind", "--tool=callgrind", f"--callgrind-out-file={folder}/out"),
                *(sys.executable, "-m", "bench.path", *options, "--run", whose, str(times), policy),
            ],
            capture_output=True,
            text=True,
            check=True,
            env=os.environ | {"PYTHONHASHSEED": "0"},
        )
    return int(re.search(r"Collected : (\d+)", run.stderr)[1]) / times  # type: ignore[index]


def _send_counted(path: Joined, request: bytes, times: int, *, writing: bool) -> float:
    """Send where ``_instructions`` counts: what was counted until here is put to zero.

    With ``writing``, what the writers' threads would do for it is done at the end, all at once.
    """
    for writer in path.writers:
        writer.close()  # its thread would count too, and wait
        writer._fd = os.open(os.devnull, os.O_WRONLY)
    subprocess.run(["callgrind_control", "--zero", str(os.getpid())], check=True)
    path.send(request, times)
    for writer in path.writers if writing else ():
        writer._flush()
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
