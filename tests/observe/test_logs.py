"""Logs as they arrive at the other end of standard error."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from proxy.observe.log_writer import LogWriter
from proxy.observe.logs import JsonHandler, Timestamps
from tests.observe.conftest import Reader


@pytest.fixture
def log(writer: LogWriter) -> Iterator[logging.Logger]:
    logger = logging.getLogger("tests.observe.logs")
    handler = JsonHandler(writer)
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    yield logger
    logger.removeHandler(handler)


def test_a_record_is_one_line_with_its_fields(log: logging.Logger, reader: Reader) -> None:
    log.warning("keys of %s are stale", "https://idp", extra={"age_seconds": 90, "hosts": ["a"]})
    (line,) = reader.finish()
    fields = json.loads(line)
    assert fields.pop("ts").endswith("Z")
    assert fields == {
        "level": "warning",
        "logger": "tests.observe.logs",
        "event": "keys of https://idp are stale",
        "age_seconds": 90,
        "hosts": ["a"],
    }


def test_nothing_a_client_sends_can_forge_a_line(log: logging.Logger, reader: Reader) -> None:
    hostile = 'a\r\nb\x00\x1b[31m\x7f\x85\u2028\u202e\ud800"}{'
    log.info("%s", hostile, extra={"user": hostile, hostile: 1})
    (line,) = reader.finish()
    assert line.isascii()
    assert line.replace("\x7f", "").isprintable()
    assert json.loads(line)["user"] == hostile


def test_an_exception_is_one_line_with_stack_and_causes(
    log: logging.Logger, reader: Reader
) -> None:
    def inner() -> None:
        raise ValueError("two\nlines")

    try:
        try:
            inner()
        except ValueError as cause:
            raise KeyError("outer") from cause
    except KeyError:
        log.exception("it failed")
    (line,) = reader.finish()
    error = json.loads(line)["error"]
    assert error.startswith("KeyError: 'outer' [test_logs.py:")
    assert " caused by ValueError: two\nlines [test_logs.py:" in error
    assert "inner < test_logs.py:" in error


def test_an_exception_without_a_stack_is_still_named(log: logging.Logger, reader: Reader) -> None:
    log.error("it failed", exc_info=OSError(28, "No space left on device"))
    (line,) = reader.finish()
    assert json.loads(line)["error"] == "OSError: [Errno 28] No space left on device []"


def test_tokens_are_masked_in_every_field(log: logging.Logger, reader: Reader) -> None:
    token = "eyJhbGciOiJSUzI1NiJ9.eyJlbWFpbCI6ImFsaWNlIn0.c2lnbmF0dXJl"
    log.error("%s", token, extra={"a": [token]}, exc_info=ValueError(f"Bearer {token}"))
    (line,) = reader.finish()
    assert "eyJ" not in line
    assert json.loads(line)["error"] == "ValueError: Bearer [redacted] []"


class Unprintable:
    def __repr__(self) -> str:
        raise RuntimeError("no")


@pytest.mark.parametrize(
    ("message", "args", "extra"),
    [
        ("%d", ("x",), {}),
        ("%s", (), {"a": {b"key": 1}}),
        ("%s", (Unprintable(),), {}),
    ],
    ids=["wrong format", "not JSON", "no repr"],
)
def test_a_record_that_cannot_be_formatted_says_so_and_raises_nothing(
    writer: LogWriter, reader: Reader, message: str, args: tuple[Any, ...], extra: dict[str, Any]
) -> None:
    fields = {"name": "tests", "msg": message, "args": args, **extra}
    JsonHandler(writer).handle(logging.makeLogRecord(fields))
    (line,) = reader.finish()
    assert json.loads(line)["event"].startswith("a log record could not be formatted: ")


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        (0.0, "1970-01-01T00:00:00.000Z"),
        (1796000000.9996, "2026-11-30T00:53:20.999Z"),
        (1796000000.0, "2026-11-30T00:53:20.000Z"),
        (1796000001.5, "2026-11-30T00:53:21.500Z"),
    ],
)
def test_timestamps_are_utc_to_the_millisecond(now: float, expected: str) -> None:
    timestamps = Timestamps()
    assert timestamps.format(now) == expected
    assert timestamps.format(now) == expected


PROGRAM = """
import logging, sys, warnings
from proxy.observe.logs import setup
setup("INFO")
logging.getLogger("a").debug("not this")
logging.getLogger("a").info("this")
warnings.warn("beware")
sys.exit(3)
"""


def test_setup_sends_everything_to_standard_error_up_to_the_exit() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, timeout=30)
    assert done.returncode == 3
    assert done.stdout == b""
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert lines[0]["event"] == "this"
    assert "beware" in lines[1]["event"]
    assert [line["logger"] for line in lines] == ["a", "py.warnings"]


def test_a_process_without_standard_error_runs_and_exits_as_ever() -> None:
    command = f"exec {sys.executable} -c '{PROGRAM}' 2>&-"
    assert subprocess.run(["/bin/sh", "-c", command], timeout=30).returncode == 3


def test_a_full_disk_or_a_closed_pipe_does_not_keep_a_process_from_its_exit() -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    try:
        done = subprocess.run([sys.executable, "-c", PROGRAM], stderr=write_end, timeout=30)
    finally:
        os.close(write_end)
    assert done.returncode == 3
