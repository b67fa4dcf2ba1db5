"""Every input that ever failed a fuzz target, and every seed, goes through it: no fuzzer needed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz.targets import CORPUS, FOLDER, REGRESSIONS, TARGETS

INPUTS = sorted(path for folder in (CORPUS, REGRESSIONS) for path in folder.glob("*/*"))


@pytest.mark.parametrize("path", INPUTS, ids=lambda path: str(path.relative_to(FOLDER)))
def test_an_input_passes_its_target(path: Path) -> None:
    TARGETS[path.parent.name].run(path.read_bytes())


def test_every_target_begins_from_something() -> None:
    assert {path.parent.name for path in INPUTS if path.is_relative_to(CORPUS)} == set(TARGETS)
