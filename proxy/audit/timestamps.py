"""Moments as events say them: RFC 3339 in UTC with microseconds, as ``metav1.MicroTime``.

An event has two, which were a fifth of its cost as long as each was formatted from its number: so
what is written down to the second is kept for that second, of both at once; and zeros are only put
before the microseconds where there must be some.
"""

from __future__ import annotations

import time
from functools import lru_cache
from math import floor


class Timestamps:
    """Formats unix seconds; quick for as long as they are of the same second."""

    def __init__(self) -> None:
        self._second = float("-inf")  # a float, for to make one of it each time takes longer
        self._received = self._reached = ""

    def members(self, received: float, reached: float) -> str:
        """Return when a request was received, and when it reached a stage, as an event has them."""
        since, until = received - self._second, reached - self._second
        if not 0.0 <= since <= until < 1.0:
            return self._turn(received, reached)
        first, last = floor(since * 1_000_000), floor(until * 1_000_000)
        if first >= 100_000:  # as nine in ten are: that saves half of it
            return f'{self._received}{first}{self._reached}{last}Z"'
        return f'{self._received}{first:06d}{self._reached}{last:06d}Z"'

    def _turn(self, received: float, reached: float) -> str:
        """Return the same of moments that are not of the second that is kept; keep the later's."""
        second = floor(reached)
        self._second = float(second)
        self._received = f',"requestReceivedTimestamp":"{_prefix(second)}'
        self._reached = f'Z","stageTimestamp":"{_prefix(second)}'
        return (
            f',"requestReceivedTimestamp":"{_moment(received)}"'
            f',"stageTimestamp":"{_moment(reached)}"'
        )


def _moment(moment: float) -> str:
    second = floor(moment)
    return f"{_prefix(second)}{floor((moment - second) * 1_000_000):06d}Z"


@lru_cache(maxsize=64)  # of slow requests the two moments are seconds apart
def _prefix(second: int) -> str:
    return time.strftime("%FT%T.", time.gmtime(second))
