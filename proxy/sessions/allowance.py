"""What reading a stream may cost: so many frames a second, however small they are.

Whoever sends the smallest frames makes the most work for the fewest bytes. Each frame is paid for
out of an allowance that grows with time, and so is what is in it where that is read too, as so
many frames more; a sender who outruns it is read no further, and the session goes on unread.
"""

from __future__ import annotations

from typing import Final

FRAMES_PER_SECOND: Final = 50_000.0  # about a sixth of a CPU
FRAMES_AT_ONCE: Final = 16_384.0  # fifty milliseconds, once


class Unreadable(Exception):
    """The stream is not what it should be, or is too much work; the message says which."""


class Allowance:
    """Frames that may still be read."""

    __slots__ = ("_at", "_left")

    def __init__(self) -> None:
        self._left = FRAMES_AT_ONCE
        self._at = 0.0

    def grow(self, now: float) -> None:
        """Credit the time since the last call; ``now`` in seconds of a clock that only grows."""
        earned = (now - self._at) * FRAMES_PER_SECOND
        self._left = min(FRAMES_AT_ONCE, self._left + earned)
        self._at = now

    def spend(self, frames: int = 1) -> None:
        """Pay for one frame, or for as much work; raises ``Unreadable`` if it cannot be paid."""
        self._left -= frames
        if self._left < 0:
            raise Unreadable("more frames than are read")
