"""wrk, and what it saw: the load of kept connections.

CPU and requests are taken over a window within the run, when every connection stands: handshakes
are measured by themselves elsewhere.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from bench.kernel import cpu_seconds, resident_kib
from bench.stage import Stage
from bench.subjects import Subject

SETTLING: Final = 0.5  # seconds for the handshakes, before the window
_SCRIPT: Final = """
local requests, turn = {{}}, 0
function init()
  wrk.method = "{method}"
  wrk.headers["Accept"] = "application/json"
  wrk.headers["User-Agent"] = "Headlamp 0.45.0 (linux/amd64)"
  for n = 1, {headers} do wrk.headers["X-Filler-" .. n] = "something or other" end
  if {upload} > 0 then wrk.body = string.rep("x", {upload}) end
  for token in io.lines("{tokens}") do
    wrk.headers["Authorization"] = "Bearer " .. token
    requests[#requests + 1] = wrk.format()
  end
end
function request()
  turn = turn % #requests + 1
  return requests[turn]
end
function done(summary, latency)
  local failed = summary.errors
  io.write(string.format(
    'RESULT {{"requests": %d, "bytes": %d, "failed": %d, "p50": %f, "p99": %f, "p999": %f}}\\n',
    summary.requests, summary.bytes,
    failed.connect + failed.read + failed.write + failed.status + failed.timeout,
    latency:percentile(50), latency:percentile(99), latency:percentile(99.9)))
end
"""


class Failed(Exception):
    """A run that says nothing, because not every request was answered as it should be."""


def drive(
    stage: Stage,
    subject: Subject,
    path: str,
    *,
    connections: int,
    seconds: int,
    method: str = "GET",
    big: int = 0,
    upload: int = 0,
    headers: int = 0,
    tokens: Path | None = None,
) -> dict[str, float]:
    """Return ``rate`` (requests/s), ``cpu`` (us a request) and latencies (us) of one run.

    ``big`` is the size of an answer of which few fit into a run: parts of it count as parts of a
    request. Then, and with uploads, counted is over the whole run, by wrk. Raises Failed where a
    request failed.
    """
    whole = bool(big or upload)
    with driven(
        stage, subject, path, connections=connections, seconds=seconds,
        method=method, upload=upload, headers=headers, tokens=tokens,
    ) as process:  # fmt: skip
        first = last = look(stage, subject)
        if not whole:
            time.sleep(SETTLING)
            first = look(stage, subject)
            time.sleep(seconds - 2 * SETTLING)
            last = look(stage, subject)
        seen = result(process, seconds)
        if whole:
            last = look(stage, subject)
    requests: float = max(1, last.served - first.served)
    if whole:
        requests = seen["bytes"] / big if big else seen["requests"]
    return {
        "rate": requests / (last.at - first.at),
        "cpu": (last.cpu - first.cpu) / requests * 1e6,
        **{name: seen[name] for name in ("p50", "p99", "p999") if seen["requests"]},
        "resident": last.resident,
    }


@contextmanager
def driven(
    stage: Stage,
    subject: Subject,
    path: str,
    *,
    connections: int,
    seconds: int,
    method: str = "GET",
    upload: int = 0,
    headers: int = 0,
    tokens: Path | None = None,
) -> Iterator[subprocess.Popen[str]]:
    """Have wrk send requests for so many seconds; it does not outlive what is inside."""
    script = stage.folder / "wrk.lua"
    script.write_text(
        _SCRIPT.format(
            method=method, upload=upload, headers=headers, tokens=tokens or stage.tokens_file
        )
    )
    process = subprocess.Popen(
        [
            *("wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", f"{seconds + 5}s"),
            *("-s", str(script), f"https://127.0.0.1:{subject.port}{path}"),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def result(process: subprocess.Popen[str], seconds: int) -> dict[str, float]:
    """Await the end of wrk and return what it saw. Raises Failed where a request failed."""
    try:
        output, _ = process.communicate(timeout=seconds + 20)
    except subprocess.TimeoutExpired:
        raise Failed(f"wrk did not end in {seconds + 20} s") from None
    _, found, text = output.partition("RESULT ")
    if not found:
        raise Failed(f"wrk: {output.strip()}")
    seen: dict[str, float] = json.loads(text)
    if seen["failed"] or not seen["bytes"]:
        raise Failed(f"{seen['failed']:.0f} of {seen['requests']:.0f} requests failed")
    return seen


class Look(NamedTuple):
    at: float  # seconds
    cpu: float  # seconds
    resident: float  # MiB
    served: int  # requests


def look(stage: Stage, subject: Subject) -> Look:
    cpu, resident = 0.0, 0.0
    if subject.pid:
        cpu, resident = cpu_seconds(subject.pid), resident_kib(subject.pid) / 1024
    return Look(time.monotonic(), cpu, resident, stage.served())
