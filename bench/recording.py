"""Does reading a session, or recording it, delay what it prints? A thousand frames a second.

The upstream writes a frame each millisecond and puts the time into it; the client, on the same
clock, says how old each is. The ways take turns: without any proxy; through one, by an upgrade that
is no session (unread); an exec (read); an exec that must be recorded (recorded).
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from typing import Final

from bench.client import Connection, percentiles
from bench.client import run as run_client
from bench.long import upstream
from bench.record import Figures
from bench.run import Run
from bench.subjects import DIRECT, OURS, RECORDING, Subject

PER_SECOND: Final = 1000
_CASE: Final = f"{PER_SECOND} frames a second"
_NEW: Final = PER_SECOND // 5  # frames at the beginning that do not count: what is new is slow
_EXEC: Final = "/api/v1/namespaces/default/pods/p/exec?command=sh&stdout=true"
_NO_SESSION: Final = "/api/v1/namespaces/default/pods/p/proxy/exec"
_PROTOCOL: Final = "v5.channel.k8s.io"


def measure(run: Run) -> None:
    with ExitStack() as stack:
        port, _control = stack.enter_context(upstream(run.stage))
        subjects = run.start_all(stack, port, names=(DIRECT, OURS, RECORDING))
        ways = [way for subject in subjects for way in _ways(subject)]
        for _ in range(run.rounds + 1):
            for subject, path in ways:
                figures = run.attempt(
                    f"recording: {subject.name}", partial(_printed, run, subject, path)
                )
                run.add("recording", _CASE, subject, figures)


def _ways(subject: Subject) -> list[tuple[Subject, str]]:
    """Return what to ask of a subject, which is then called as its way is."""
    if subject.name != OURS:
        return [(subject, _EXEC)]
    return [(replace(subject, name="unread"), _NO_SESSION), (replace(subject, name="read"), _EXEC)]


def _printed(run: Run, subject: Subject, path: str) -> Figures:
    return run_client(_delays(subject, path, run.stage.tokens(1)[0], run.seconds * PER_SECOND))


async def _delays(subject: Subject, path: str, token: str, frames: int) -> Figures:
    connection = await Connection.open(subject.port)
    try:
        await connection.tunnel(token, path, f"Sec-WebSocket-Protocol: {_PROTOCOL}")
        delays = await connection.paced(frames, 1 / PER_SECOND)
    finally:
        connection.close()
    return percentiles([delay / 1e9 for delay in delays[_NEW:]])
