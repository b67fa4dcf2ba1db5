"""A deadline that is moved often and reached seldom.

A connection's deadline changes with every request; arming a loop timer each time would cost more
than the check that it guards. So one loop timer runs, and when it fires too early because the
deadline has moved on, it is set again for the rest.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from math import inf


class Timer:
    """Calls ``expired`` once when the deadline passes; all times in seconds of the loop's clock."""

    __slots__ = ("_deadline", "_due", "_expired", "_handle", "_loop")

    def __init__(self, loop: asyncio.AbstractEventLoop, expired: Callable[[], None]) -> None:
        self._loop = loop
        self._expired = expired
        self._deadline = inf
        self._due = inf  # when the loop timer fires, if there is one
        self._handle: asyncio.TimerHandle | None = None

    def set(self, seconds: float) -> None:
        """Move the deadline to ``seconds`` from now."""
        now = self._loop.time()
        self._deadline = now + seconds
        if self._due > self._deadline:
            if self._handle is not None:
                self._handle.cancel()
            self._arm(seconds)

    def clear(self) -> None:
        """Take the deadline away; the loop timer is left to run out."""
        self._deadline = inf

    def cancel(self) -> None:
        """Take the deadline away for good, so that nothing holds on to the owner."""
        self._deadline = inf
        self._expired = _nobody
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _arm(self, seconds: float) -> None:
        self._handle = self._loop.call_later(seconds, self._fire)
        self._due = self._loop.time() + seconds

    def _fire(self) -> None:
        self._handle, self._due = None, inf
        if self._deadline == inf:
            return
        remaining = self._deadline - self._loop.time()
        if remaining > 0:
            self._arm(remaining)
        else:
            self._deadline = inf
            self._expired()


def _nobody() -> None:
    """Stands where the owner was."""
