"""The clock is stepped, as NTP or a suspended machine does it.

libfaketime stands between the program and the wall clock; the monotonic clock is the real one,
as in a real step. Debian: apt-get install libfaketime.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.conftest import Stage, reason, token
from tests.faults.test_api_server import asked

HOUR = 3600
LIBRARIES = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not LIBRARIES, reason="no libfaketime (apt-get install libfaketime)"),
]


@pytest.fixture
def step(tmp_path: Path) -> tuple[dict[str, str], Callable[[int], None]]:
    """An environment, and how to set the clock of whoever runs in it, in seconds from the truth."""
    offset = tmp_path / "offset"

    def to(seconds: int) -> None:
        fresh = tmp_path / "offset.new"
        fresh.write_text(f"{seconds:+d}s\n")
        fresh.replace(offset)

    to(0)
    return {
        "LD_PRELOAD": str(LIBRARIES[0]),
        "FAKETIME_TIMESTAMP_FILE": str(offset),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "DONT_FAKE_MONOTONIC": "1",
    }, to


@pytest.mark.parametrize(
    ("seconds", "word"), [(HOUR, "token_expired"), (-HOUR, "token_not_yet_valid")]
)
def test_tokens_are_judged_by_the_clock_as_it_is_now_and_streams_stay(
    stage: Stage,
    step: tuple[dict[str, str], Callable[[int], None]],
    seconds: int,
    word: str,
) -> None:
    env, step_to = step
    with stage.serve(env=env) as serve:
        serve.wait_ready()
        known = token()
        assert serve.get("/version", known)[0] == 200
        with asked(serve, "/api/v1/pods?watch=true", "bob@example.com") as watch:
            feed = stage.api.opened()
            step_to(seconds)
            fresh = token("carol@example.com")
            assert reason(serve.get("/version", fresh)) == (401, word)
            then = token("carol@example.com", age=-seconds)
            assert serve.get("/version", then)[1]["user"] == "carol@example.com"
            # What was verified before stays so for five minutes at most, and never past its end.
            assert reason(serve.get("/version", known))[0] == (401 if seconds > 0 else 200)
            stage.token_file.write_text("rotated")  # is looked at though the clock was set back
            serve.wait_until(
                lambda: serve.get("/version", then)[1]["bearer"] == "Bearer rotated", "rotated"
            )
            step_to(0)
            assert serve.get("/version", fresh)[1]["user"] == "carol@example.com"
            feed.send(b"still here\n")
            assert watch.readline() == b"still here\n"
            feed.end()
