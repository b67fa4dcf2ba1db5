"""The few programs of a sample pod. They are pretended: nothing is ever run on this machine.

A program takes input as it comes and says what it puts out; it is over once it has an exit code.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Final, Protocol

KNOWN: Final = "cat, echo, env, exit, false, hostname, sh and true"
_INTERRUPT, _END, _BACKSPACE, _DELETE = 0x03, 0x04, 0x08, 0x7F


class Program(Protocol):
    """``out`` and ``err`` are what it has put out since they were last taken."""

    out: bytes
    err: bytes
    exit_code: int | None

    def feed(self, data: bytes) -> None:
        """Take input."""

    def end(self) -> None:
        """There will be no more input."""


def start(command: Sequence[str], pod: str, *, stdin: bool, tty: bool) -> Program:
    match list(command):
        case ["cat"] if stdin:
            return Cat()
        case [("sh" | "/bin/sh"), "-c", line]:
            return Done(_words(line), pod)
        case [("sh" | "/bin/sh")] if stdin:
            return Shell(pod, tty=tty)
        case _:
            return Done(command, pod)


class Done:
    """A program that is over at once."""

    def __init__(self, command: Sequence[str], pod: str) -> None:
        self.out, self.err = b"", b""
        self.exit_code: int | None = 0
        match list(command):
            case ["echo", *words]:
                self.out = f"{' '.join(words)}\n".encode()
            case ["hostname"]:
                self.out = f"{pod}\n".encode()
            case ["env"]:
                self.out = f"HOSTNAME={pod}\nKUBERNETES_SERVICE_HOST=10.96.0.1\n".encode()
            case [] | ["true" | "cat" | "sh" | "/bin/sh"]:
                pass
            case ["false"]:
                self.exit_code = 1
            case [name, *_]:
                self.exit_code = 127
                self.err = f"{name}: not found; this sample pod has {KNOWN}\n".encode()

    def feed(self, data: bytes) -> None:
        """Nobody reads it."""

    def end(self) -> None:
        """Nobody waits for it."""


class Cat:
    """Puts out what it takes in."""

    def __init__(self) -> None:
        self.out, self.err = b"", b""
        self.exit_code: int | None = None

    def feed(self, data: bytes) -> None:
        self.out += data

    def end(self) -> None:
        self.exit_code = 0


class Shell:
    """Runs a line at a time; on a terminal it prompts, and echoes what is typed."""

    def __init__(self, pod: str, *, tty: bool) -> None:
        self._pod, self._tty, self._line = pod, tty, b""
        self._prompt = b"/ $ " if tty else b""
        self.out, self.err = self._prompt, b""
        self.exit_code: int | None = None

    def feed(self, data: bytes) -> None:
        for byte in data:
            if self.exit_code is None:
                self._typed(byte)

    def end(self) -> None:
        if self._line:
            self._run()
        self.exit_code = self.exit_code or 0

    def _typed(self, byte: int) -> None:
        if byte in b"\r\n":
            self._echo(b"\r\n")
            self._run()
        elif self._tty and byte == _END and not self._line:
            self.exit_code = 0
        elif self._tty and byte == _INTERRUPT:
            self._line = b""
            self._echo(b"^C\r\n" + self._prompt)
        elif self._tty and byte in (_BACKSPACE, _DELETE):
            if self._line:
                self._line = self._line[:-1]
                self._echo(b"\b \b")
        else:
            self._line += bytes([byte])
            self._echo(bytes([byte]))

    def _run(self) -> None:
        words, self._line = _words(self._line.decode("utf-8", "replace")), b""
        if words[:1] == ["exit"]:
            self.exit_code = 0
            return
        done = Done(words, self._pod)
        # A terminal has one stream, and its lines end where the carriage goes back.
        self.out += (done.out + done.err).replace(b"\n", b"\r\n") if self._tty else done.out
        self.err += b"" if self._tty else done.err
        self.out += self._prompt

    def _echo(self, data: bytes) -> None:
        if self._tty:
            self.out += data


def _words(line: str) -> list[str]:
    try:
        return shlex.split(line)
    except ValueError:  # an open quote
        return line.split()
