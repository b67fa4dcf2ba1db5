"""The settings of the proxy that runs in the same container, for a ``kubectl exec`` without any.

What came to it as environment or file is there for this process as well; what came as arguments is
in its command line, which Linux shows to the same user.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

PROGRAM: Final = "headlamp-auth-proxy"
_MODULE: Final = ["-m", "proxy"]


def arguments_of_running(processes: Path = Path("/proc")) -> list[str]:
    """Return the arguments of ``serve`` in this container; none if it does not run here."""
    for argv in _command_lines(processes):
        if (found := serve_arguments(argv)) is not None:
            return found
    return []


def serve_arguments(argv: Sequence[str]) -> list[str] | None:
    """Return what follows ``serve`` in a command line of this program, or None."""
    for index, word in enumerate(argv[:-1] if argv else []):
        is_ours = Path(word).name == PROGRAM or list(argv[max(index - 1, 0) : index + 1]) == _MODULE
        if is_ours and argv[index + 1] == "serve":
            return list(argv[index + 2 :])
    return None


def _command_lines(processes: Path) -> Iterator[list[str]]:
    for directory in sorted(processes.glob("[0-9]*")):
        with contextlib.suppress(OSError):
            line = (directory / "cmdline").read_bytes()
            yield line.decode("utf-8", "replace").rstrip("\0").split("\0")
