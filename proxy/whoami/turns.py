"""How often one user may open the page, which costs more than any other answer of ours. Pure.

Only who holds a token that is good takes turns, and only their own: who makes up tokens can use up
nobody's. Twenty pages may come at once, as from a browser that opens its tabs again, and then four
a second: that is about a hundredth of a core for a user with hundreds of groups (``bench.page``).
"""

from __future__ import annotations

from typing import Final

from cachetools import LRUCache

AT_ONCE: Final = 20  # pages
EVERY: Final = 0.25  # seconds after which there is one more
MAX_USERS: Final = 10_000  # that are remembered; who was forgotten begins anew


class Turns:
    """Who has opened how many pages; ``now`` in seconds, by a clock that only goes forward."""

    def __init__(self) -> None:
        self._free_at: LRUCache[str, float] = LRUCache(MAX_USERS)  # when all turns are back

    def take(self, user: str, now: float) -> bool:
        """Take one of a user's turns; return whether there was one."""
        free_at = max(self._free_at.get(user, now), now) + EVERY
        if free_at - now > AT_ONCE * EVERY:
            return False
        self._free_at[user] = free_at
        return True
