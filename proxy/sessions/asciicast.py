"""asciicast v2: a line for the header, then one for each event, all of them JSON.

A terminal's bytes are text to a player, so they are decoded as UTF-8, a character that is split
between two events with the second. What is no text is replaced, as a terminal would show it.

Source: docs.asciinema.org/manual/asciicast/v2.
"""

from __future__ import annotations

import codecs
import json
import shlex
from collections.abc import Mapping, Sequence
from typing import Final

DEFAULT_SIZE: Final = (80, 24)  # until the client tells another

_decoder: Final = codecs.getincrementaldecoder("utf-8")


class Encoder:
    """Makes the lines of one recording; ``began`` in unix seconds, times of events from there."""

    def __init__(
        self, began: float, title: str, command: Sequence[str], session: Mapping[str, object]
    ) -> None:
        self._header: dict[str, object] | None = {
            "version": 2,
            "width": DEFAULT_SIZE[0],
            "height": DEFAULT_SIZE[1],
            "timestamp": int(began),
            "title": title,
            "env": {"TERM": "xterm-256color"},
            "headlamp-auth-proxy": dict(session),
        }
        if command:
            self._header["command"] = shlex.join(command)
        self._text = {}  # type: dict[int, codecs.IncrementalDecoder]

    def output(self, channel: int, data: bytes, at: float) -> bytes:
        """``at`` in seconds from the beginning. Channels have a decoder each."""
        if channel not in self._text:
            self._text[channel] = _decoder("replace")
        text = self._text[channel].decode(data)
        return self._begin() + (_line([round(at, 6), "o", text]) if text else b"")

    def resize(self, columns: int, rows: int, at: float) -> bytes:
        """Before all output, it is the size to begin with."""
        if self._header is not None:
            self._header["width"], self._header["height"] = columns, rows
            return self._begin()
        return _line([round(at, 6), "r", f"{columns}x{rows}"])

    def end(self, mark: str, at: float) -> bytes:
        """Say in a mark how it ended."""
        rest = "".join(decoder.decode(b"", final=True) for decoder in self._text.values())
        lines = self._begin() + (_line([round(at, 6), "o", rest]) if rest else b"")
        return lines + _line([round(at, 6), "m", mark])

    def _begin(self) -> bytes:
        header, self._header = self._header, None
        return b"" if header is None else _line(header)


def _line(value: object) -> bytes:
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return text.encode("utf-8", "backslashreplace") + b"\n"
