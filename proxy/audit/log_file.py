"""The audit log in a file, rotated as kube-apiserver rotates its own.

Writing is done by the thread of ``LogWriter``, so a disk that is full or slow is noticed by no
request: events that do not fit into the buffer are dropped and counted. A file is rotated between
two events and never within one; the old one is called ``name-2026-11-28T06-30-00.000.ext`` (UTC),
and the oldest are deleted by number and by age. A file that somebody has moved away or deleted is
made anew. Sources: k8s.io/apiserver/pkg/server/options/audit.go and the lumberjack library there.
"""

from __future__ import annotations

import calendar
import contextlib
import errno
import logging
import os
import re
import stat
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from proxy.files import NOT_REGULAR, explain
from proxy.observe.log_writer import LogWriter
from proxy.outage import Outage

MAX_BUFFERED: Final = 16 << 20  # bytes; some twenty thousand events
MEGABYTE: Final = 1 << 20
DAY: Final = 86_400.0  # seconds
OWNER_ONLY: Final = 0o600
_STAMP: Final = "%Y-%m-%dT%H-%M-%S"

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Rotation:
    """When to rotate and what to keep: bytes, days, files. 0 for no limit."""

    max_bytes: int
    max_age: int
    max_backups: int


class LogFile(LogWriter):
    """An audit sink that writes lines to a file. Raises OSError if it cannot be written to."""

    def __init__(self, path: Path, rotation: Rotation) -> None:
        self._path = path
        self._rotation = rotation
        self._outage = Outage()
        self._size = 0
        self._grows = True  # a device does not, and is never renamed
        fd = self._open()
        super().__init__(fd, MAX_BUFFERED)
        os.close(fd)
        self._torn = self._grows and not _ends_in_a_line(path)
        self._delete_old()

    def _open(self) -> int:
        refuse_pipe(self._path)
        fd = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, OWNER_ONLY)
        status = os.fstat(fd)
        self._size = status.st_size
        self._grows = stat.S_ISREG(status.st_mode)
        return fd

    def _ready(self, size: int) -> None:
        if not self._is_ours():
            self._reopen()
        limit = self._rotation.max_bytes
        if limit and self._grows and self._size and self._size + size > limit:
            self._path.rename(self._backup())
            self._reopen()
            self._delete_old()
        self._size += size

    def _is_ours(self) -> bool:
        """Whether the name still leads to the file that is open."""
        with contextlib.suppress(FileNotFoundError):
            return os.path.samestat(os.fstat(self._fd), self._path.stat())
        return False

    def _reopen(self) -> None:
        fd = self._open()
        os.dup2(fd, self._fd, inheritable=False)
        os.close(fd)
        self._torn = False

    def _failed(self, error: OSError) -> None:
        failure = explain(error)
        if self._outage.fails(failure):
            _log.error("the audit log %s cannot be written: %s", self._path, failure)

    def _succeeded(self) -> None:
        if self._outage.ends():
            _log.info("the audit log %s can be written again", self._path)

    def _backup(self) -> Path:
        """Return a name that no file has: a clock may be set back, and nothing is written over."""
        milliseconds = int(time.time() * 1000)
        while True:
            second, rest = divmod(milliseconds, 1000)
            stamp = f"{time.strftime(_STAMP, time.gmtime(second))}.{rest:03d}"
            path = self._path.with_name(f"{self._path.stem}-{stamp}{self._path.suffix}")
            if not path.exists():
                return path
            milliseconds += 1

    def _delete_old(self) -> None:
        """Delete the backups that are too many or too old; what cannot be deleted stays."""
        rotation, oldest = self._rotation, time.time() - self._rotation.max_age * DAY
        stem, suffix = re.escape(self._path.stem), re.escape(self._path.suffix)
        name = re.compile(rf"{stem}-(\d{{4}}-\d\d-\d\dT\d\d-\d\d-\d\d)\.\d{{3}}{suffix}")
        found = [
            (file, name.fullmatch(file.name))
            for file in sorted(self._path.parent.iterdir(), reverse=True)
        ]
        backups = [(file, match[1]) for file, match in found if match]
        for n, (file, stamp) in enumerate(backups):
            too_many = rotation.max_backups and n >= rotation.max_backups
            if too_many or (rotation.max_age and _seconds(stamp) < oldest):
                with contextlib.suppress(OSError):
                    file.unlink()


def refuse_pipe(path: Path) -> None:
    """Raise OSError for a FIFO or a socket, whose opening would wait for somebody to read.

    Devices (/dev/null, a terminal) stay; of a folder, opening says it.
    """
    with contextlib.suppress(FileNotFoundError):
        mode = path.stat().st_mode
        if stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode):
            raise OSError(errno.EINVAL, f"{NOT_REGULAR}; for standard output, write -")


def _seconds(stamp: str) -> float:
    try:
        return float(calendar.timegm(time.strptime(stamp, _STAMP)))
    except ValueError:  # a name that only looks like one of ours
        return float("inf")


def _ends_in_a_line(path: Path) -> bool:
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 1))
        return file.read(1) in (b"", b"\n")
