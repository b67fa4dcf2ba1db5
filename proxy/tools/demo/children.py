"""Programs that the demo starts: each in a process group of its own, none of them left behind.

Ctrl-C on a terminal so reaches the demo alone, which stops its programs in order. Should the demo
itself be killed, a guard notices (its end of a pipe closes) and kills the group.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from asyncio.subprocess import DEVNULL, PIPE, STDOUT, Process
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from proxy.tools.demo.failure import DemoError

START_TIMEOUT: Final = 60.0  # seconds
GRACE: Final = 5.0  # seconds from SIGTERM to SIGKILL
_OURS: Final = "HEADLAMP_AUTH_PROXY_"  # settings meant for another proxy than the demo's

Argv = Sequence[str | Path]


@dataclass(frozen=True, slots=True)
class Child:
    """A running program whose output goes to a file."""

    name: str
    process: Process
    log: Path

    async def until(self, ready: Callable[[], Awaitable[bool]]) -> None:
        """Wait for ``ready``. Raises DemoError if the program ends or takes too long."""
        try:
            async with asyncio.timeout(START_TIMEOUT):
                while not await ready():
                    if self.process.returncode is not None:
                        raise self.ended()
                    await asyncio.sleep(0.05)
        except TimeoutError as error:
            raise DemoError(f"{self.name} was not ready in time:\n{self._last_words()}") from error

    def ended(self) -> DemoError:
        status = self.process.returncode
        return DemoError(f"{self.name} has ended with status {status}:\n{self._last_words()}")

    def _last_words(self) -> str:
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join(f"  {line}" for line in lines[-5:])


def environment() -> Mapping[str, str]:
    """Return what the demo's programs inherit."""
    return {name: value for name, value in os.environ.items() if not name.startswith(_OURS)}


@contextlib.asynccontextmanager
async def running(argv: Argv, log: Path) -> AsyncIterator[Child]:
    """Run a program until the end of the context."""
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *argv,
            stdin=DEVNULL,
            stdout=output,
            stderr=STDOUT,
            start_new_session=True,
            env=environment(),
        )
    try:
        async with _guarded(process):
            try:
                yield Child(Path(argv[0]).name, process, log)
            finally:
                await stop(process)
    finally:
        await stop(process)  # where there was no time for a guard


@contextlib.asynccontextmanager
async def _guarded(process: Process) -> AsyncIterator[None]:
    guard = await asyncio.create_subprocess_exec(
        *("/bin/sh", "-c", f"read -r _; kill -9 -{process.pid}"),
        stdin=PIPE,
        stderr=DEVNULL,
        start_new_session=True,
    )
    try:
        yield
    finally:
        guard.kill()
        await guard.wait()


async def stop(process: Process) -> None:
    """End a program and what it has started, kindly at first; may be called twice."""
    if process.returncode is not None:
        return
    _signal(process, signal.SIGTERM)
    try:
        await asyncio.wait_for(process.wait(), GRACE)
    except TimeoutError:
        _signal(process, signal.SIGKILL)
        await process.wait()


def _signal(process: Process, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)


async def output_of(argv: Argv, text: str = "") -> str:
    """Return what a short-lived program prints. Raises DemoError with its words if it fails."""
    process = await asyncio.create_subprocess_exec(
        *argv, stdin=PIPE, stdout=PIPE, stderr=PIPE, start_new_session=True, env=environment()
    )
    try:
        out, err = await process.communicate(text.encode())
    finally:
        await stop(process)
    if process.returncode != 0:
        words = err.decode(errors="replace").strip()
        raise DemoError(f"{Path(argv[0]).name} failed with status {process.returncode}: {words}")
    return out.decode()
