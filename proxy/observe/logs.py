"""Logs as JSON lines on standard error: one line an event, whatever was in it.

Fields: ``ts`` (RFC 3339, UTC, milliseconds), ``level``, ``logger``, ``event``, then what was passed
as ``extra``; ``error`` is an exception with its stack, in one line. Everything that is not
printable ASCII is escaped by the JSON encoder, so that no client can forge a line or drive a
terminal, and every line is searched for tokens before it leaves.
"""

from __future__ import annotations

import atexit
import logging
import time
import traceback
from collections.abc import Mapping
from json import JSONEncoder
from pathlib import PurePath
from typing import Final

from proxy.observe.log_writer import LogWriter
from proxy.observe.redaction import redact

STDERR: Final = 2
_MAX_FRAMES: Final = 12
_MAX_CAUSES: Final = 4
_OWN_ATTRIBUTES: Final = frozenset(vars(logging.makeLogRecord({}))) | {"taskName"}

encode = JSONEncoder(separators=(",", ":"), check_circular=False, default=str).encode


def setup(level: int | str = logging.INFO) -> LogWriter:
    """Send all logs of the process to standard error as JSON lines; return the way there."""
    writer = LogWriter(STDERR)
    atexit.register(writer.close)
    logging.captureWarnings(capture=True)
    logging.basicConfig(level=level, handlers=[JsonHandler(writer)], force=True)
    return writer


def encode_line(fields: Mapping[str, object]) -> str:
    """Return ``fields`` as one line of JSON in ASCII, tokens masked."""
    return redact(encode(fields))


class Timestamps:
    """RFC 3339 in UTC with milliseconds; the part down to the second is kept for that second."""

    def __init__(self) -> None:
        self._second = -1
        self._prefix = ""

    def format(self, now: float) -> str:
        """``now`` in unix seconds."""
        second = int(now)
        if second != self._second:
            self._second, self._prefix = second, time.strftime("%FT%T", time.gmtime(second))
        return f"{self._prefix}.{int((now - second) * 1000):03d}Z"


class JsonHandler(logging.Handler):
    """Writes each record as a line; a record that cannot be formatted still leaves one."""

    def __init__(self, writer: LogWriter) -> None:
        super().__init__()
        self._writer = writer
        self._timestamps = Timestamps()

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = encode_line(self._fields(record, record.getMessage()))
        except Exception as error:  # noqa: BLE001 - a line that cannot be built must fail nobody
            text = f"a log record could not be formatted: {error!r}"
            line = encode_line(self._head(record, text))
        self._writer.write(line)

    def _head(self, record: logging.LogRecord, event: str) -> dict[str, object]:
        return {
            "ts": self._timestamps.format(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": event,
        }

    def _fields(self, record: logging.LogRecord, event: str) -> dict[str, object]:
        extra = {k: v for k, v in vars(record).items() if k not in _OWN_ATTRIBUTES}
        head = self._head(record, event)
        fields = head | extra | head  # in this order, and no extra can pass for one of ours
        if record.exc_info and record.exc_info[1] is not None:
            fields["error"] = compact(record.exc_info[1])
        return fields


def compact(error: BaseException) -> str:
    """Return an exception, its stack (innermost first) and its causes, in one line."""
    parts: list[str] = []
    seen: BaseException | None = error
    while seen is not None and len(parts) < _MAX_CAUSES:
        frames = reversed(traceback.extract_tb(seen.__traceback__)[-_MAX_FRAMES:])
        stack = " < ".join(f"{PurePath(f.filename).name}:{f.lineno} {f.name}" for f in frames)
        parts.append(f"{type(seen).__qualname__}: {seen} [{stack}]")
        seen = seen.__cause__ or (None if seen.__suppress_context__ else seen.__context__)
    return " caused by ".join(parts)
