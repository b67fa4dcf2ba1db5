"""What may reach the terminal of whoever reads: names made harmless, and output as it was, nearly.

A recording is what a program printed, and colours and movements of it are the point. But a terminal
also obeys: it answers questions as if its user had typed, takes text for the clipboard, changes
its title and its size. Whoever is recorded may print what does that on the screen of whoever looks
at it later, so those sequences are left out, and the rest passes.

Source: ECMA-48, sections 5 and 8.3; xterm's control sequences (ctlseqs).
"""

from __future__ import annotations

import re
from typing import Final

MAX_SEQUENCE: Final = 4096  # characters that may wait for their end
# Ends of CSI sequences that draw, move, colour and erase (ECMA-48, section 8.3).
_DRAWING: Final = frozenset("@ABCDEFGHIJKLMPSTXZ`abdefghlmrsu")
_CSI: Final = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")
_PLAIN: Final = re.compile(r"\x1b\[[0-9:;]*[@-~]")  # no private parameters, no intermediates
_MODE: Final = re.compile(r"\x1b\[\?[0-9;]*[hlJK]")
_SHORT: Final = re.compile(r"\x1b[ -/]+[0-~]|\x1b[0-Z\\`-~]")
_SHORT_TAKEN: Final = re.compile(r"\x1b(?:[()*+][0-9A-Z]|[78=>DEHM])")
_CONTROLS: Final = re.compile(r"[\x00-\x06\x0e-\x1a\x1c-\x1f\x7f-\x9f]")


def visible(text: str) -> str:
    """Return ``text`` with everything that is not printed escaped: for names in a table."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else _escaped(c) for c in text)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


class Screen:
    """Passes on what draws; a sequence that is not whole yet waits for the rest."""

    def __init__(self) -> None:
        self._waiting = ""
        self._in_string = False  # what comes, up to its end, belongs to a sequence left out

    def shown(self, text: str) -> str:
        """Return what of ``text``, and of what had to wait, may be written now."""
        text, self._waiting = self._waiting + text, ""
        out: list[str] = []
        at = 0
        while at < len(text):
            if self._in_string:
                at = self._skip_string(text, at)
                continue
            escape = text.find("\x1b", at)
            end = escape if escape >= 0 else len(text)
            out.append(_CONTROLS.sub("", text[at:end]))
            at = end
            if escape >= 0:
                at = self._sequence(text, at, out)
        return "".join(out)

    def _skip_string(self, text: str, at: int) -> int:
        """Return where a string that is left out has its end, as far as that has come."""
        ends = [n for n in (text.find("\x07", at), text.find("\x1b", at)) if n >= 0]
        if not ends:
            return len(text)
        end = min(ends)
        if text[end] == "\x1b" and end + 1 == len(text):
            self._waiting = "\x1b"
            return len(text)
        self._in_string = False
        return end + 1 if text[end] == "\x07" else end + 2 if text[end + 1] == "\\" else end

    def _sequence(self, text: str, at: int, out: list[str]) -> int:
        """Take the sequence at ``at``; return where it ends."""
        if len(text) == at + 1:
            self._waiting = text[at:]
            return len(text)
        kind = text[at + 1]
        if kind in "]PX^_":
            self._in_string = True
            return at + 2
        found = (_CSI if kind == "[" else _SHORT).match(text, at)
        if found is None:
            if len(text) - at <= MAX_SEQUENCE and _may_go_on(text[at:]):
                self._waiting = text[at:]
                return len(text)
            return at + 2
        if _draws(found[0]):
            out.append(found[0])
        return found.end()


def _draws(sequence: str) -> bool:
    if sequence.startswith("\x1b[?"):
        return _MODE.fullmatch(sequence) is not None
    if sequence[1] == "[":
        return sequence[-1] in _DRAWING and _PLAIN.fullmatch(sequence) is not None
    return _SHORT_TAKEN.fullmatch(sequence) is not None


def _may_go_on(start: str) -> bool:
    """Say whether more text could make a sequence of this beginning."""
    return re.fullmatch(r"\x1b(?:\[[0-?]*[ -/]*|[ -/]*)", start) is not None
