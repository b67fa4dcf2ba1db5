"""Standard error at its worst: closed, full, and never read."""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections.abc import Iterator

import pytest

from proxy.observe.log_writer import MAX_BUFFERED, LogWriter
from tests.observe.conftest import Reader


class Drops:
    """Counts what is dropped and lets a test wait for it."""

    def __init__(self) -> None:
        self.count = 0
        self._changed = threading.Condition()

    def __call__(self, count: int) -> None:
        with self._changed:
            self.count += count
            self._changed.notify_all()

    def wait_for(self, count: int) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: self.count >= count, timeout=10)


@pytest.fixture
def pipe_ends() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for end in ends:
        try:
            os.close(end)
        except OSError:
            continue


def test_lines_arrive_in_order_without_a_close(pipe_ends: tuple[int, int]) -> None:
    read_end, write_end = pipe_ends
    writer = LogWriter(write_end)
    writer.write("first")
    writer.write("second")
    assert os.read(read_end, 100) == b"first\nsecond\n"
    writer.write("third")
    assert os.read(read_end, 100) == b"third\n"
    writer.close()


def test_closing_writes_what_there_is(writer: LogWriter, reader: Reader) -> None:
    lines = [f"line {number}" for number in range(1000)]
    for line in lines:
        writer.write(line)
    assert reader.finish() == lines


def test_of_lines_that_come_together_those_that_fit_are_taken(
    writer: LogWriter, reader: Reader
) -> None:
    drops = Drops()
    writer.on_drop = drops
    writer.write("one", "two")
    writer.write("three", "x" * MAX_BUFFERED, "four")
    assert drops.count == 1
    assert reader.finish() == ["one", "two", "three", "four"]


def test_lines_that_are_written_are_counted(writer: LogWriter, reader: Reader) -> None:
    written: list[int] = []
    writer.on_write = written.append
    writer.write("one", "two")
    writer.write("three")
    reader.finish()
    assert sum(written) == 3


def test_a_reader_that_has_stopped_never_blocks_and_its_lines_are_counted(
    pipe_ends: tuple[int, int],
) -> None:
    read_end, write_end = pipe_ends
    drops = Drops()
    writer = LogWriter(write_end, max_buffered=10_000)
    writer.on_drop = drops
    began = time.monotonic()
    for _ in range(1000):
        writer.write("x" * 1000)
    assert time.monotonic() - began < 1
    assert drops.count >= 900
    closing = threading.Thread(target=writer.close)
    closing.start()
    os.close(write_end)
    with os.fdopen(os.dup(read_end), "rb") as rest:
        assert len(rest.read().splitlines()) == 1000 - drops.count
    closing.join()


def test_a_reader_that_never_comes_back_delays_the_exit_by_a_second_at_most(
    pipe_ends: tuple[int, int],
) -> None:
    writer = LogWriter(pipe_ends[1])
    writer.write("x" * 500_000)
    began = time.monotonic()
    writer.close()
    assert time.monotonic() - began < 5


def test_lines_for_a_closed_pipe_are_counted(pipe_ends: tuple[int, int]) -> None:
    read_end, write_end = pipe_ends
    os.close(read_end)
    drops = Drops()
    writer = LogWriter(write_end)
    writer.on_drop = drops
    writer.write("lost")
    assert drops.wait_for(1)
    writer.write("lost too")
    writer.close()
    assert drops.count == 2


def test_lines_for_a_full_disk_are_counted() -> None:
    drops = Drops()
    with open("/dev/full", "wb", buffering=0) as full:  # noqa: PTH123 - a device
        writer = LogWriter(full.fileno())
        writer.on_drop = drops
        for _ in range(3):
            writer.write("lost")
        writer.close()
    assert drops.count == 3


def test_a_line_that_was_cut_off_does_not_spoil_the_next(
    pipe_ends: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    read_end, write_end = pipe_ends
    drops = Drops()
    writer = LogWriter(write_end)
    writer.on_drop = drops
    really_write = os.write

    def full_after_five_bytes(fd: int, data: bytes) -> int:
        if len(data) <= 5:
            raise OSError(28, "No space left on device")
        return really_write(fd, data[:5])

    monkeypatch.setattr(os, "write", full_after_five_bytes)
    writer.write("0123456789")
    assert drops.wait_for(1)
    writer.write("x")
    assert drops.wait_for(2)
    monkeypatch.undo()
    writer.write("next")
    writer.close()
    assert os.read(read_end, 100) == b"0123456789\nnext\n"
    assert drops.count == 2


def test_a_descriptor_that_somebody_made_non_blocking_still_takes_everything(
    pipe_ends: tuple[int, int],
) -> None:
    read_end, write_end = pipe_ends
    fcntl.fcntl(write_end, fcntl.F_SETFL, os.O_NONBLOCK)
    writer = LogWriter(write_end)
    os.close(write_end)
    for _ in range(400):
        writer.write("x" * 1000)
    closing = threading.Thread(target=writer.close)
    closing.start()
    with os.fdopen(os.dup(read_end), "rb") as rest:
        assert len(rest.read().splitlines()) == 400
    closing.join()


def test_closing_the_descriptor_elsewhere_does_not_redirect_lines(
    pipe_ends: tuple[int, int],
) -> None:
    read_end, write_end = pipe_ends
    writer = LogWriter(write_end)
    os.close(write_end)
    writer.write("line")
    writer.close()
    assert os.read(read_end, 100) == b"line\n"


def test_who_logs_in_the_midst_of_logging_does_not_wait_for_himself(
    writer: LogWriter, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A finaliser runs wherever Python collects garbage, and may have something to say."""
    wake = writer._waiting.set

    def collect() -> None:
        monkeypatch.undo()
        writer.write("inner")
        wake()

    monkeypatch.setattr(writer._waiting, "set", collect)
    writer.write("outer")
    with writer._lock:
        writer.write("within")
    assert reader.finish() == ["outer", "inner", "within"]
