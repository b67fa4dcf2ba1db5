"""What was probably meant by a name that is not known, to be put behind an error."""

from __future__ import annotations

from collections.abc import Collection


def did_you_mean(name: str, known: Collection[str]) -> str:
    """Return a hint at the name that was probably meant, or nothing."""
    from difflib import get_close_matches  # when something is wrong, and not at every start

    close = get_close_matches(name, known, n=1)
    return f"; did you mean {close[0]}?" if close else ""
