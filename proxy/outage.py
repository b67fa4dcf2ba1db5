"""What goes wrong for a while is news once for each cause, and once more when it is over.

A file that is followed, an issuer that is asked and a receiver that is written to fail over and
over while they fail. A line in the log each time would bury what an operator must read, and none
at the end would have him look for what has mended itself.
"""

from __future__ import annotations

import math
from typing import Final

REMIND_EVERY: Final = 600.0  # seconds after which one lasting failure may be news again


class Outage:
    """What one thing fails for now, if it does; it says what is news, and logs nothing itself.

    With ``remind_every`` (seconds) a failure that lasts is news again after so long; ``fails`` is
    then told the time, by any clock that only goes forward.
    """

    def __init__(self, remind_every: float = math.inf) -> None:
        self.cause = ""  # empty while all is well
        self._remind_every = remind_every
        self._told_at = 0.0

    def __bool__(self) -> bool:
        return bool(self.cause)

    def fails(self, cause: str, now: float = 0.0) -> bool:
        """Note that it failed for ``cause``, which is not empty; return whether that is news."""
        if cause == self.cause and now - self._told_at < self._remind_every:
            return False
        self.cause, self._told_at = cause, now
        return True

    def ends(self) -> bool:
        """Note that it works; return whether that is news."""
        was, self.cause = self.cause, ""
        return bool(was)
