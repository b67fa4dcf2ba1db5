"""A recorded session, on this terminal, at its own pace or another.

While it plays, the terminal echoes nothing, and what has been typed (or what the terminal itself
was made to say) is thrown away at the end, so that no shell takes it for a command.
"""

from __future__ import annotations

import contextlib
import json
import math
import shlex
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, Final

from proxy.files import explain
from proxy.tools.audit.terminal import Screen, visible

MAX_LINE: Final = 1 << 20  # characters
# Attributes off, cursor shown, the main screen, no mouse and no bracketed paste.
_RESET: Final = "\x1b[0m\x1b[?25h\x1b[?1049l\x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?2004l\r\n"


class PlayError(Exception):
    """The file is no recording, or not a whole one; the message says what is wrong."""


def play(name: str, speed: float, idle_limit: float) -> None:
    """Write a session to standard output; ``idle_limit`` in seconds. Raises ``PlayError``."""
    with contextlib.ExitStack() as stack:
        with _reading(name):
            file = stack.enter_context(Path(name).open("rb"))
        sys.stderr.write(f"{visible(_title(name, _json(name, 1, file)))}\n")
        with _quiet_terminal():
            _play(_events(name, file), speed, idle_limit)


@contextlib.contextmanager
def _reading(name: str) -> Iterator[None]:
    """Blame the file, and it alone, for what fails here: what is written may fail as well."""
    try:
        yield
    except OSError as error:
        raise PlayError(f"{name}: cannot be read: {explain(error)}") from error


def _play(events: Iterator[tuple[float, str, str]], speed: float, idle_limit: float) -> None:
    screen, before = Screen(), 0.0
    try:
        for at, kind, data in events:
            wait = min(max(at - before, 0.0), idle_limit) / speed
            before = at
            if kind == "o":
                time.sleep(wait)
                sys.stdout.write(screen.shown(data))
                sys.stdout.flush()
            elif kind == "m" and data:
                time.sleep(wait)
                sys.stderr.write(f"\r\n{visible(data)}\r\n")
    finally:
        if sys.stdout.isatty():
            sys.stdout.write(_RESET)
            sys.stdout.flush()


def _events(name: str, file: BinaryIO) -> Iterator[tuple[float, str, str]]:
    number = 1
    while True:
        number += 1
        match _json(name, number, file):
            case None:
                return
            case [int() | float() as at, str() as kind, str() as data] if math.isfinite(at):
                yield at, kind, data
            case _:
                raise PlayError(f"{name}:{number}: is no event of a recording")


def _json(name: str, number: int, file: BinaryIO) -> Any:
    """Return what the next line says, or None at the end."""
    with _reading(name):
        line = file.readline(MAX_LINE)
    if not line:
        return None
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        raise PlayError(f"{name}:{number}: is no line of a recording") from None


def _title(name: str, header: object) -> str:
    """Say whose session it was; raises ``PlayError`` if this is no recording."""
    if not isinstance(header, dict) or header.get("version") != 2:
        raise PlayError(f"{name}: is no asciicast v2 recording")
    session = header.get("headlamp-auth-proxy")
    if not isinstance(session, dict):
        return str(header.get("title") or name)
    command = session.get("command")
    words = [str(word) for word in command] if isinstance(command, list) else []
    where = f"{session.get('namespace')}/{session.get('pod')} {session.get('container') or ''}"
    size = f"{header.get('width')}x{header.get('height')}"
    return f"{session.get('user')} in {where.rstrip()}: {shlex.join(words) or 'attach'} ({size})"


@contextlib.contextmanager
def _quiet_terminal() -> Iterator[None]:
    """Take the echo from the terminal, if there is one, and give it back with nothing typed."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        yield
        return
    fd = sys.stdin.fileno()
    before = termios.tcgetattr(fd)
    quiet = termios.tcgetattr(fd)
    quiet[3] &= ~(termios.ECHO | termios.ICANON)
    termios.tcsetattr(fd, termios.TCSADRAIN, quiet)
    try:
        yield
    finally:
        termios.tcdrain(sys.stdout.fileno())
        termios.tcsetattr(fd, termios.TCSAFLUSH, before)
