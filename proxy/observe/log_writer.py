"""Lines to standard error, without ever making a request wait or fail.

Whoever reads our standard error may stop reading, and a disk may be full. The event loop must not
notice: ``write`` only puts the line into a buffer, and a thread of its own does the writing, which
may block for as long as it likes. When the buffer is full, new lines are dropped and counted, and
so are lines that could not be written. Lines are collected for a moment before they are written,
so that a busy proxy wakes that thread at most twenty times a second.

What is lost: on a normal exit nothing (``close`` waits up to a second for a slow reader); when the
process is killed, the lines of the last twentieth of a second.
"""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Callable
from typing import Final

MAX_BUFFERED: Final = 1 << 20  # bytes; some two thousand requests
COLLECTING: Final = 0.05  # seconds
CLOSING: Final = 1.0  # seconds


class LogWriter:
    """A bounded buffer of lines before a file descriptor, which it keeps a copy of.

    ``on_drop`` is called with a number of lost lines, ``on_write`` with one of written lines and
    ``on_error`` when writing has failed, from any thread. Whoever writes elsewhere than to one
    descriptor overrides ``_ready``.
    """

    def __init__(self, fd: int, max_buffered: int = MAX_BUFFERED) -> None:
        self.on_drop: Callable[[int], object] = lambda _count: None
        self.on_write: Callable[[int], object] = lambda _count: None
        self.on_error: Callable[[], object] = lambda: None
        self._fd = _copied(fd)
        self._max_buffered = max_buffered
        self._texts: list[bytes] = []
        self._buffered = self._lines = 0  # bytes, and lines of them
        self._torn = False
        self._lock = threading.RLock()  # a finaliser may log in the midst of ``write``
        self._waiting = threading.Event()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name=type(self).__name__, daemon=True)
        self._thread.start()

    def write(self, *lines: str) -> None:
        """Take lines of ASCII without their ends; never blocks on the reader, never raises."""
        # Put together here, where the lines were just made, for that costs least.
        text = "\n".join((*lines, "")).encode("ascii", "replace")
        with self._lock:
            buffered = self._buffered + len(text)
            taken, first = buffered <= self._max_buffered, not self._texts
            if taken:
                self._texts.append(text)
                self._buffered = buffered
                self._lines += len(lines)
        if taken:
            if first:
                self._waiting.set()
        elif len(lines) > 1:  # nobody's line is lost for the length of another's
            for line in lines:
                self.write(line)
        else:
            self.on_drop(1)

    def close(self) -> None:
        """Write what there is and stop, or give up after a second; lines after it are lost."""
        self._closing.set()
        self._waiting.set()
        self._thread.join(CLOSING)

    def _run(self) -> None:
        while not self._closing.is_set():
            self._waiting.wait()
            self._closing.wait(COLLECTING)
            self._waiting.clear()
            self._flush()
        self._flush()
        os.close(self._fd)

    def _flush(self) -> None:
        with self._lock:
            texts, self._texts = self._texts, []
            lines, self._lines = self._lines, 0
            self._buffered = 0
        if texts:
            self._write_out(b"".join(texts), lines)

    def _ready(self, size: int) -> None:
        """See to it that ``size`` bytes may be written now. Raises OSError."""

    def _failed(self, error: OSError) -> None:
        """Lines were lost because of ``error``. (Where it is the log itself, who would be told?)"""

    def _succeeded(self) -> None:
        """All lines were written."""

    def _write_out(self, data: bytes, lines: int) -> None:
        written = 0
        try:
            self._ready(len(data))
            if self._torn:
                data = b"\n" + data  # a line was cut off here; let it not spoil the next
            while written < len(data):
                written += self._write_some(data[written:])
        except OSError as error:
            lost = data.count(b"\n", max(written, 1))
            lines -= lost
            self.on_drop(lost)
            self.on_error()
            self._failed(error)
        else:
            self._succeeded()
        if written:
            self._torn = data[written - 1 : written] != b"\n"
        if lines:
            self.on_write(lines)

    def _write_some(self, data: bytes) -> int:
        try:
            return os.write(self._fd, data)
        except BlockingIOError:  # who shares it with us has set O_NONBLOCK
            select.select([], [self._fd], [])
            return 0


def _copied(fd: int) -> int:
    """Duplicate ``fd``, so that closing it elsewhere cannot send log lines into a socket."""
    try:
        return os.dup(fd)
    except OSError:  # started with standard error closed
        return os.open(os.devnull, os.O_WRONLY)
