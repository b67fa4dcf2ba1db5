"""Compiled or as written, the program says the same to everybody, byte for byte."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.forms import ROOT


@pytest.mark.compiled(reason="there is one form here")
def test_both_forms_say_the_same_in_every_conversation() -> None:
    runs = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.http.played", *options],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        for options in ([], ["--as-written"])
    ]
    (compiled, *found), (written, *expected) = (run.communicate()[0].splitlines() for run in runs)
    assert [run.returncode for run in runs] == [0, 0]
    assert (compiled, written) == ("compiled", "as written")
    assert len(found) == len(expected) > 500
    for was, should_be in zip(found, expected, strict=True):
        assert was == should_be
