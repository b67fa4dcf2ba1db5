"""Lines of audit logs: from files, what was rotated away from them, gzip, and standard input."""

from __future__ import annotations

import gzip
import re
import sys
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

from proxy.files import explain

MAX_LINE: Final = 8 << 20  # bytes; kube-apiserver's own with bodies are up to 1.5 MiB and more
_GZIP: Final = b"\x1f\x8b"
# As this proxy and kube-apiserver (by lumberjack) name them: time, and .gz where compressed.
_STAMP: Final = r"-\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d\.\d{3}"


class Unread(Exception):
    """A log could not be read, or not to its end; the message says which and why."""


class Line(NamedTuple):
    """A line with the place where it stands; ``text`` is None if it is too long to be an event."""

    place: str
    text: bytes | None


def with_rotated(names: Iterable[str]) -> list[str]:
    """Return the names, each after the files that were rotated away from it, oldest first."""
    found: dict[str, None] = {}
    for name in names:
        path = Path(name)
        if name != "-" and path.parent.is_dir():
            rotated = re.compile(
                re.escape(path.stem) + _STAMP + re.escape(path.suffix) + r"(\.gz)?", re.ASCII
            )
            siblings = (p for p in path.parent.iterdir() if rotated.fullmatch(p.name))
            found |= {str(p): None for p in sorted(siblings, key=lambda p: p.name)}
        found[name] = None
    return list(found)


def lines(name: str) -> Iterator[Line]:
    """Yield the lines of one log, ``-`` being standard input. Raises ``Unread``."""
    place = "standard input" if name == "-" else name
    try:
        if name == "-":
            if sys.stdin.isatty():  # or it looks as if nothing happened
                sys.stderr.write("reading standard input; Ctrl-D ends it\n")
            yield from _lines(place, sys.stdin.buffer)
            return
        with Path(name).open("rb") as file:
            compressed = file.read(len(_GZIP)) == _GZIP
            file.seek(0)
            if compressed:
                with gzip.open(file) as unpacked:
                    yield from _lines(place, unpacked)
            else:
                yield from _lines(place, file)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise Unread(f"{place}: is not whole: {error}") from error
    except OSError as error:
        raise Unread(f"{place}: cannot be read: {explain(error)}") from error


def _lines(place: str, file: BinaryIO | gzip.GzipFile) -> Iterator[Line]:
    number = 0
    while text := file.readline(MAX_LINE):
        number += 1
        where = f"{place}:{number}"
        if text.endswith(b"\n") or len(text) < MAX_LINE:
            yield Line(where, text)
            continue
        yield Line(where, None)
        while (rest := file.readline(MAX_LINE)) and not rest.endswith(b"\n"):
            pass
