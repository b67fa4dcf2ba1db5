"""No program of the tests outlives them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.process import Process

# The pipe reaches its end only when the shell and its `sleep` are both gone.
STUBBORN = "trap '' TERM; exec 3>{}; echo ready >&3; sleep 600; :"


@pytest.fixture
def fifo(tmp_path: Path) -> Path:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    return path


def test_a_program_that_ignores_sigterm_is_killed_with_its_children(fifo: Path) -> None:
    process = Process(["/bin/sh", "-c", STUBBORN.format(fifo)], fifo.with_name("log"))
    with fifo.open() as pipe:
        assert pipe.readline() == "ready\n"
        process.stop(grace=0.2)
        assert pipe.read() == ""
    with pytest.raises(RuntimeError, match="sh exited with status -9"):
        process.raise_if_exited()


PARENT = """
import pathlib, sys
from tests.process import Process

program = Process(["/bin/sh", "-c", sys.argv[1]], pathlib.Path(sys.argv[2]))
print("started", flush=True)
sys.stdin.read()
"""


def test_a_program_dies_when_its_parent_is_killed(fifo: Path) -> None:
    with (
        subprocess.Popen(
            [sys.executable, "-c", PARENT, STUBBORN.format(fifo), fifo.with_name("log")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=Path(__file__).parents[2],
        ) as parent,
        fifo.open() as pipe,
    ):
        assert pipe.readline() == "ready\n"
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"started\n"
        parent.kill()
        assert pipe.read() == ""
