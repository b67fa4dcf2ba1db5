"""A server program under test: started in a process group of its own, never left behind.

Ctrl-C on a terminal reaches pytest alone, which then stops its programs in order. Should pytest
itself be killed, a watchdog notices (its end of a pipe closes) and kills the group.
"""

from __future__ import annotations

import itertools
import os
import random
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


class Process:
    """One running program, its output appended to a log file."""

    def __init__(
        self, argv: Sequence[str | Path], log: Path, env: Mapping[str, str] | None = None
    ) -> None:
        self.name = Path(argv[0]).name
        self._log = log
        with log.open("ab") as output:
            self._program = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={**os.environ, **(env or {})},
            )
        self._watchdog = subprocess.Popen(
            ["/bin/sh", "-c", f"read -r _; kill -9 -{self._program.pid}"],
            stdin=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def raise_if_exited(self) -> None:
        """Raises RuntimeError with the end of the log where the program is no longer there."""
        status = self._program.poll()
        if status is not None:
            raise RuntimeError(f"{self.name} exited with status {status}\n{self.log_tail()}")

    def wait_until(self, condition: Callable[[], bool], what: str, timeout: float) -> None:
        """Polls, for as long as the program lives and at most `timeout` seconds."""
        deadline = time.monotonic() + timeout
        while not condition():
            self.raise_if_exited()
            if time.monotonic() > deadline:
                raise AssertionError(f"{self.name}: not {what} in time\n{self.log_tail()}")
            time.sleep(0.02)

    def log_tail(self, lines: int = 40) -> str:
        if not self._log.is_file():  # /dev/full has no end, and a pipe may never have a beginning
            return f"({self._log} cannot be read)"
        text = self._log.read_text(encoding="utf-8", errors="replace")
        return "\n".join([f"--- end of {self._log} ---", *text.splitlines()[-lines:]])

    @property
    def pid(self) -> int:
        return self._program.pid

    def kill(self) -> None:
        """SIGKILL to the whole group: what a crash of its machine is for everybody else."""
        os.killpg(self._program.pid, signal.SIGKILL)
        self.stop(0)

    def stop(self, grace: float) -> int:
        """SIGTERM, and SIGKILL to the whole group after `grace` seconds; may be called twice.

        Returns the exit status, negative for a signal.
        """
        if self._program.returncode is None:
            self._program.terminate()
            try:
                self._program.wait(grace)
            except subprocess.TimeoutExpired:
                os.killpg(self._program.pid, signal.SIGKILL)
                self._program.wait()
        # Only now, so that an interruption above leaves the watchdog on guard.
        self._watchdog.kill()
        self._watchdog.communicate()
        return self._program.returncode


# In another order in each process, whatever seed a test has given to ``random``.
_PORTS = itertools.cycle(random.SystemRandom().sample(range(20_000, 30_000), 10_000))


def free_port() -> int:
    """A loopback port that can be bound, below those that outgoing connections are given.

    Otherwise such a connection might take the port while the API server is stopped. None is given
    again before all others were: whoever asks for two may not have bound the first yet.
    """
    while True:
        port = next(_PORTS)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
