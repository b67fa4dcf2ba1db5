"""Recordings on disk: whole or marked, owner-only, and never in anybody's way."""

from __future__ import annotations

import errno
import json
import os
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from proxy.sessions.asciicast import Encoder
from proxy.sessions.recorder import Recorder, Recording, Result

PATIENCE = 10.0  # seconds


class Ended:
    """Remembers what became of recordings, and lets a test wait for it."""

    def __init__(self) -> None:
        self.results: list[Result] = []
        self._some = threading.Semaphore(0)

    def __call__(self, result: Result) -> None:
        self.results.append(result)
        self._some.release()

    def next(self) -> Result:
        assert self._some.acquire(timeout=PATIENCE)
        return self.results[-1]


@pytest.fixture
def ended() -> Ended:
    return Ended()


@pytest.fixture
def start(tmp_path: Path, ended: Ended) -> Iterator[Callable[..., Recording]]:
    recorders = []

    def begin(directory: Path = tmp_path, max_bytes: int = 1 << 20) -> Recording:
        recorder = Recorder(directory, max_bytes)
        recorder.on_end = ended
        recorders.append(recorder)
        return recorder.start("name", Encoder(0, "", (), {}), 100.0)

    yield begin
    for recorder in recorders:
        recorder.close()


def events(path: Path) -> list[list[object]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()[1:]]


def test_a_file_is_owner_only_and_has_its_name_when_it_is_whole(
    start: Callable[..., Recording], ended: Ended, tmp_path: Path
) -> None:
    recording = start()
    recording.begun.result(PATIENCE)
    part, whole = tmp_path / "name.cast.part", tmp_path / "name.cast"
    assert stat.S_IMODE(part.stat().st_mode) == 0o600
    assert not whole.exists()
    recording.output(1, b"hello", 101.5)
    recording.finish("exit status 0", 102.0)
    assert ended.next() == "whole"
    assert not part.exists()
    assert events(whole) == [[1.5, "o", "hello"], [2.0, "m", "exit status 0"]]
    assert not recording.trouble


@pytest.mark.parametrize("session", [True, False])
def test_a_recording_ends_once_though_the_thread_looks_at_it_again(
    start: Callable[..., Recording], ended: Ended, session: bool
) -> None:
    """As it does where the end comes while it is writing what came before."""
    recording = start()
    recording.begun.result(PATIENCE)
    if session:
        recording.finish("exit status 0", 102.0)
    else:
        recording.discard()
    recording._recorder.close()
    recording.work()
    assert ended.results == (["whole"] if session else [])


def test_where_there_was_no_session_there_is_no_file(
    start: Callable[..., Recording], tmp_path: Path
) -> None:
    recording = start()
    recording.begun.result(PATIENCE)
    recording.discard()
    recording._recorder.close()
    assert not list(tmp_path.iterdir())


def test_a_recording_that_grows_too_large_ends_with_a_whole_line_that_says_so(
    start: Callable[..., Recording], ended: Ended, tmp_path: Path
) -> None:
    recording = start(max_bytes=2000)
    troubled = threading.Event()
    recording.on_trouble = troubled.set
    for n in range(100):
        recording.output(1, b"%03d" % n * 20, 100.0 + n)
    assert troubled.wait(PATIENCE)
    recording.output(1, b"and more", 200.0)
    recording.finish("exit status 0", 201.0)
    assert ended.next() == "truncated"
    *some, last = events(tmp_path / "name.cast")
    assert last[1:] == ["m", "it has reached 2000 bytes"]
    assert 10 < len(some) < 100
    assert (tmp_path / "name.cast").stat().st_size < 2200


def test_a_recording_that_lost_its_last_words_is_not_whole(
    start: Callable[..., Recording], ended: Ended, tmp_path: Path
) -> None:
    """What came last and its end are seen by the thread at once, in one look."""
    recording = start(max_bytes=2000)
    recording.begun.result(PATIENCE)
    with recording._lock:  # the thread waits here
        recording._queue += [
            (100.0, _printing(b"x" * 1500)),
            (100.5, _printing(b"last words" * 50)),
        ]
        recording._end = 101.0, "exit status 0"
    recording._recorder.wake(recording, urgent=True)
    assert ended.next() == "truncated"
    *_, last = events(tmp_path / "name.cast")
    assert last[1:] == ["m", "it has reached 2000 bytes"]


def _printing(data: bytes) -> Callable[[Encoder, float], bytes]:
    return lambda encoder, at: encoder.output(1, data, at)


def test_a_disk_that_does_not_keep_up_costs_the_recording_only(
    start: Callable[..., Recording],
    ended: Ended,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The one fake is write(2), which hangs until the test lets it go on."""
    go_on = threading.Event()
    write = os.write

    def slow(fd: int, data: bytes) -> int:
        go_on.wait(PATIENCE)
        return write(fd, data)

    monkeypatch.setattr("proxy.sessions.recorder.os.write", slow)
    recording = start(max_bytes=1 << 30)
    for n in range(400):  # more than it takes from the queue before it hangs, and than is queued
        recording.output(1, bytes(100_000), 100.0 + n)
    assert recording.trouble == "the recorder does not keep up"
    recording.finish("exit status 0", 300.0)
    go_on.set()
    assert ended.next() == "truncated"
    assert events(tmp_path / "name.cast")[-1][2] == "the recorder does not keep up"


def test_a_full_disk_leaves_whole_lines(
    start: Callable[..., Recording],
    ended: Ended,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The one fake is write(2), which writes some of the second batch and then has no space."""
    batches: list[bytes] = []
    write, some = os.write, threading.Event()

    def full(fd: int, data: bytes) -> int:
        if len(batches) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        batches.append(data)
        some.set()
        return write(fd, bytes(data)[: 10 if len(batches) == 2 else None])

    monkeypatch.setattr("proxy.sessions.recorder.os.write", full)
    recording = start()
    troubled = threading.Event()
    recording.on_trouble = troubled.set
    recording.output(1, b"first", 101.0)
    assert some.wait(PATIENCE)
    recording.output(1, b"second", 102.0)
    assert troubled.wait(PATIENCE)
    assert "no space left" in recording.trouble
    recording.finish("exit status 0", 103.0)
    assert ended.next() == "truncated"
    assert events(tmp_path / "name.cast") == [[1.0, "o", "first"]]


def test_a_directory_that_is_gone_is_told_when_it_begins(
    start: Callable[..., Recording], ended: Ended, tmp_path: Path
) -> None:
    recording = start(tmp_path / "gone")
    with pytest.raises(FileNotFoundError):
        recording.begun.result(PATIENCE)
    assert "no such file" in recording.trouble
    recording.output(1, b"hello", 101.0)
    recording.finish("", 102.0)
    assert ended.next() == "failed"


def test_a_file_that_is_there_already_is_not_touched(
    start: Callable[..., Recording], tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.write_text("other")
    (tmp_path / "name.cast.part").symlink_to(other)
    with pytest.raises(FileExistsError):
        start().begun.result(PATIENCE)
    assert other.read_text() == "other"
