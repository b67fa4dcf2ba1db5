"""Recordings on disk, written by one thread that nobody waits for.

What is to be written is put into the recording's own bounded queue; a disk that does not keep up,
is full or is gone costs that recording and nothing else. A file is owner-only, is called ``.part``
until it is whole, and ends with a whole line whatever happens: it can be played at any moment. Its
name is the time and the audit ID, nothing that a client chose.

``began`` is in unix seconds; all other times are those of ``time.monotonic``.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Final, Literal

from proxy.files import explain
from proxy.sessions.asciicast import Encoder

MAX_QUEUED: Final = 16 << 20  # bytes of one recording that the disk has not taken yet
COLLECTING: Final = 0.05  # seconds
CLOSING: Final = 5.0  # seconds
AT_ONCE: Final = 1 << 18  # bytes that are encoded before they are written, and let go
EVENT_OVERHEAD: Final = 64  # bytes that an event takes in the queue beside its data

_FLAGS: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC

Result = Literal["whole", "truncated", "failed"]
Write = Callable[[Encoder, float], bytes]

_log = logging.getLogger(__name__)


class Recorder:
    """Starts recordings in ``directory``, none larger than ``max_bytes``.

    ``on_end`` is told, from the thread, what became of each.
    """

    def __init__(self, directory: Path, max_bytes: int) -> None:
        self.on_end: Callable[[Result], object] = lambda _result: None
        self.max_bytes = max_bytes
        self.failing = False  # the last recording could not be begun
        self._directory = directory
        self._lock = threading.Lock()
        self._waiting: dict[Recording, None] = {}  # that have something to do, in order
        self._wake = threading.Event()
        self._urgent = threading.Event()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="session-recorder", daemon=True)
        self._thread.start()

    def start(self, name: str, encoder: Encoder, now: float) -> Recording:
        """Begin a file; whether that went well is told by ``Recording.begun``."""
        recording = Recording(self, self._directory / f"{name}.cast", encoder, now)
        self.wake(recording, urgent=True)
        return recording

    def close(self) -> None:
        """Write what there is and stop, or give up after a while."""
        self._closing = True
        self._wake.set()
        self._urgent.set()
        self._thread.join(CLOSING)

    def wake(self, recording: Recording, *, urgent: bool = False) -> None:
        """Have the thread look at a recording, soon or at once."""
        with self._lock:
            self._waiting[recording] = None
        if urgent:
            self._urgent.set()
        if not self._wake.is_set():
            self._wake.set()

    def _run(self) -> None:
        while not self._closing:
            self._wake.wait()
            self._urgent.wait(COLLECTING)
            self._wake.clear()
            self._urgent.clear()
            self._round()
        self._round()

    def _round(self) -> None:
        with self._lock:
            waiting, self._waiting = self._waiting, {}
        for recording in waiting:
            try:
                recording.work()
            except Exception:  # noqa: BLE001 - the other recordings must go on
                _log.exception("[unexpected] a recording has failed")
                recording.stop("[unexpected] the recorder has failed")


class Recording:
    """One file. All methods but ``work`` are for the event loop, and none of them waits.

    ``begun`` is done once the file is there, and has the ``OSError`` if it could not be made.
    ``trouble`` says why the recording is not whole, in words; ``on_trouble`` is called, from any
    thread, when that becomes so.
    """

    def __init__(self, recorder: Recorder, path: Path, encoder: Encoder, now: float) -> None:
        self.begun: Future[None] = Future()
        self.trouble = ""
        self.on_trouble: Callable[[], object] = lambda: None
        self.name = path.name
        self._recorder = recorder
        self._path = path
        self._part = path.with_name(f"{path.name}.part")
        self._encoder = encoder
        self._began = now
        self._lock = threading.Lock()
        self._queue: list[tuple[float, Write]] = []
        self._queued = 0
        self._end: tuple[float, str] | None = None
        self._discarded = False
        self._finished = False
        self._fd = -1
        self._size = 0
        self._sealed = False  # there is a gap, so nothing may follow but the end

    def output(self, channel: int, data: bytes, at: float) -> None:
        self._put(at, lambda encoder, when: encoder.output(channel, data, when), len(data))

    def resize(self, columns: int, rows: int, at: float) -> None:
        self._put(at, lambda encoder, when: encoder.resize(columns, rows, when), 0)

    def stop(self, trouble: str) -> None:
        """Take nothing more, for a reason."""
        with self._lock:
            if self.trouble:
                return
            self.trouble = trouble
        self.on_trouble()

    def finish(self, mark: str, at: float) -> None:
        """End the recording and give the file its name."""
        self.on_trouble = lambda: None
        with self._lock:
            self._end = at, mark
        self._recorder.wake(self, urgent=True)

    def discard(self) -> None:
        """There was no session: leave no file."""
        self._discarded = True
        self.finish("", self._began)

    def _put(self, at: float, write: Write, size: int) -> None:
        if self.trouble:
            return
        with self._lock:
            full = self._queued + size > MAX_QUEUED
            if not full:
                self._queue.append((at, write))
                self._queued += size + EVENT_OVERHEAD
        if full:
            self.stop("the recorder does not keep up")
        else:
            self._recorder.wake(self, urgent=self._queued > MAX_QUEUED // 8)

    # in the thread

    def work(self) -> None:
        """Do what has come up since the last time."""
        with self._lock:
            queue, self._queue, self._queued = self._queue, [], 0
            end = self._end
        if not self.begun.done():
            self._begin()
        if self._fd >= 0 and not self._sealed:
            self._write(queue)
        if end is not None and not self._finished:
            self._finished = True
            self._finish(*end)

    def _begin(self) -> None:
        try:
            self._fd = os.open(self._part, _FLAGS, 0o600)
        except OSError as error:
            self._recorder.failing = True
            self.begun.set_exception(error)
            self.stop(f"it could not be begun: {explain(error)}")
            _log.error(
                "a session cannot be recorded",
                extra={"file": str(self._part), "detail": explain(error)},
            )
        else:
            self._recorder.failing = False
            self.begun.set_result(None)

    def _write(self, queue: list[tuple[float, Write]]) -> None:
        lines: list[bytes] = []
        size, room = 0, self._recorder.max_bytes - self._size
        for at, write in queue:
            line = write(self._encoder, at - self._began)
            room -= len(line)
            if room < 0:
                self._sealed = True
                self.stop(f"it has reached {self._recorder.max_bytes} bytes")
                break
            lines.append(line)
            size += len(line)
            if size >= AT_ONCE:
                self._append(b"".join(lines))
                lines, size = [], 0
                if self._sealed:
                    return
        self._append(b"".join(lines))

    def _append(self, data: bytes) -> None:
        """Write whole lines, or none of those that do not fit."""
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(self._fd, view) :]
            self._size += len(data)
        except OSError as error:
            self._sealed = True
            self.stop(f"it could not be written: {explain(error)}")
            try:
                os.ftruncate(self._fd, self._size)
                os.lseek(self._fd, self._size, os.SEEK_SET)
            except OSError:
                _log.exception("a recording may end within a line")

    def _finish(self, at: float, mark: str) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0 and self._discarded:
            os.close(fd)
            self._part.unlink(missing_ok=True)
            return
        result = "failed" if fd < 0 else self._close(fd, self.trouble or mark, at - self._began)
        if result != "whole":
            _log.warning(
                "a recording is not whole", extra={"file": self.name, "detail": self.trouble}
            )
        self._recorder.on_end(result)

    def _close(self, fd: int, mark: str, at: float) -> Result:
        self._fd = fd
        self._append(self._encoder.end(mark, at))
        self._fd = -1
        result: Result = "truncated" if self.trouble else "whole"
        try:
            os.fsync(fd)
            self._part.rename(self._path)
        except OSError as error:
            self.trouble = self.trouble or f"it could not be finished: {explain(error)}"
            result = "failed"
        finally:
            os.close(fd)
        return result
