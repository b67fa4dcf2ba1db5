"""Where the programs are that tests against a real cluster start: found, never built here."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

BUILD = Path(__file__).parent.parent / "build"


def find(module: str) -> Path | None:
    """The folder that holds the programs of `tests/<module>`, or None where they were not built."""
    run = subprocess.run([BUILD, "--print", module], stdout=subprocess.PIPE, text=True, check=True)
    folder = run.stdout.strip()
    return Path(folder) if folder else None


def require(module: str) -> Path:
    """The same for a test or fixture, which skips without, or fails with TEST_REQUIRE_REAL=1."""
    folder = find(module)
    if folder is not None:
        return folder
    reason = f"the programs of tests/{module} were never built: run `make test-real`"
    if os.environ.get("TEST_REQUIRE_REAL") == "1":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)
