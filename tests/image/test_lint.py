"""What ships and releases the program is free of what its linters know to be wrong."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(("hadolint", "Dockerfile"), id="Dockerfile"),
        pytest.param(("zizmor", "--offline", "--no-progress", ".github/workflows"), id="workflows"),
    ],
)
def test_the_linter_finds_nothing(command: tuple[str, ...]) -> None:
    linter = Path(sys.executable).with_name(command[0])
    if not linter.exists():
        pytest.skip(f"no {command[0]} beside {sys.executable}")
    done = subprocess.run([linter, *command[1:]], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
