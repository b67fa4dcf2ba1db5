"""The audit log in a file: rotated between lines, owner-only, and no trouble to anybody."""

from __future__ import annotations

import json
import logging
import os
import pty
import re
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from proxy.audit.log_file import DAY, LogFile, Rotation
from tests.wire import PATIENCE

FOREVER = Rotation(0, 0, 0)
LINE = json.dumps({"n": "x" * 90})


class Log:
    """A log file under test, and what it told; a line is on the disk when ``write`` returns."""

    def __init__(self, path: Path, rotation: Rotation) -> None:
        self.path = path
        self.written = self.dropped = self.errors = 0
        self._told = threading.Condition()
        self.file = LogFile(path, rotation)
        self.file.on_write = self._count("written")
        self.file.on_drop = self._count("dropped")
        self.file.on_error = lambda: self._count("errors")(1)

    def _count(self, what: str) -> Callable[[int], None]:
        def count(number: int) -> None:
            with self._told:
                setattr(self, what, getattr(self, what) + number)
                self._told.notify_all()

        return count

    def write(self, line: str = LINE) -> None:
        with self._told:
            wanted = self.written + self.dropped + 1
        self.file.write(line)
        with self._told:
            assert self._told.wait_for(lambda: self.written + self.dropped >= wanted, PATIENCE)

    def backups(self) -> list[Path]:
        return sorted(self.path.parent.glob("audit-*.log"))

    def lines(self) -> list[str]:
        self.file.close()
        return [n for f in (*self.backups(), self.path) for n in f.read_text().splitlines()]


@pytest.fixture
def open_log(tmp_path: Path) -> Callable[..., Log]:
    return lambda rotation=FOREVER: Log(tmp_path / "audit.log", rotation)


def test_it_is_for_its_owner_only_and_what_was_there_stays(open_log: Callable[..., Log]) -> None:
    first = open_log()
    first.write("one")
    first.file.close()
    second = open_log()
    second.write("two")
    assert second.lines() == ["one", "two"]
    assert stat.S_IMODE(second.path.stat().st_mode) == 0o600


def test_a_line_that_was_cut_off_by_a_crash_does_not_spoil_the_next(
    open_log: Callable[..., Log], tmp_path: Path
) -> None:
    (tmp_path / "audit.log").write_text('{"cut": ')
    log = open_log()
    log.write()
    assert log.lines() == ['{"cut": ', LINE]


def test_it_is_rotated_between_lines_under_kube_apiservers_names(
    open_log: Callable[..., Log],
) -> None:
    log = open_log(Rotation(max_bytes=250, max_age=0, max_backups=0))
    for _ in range(7):
        log.write()
    assert all(file.stat().st_size <= 250 for file in (*log.backups(), log.path))
    assert all(
        re.fullmatch(r"audit-\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d\.\d{3}\.log", file.name)
        for file in log.backups()
    )
    assert stat.S_IMODE(log.path.stat().st_mode) == 0o600
    assert log.lines() == [LINE] * 7


def test_of_rotated_files_so_many_are_kept(open_log: Callable[..., Log]) -> None:
    log = open_log(Rotation(max_bytes=100, max_age=0, max_backups=2))
    for n in range(6):
        log.write(f"{n} {LINE}")
    assert [line[0] for line in log.lines()] == ["3", "4", "5"]


def test_of_rotated_files_the_old_go_and_nobody_elses(
    open_log: Callable[..., Log], tmp_path: Path
) -> None:
    old, others = tmp_path / "audit-2020-01-01T00-00-00.000.log", tmp_path / "audit-notes.log"
    for file in old, others:
        file.write_text("")
    kept = open_log(Rotation(0, max_age=0, max_backups=0))
    kept.file.close()
    assert old.exists()
    open_log(Rotation(0, max_age=int(400_000 * DAY // DAY), max_backups=0)).file.close()
    assert old.exists()
    open_log(Rotation(0, max_age=30, max_backups=0)).file.close()
    assert not old.exists()
    assert others.exists()


def test_a_file_that_was_moved_away_or_deleted_is_made_anew(open_log: Callable[..., Log]) -> None:
    log = open_log()
    log.write("one")
    moved = log.path.rename(log.path.with_name("moved"))
    log.write("two")
    log.path.unlink()
    log.write("three")
    assert moved.read_text() == "one\n"
    assert log.lines() == ["three"]


def test_what_cannot_be_written_is_counted_and_said_once_and_so_is_its_end(
    open_log: Callable[..., Log], caplog: pytest.LogCaptureFixture
) -> None:
    """A directory in the place of the file stands for a disk that does not take it."""
    caplog.set_level(logging.INFO)
    log = open_log()
    log.path.unlink()
    log.path.mkdir()
    log.write()
    log.write()
    assert (log.written, log.dropped, log.errors) == (0, 2, 2)
    log.path.rmdir()
    log.write("again")
    log.write("and again")
    assert log.lines() == ["again", "and again"]
    failed, ended = (record.message for record in caplog.records)
    assert "cannot be written" in failed
    assert ended == f"the audit log {log.path} can be written again"


def test_a_disk_that_is_full_costs_lines_and_nothing_else() -> None:
    log = Log(Path("/dev/full"), FOREVER)
    log.write()
    log.file.close()
    assert (log.written, log.dropped, log.errors) == (0, 1, 1)


def test_a_terminal_is_written_to_and_never_renamed() -> None:
    ours, theirs = pty.openpty()
    terminal = Path(os.ttyname(theirs))
    log = Log(terminal, Rotation(max_bytes=1, max_age=0, max_backups=0))
    log.write("one")
    log.write("two")
    log.file.close()
    assert terminal.is_char_device()
    assert (log.written, log.dropped) == (2, 0)
    shown = b""
    while len(shown) < len(b"one\r\ntwo\r\n"):
        shown += os.read(ours, 100)
    assert shown == b"one\r\ntwo\r\n"
    os.close(ours)
    os.close(theirs)


def test_a_pipe_that_takes_the_place_of_the_file_is_not_waited_for(
    open_log: Callable[..., Log], caplog: pytest.LogCaptureFixture
) -> None:
    log = open_log()
    log.path.unlink()
    os.mkfifo(log.path)
    log.write()
    assert (log.written, log.dropped) == (0, 1)
    log.path.unlink()
    log.write("again")
    assert log.lines() == ["again"]
    assert "it is not a regular file" in caplog.text


def test_what_could_never_be_written_to_is_an_error_at_the_start(tmp_path: Path) -> None:
    for path in tmp_path, tmp_path / "none" / "audit.log":
        with pytest.raises((IsADirectoryError, FileNotFoundError)):
            LogFile(path, FOREVER)
    assert not [*tmp_path.iterdir()]
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="not a regular file"):
        LogFile(tmp_path / "pipe", FOREVER)
