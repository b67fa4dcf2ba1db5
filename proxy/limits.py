"""How much one proxy, one address and one user may have, and who counts it.

Every number is a setting (``--max-*``, ``--*-timeout``); here are the defaults, chosen so that they
lock nobody out, and the counting, which is on the path of each request: two dictionary look-ups
and nothing kept of whoever has nothing under way, so that memory is bounded by what is.

Pure: no clock, no loop; what is counted in must be counted out by whoever did it, exactly once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

MAX_STREAMS_PER_USER: Final = 1000
MAX_REQUESTS_PER_USER: Final = 200
MAX_GROUPS: Final = 256
MAX_TOKEN_BYTES: Final = 16 * 1024  # tsidp's are about 1 KiB, with two hundred groups about 10
HIGHEST_TOKEN_BYTES: Final = 64 * 1024  # that can be set
SPARE_CONNECTIONS: Final = 64  # over the limit, for saying so instead of hanging up

Limit = Literal["total", "address", "handshake", "idle", "stalled"]
"""What refused or ended a connection, as metrics and logs call it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a connection may take up. Times are in seconds; of the last two, 0 is no limit."""

    head_bytes: int = 64 * 1024  # a 16 KiB token, twice (cookie and header), and room
    head_fields: int = 200
    head_timeout: float = 10.0  # from the first byte of a head to its last
    handshake_timeout: float = 10.0  # client-go waits no longer either
    idle_timeout: float = 120.0  # Go clients drop theirs after 90 and must be first
    stall_timeout: float = 300.0  # for an answer that its client does not take
    connections: int = 10_000
    connections_per_address: int = 0  # in a pod, every client is 127.0.0.1


DEFAULTS: Final = Limits()


class Tally:
    """How much each of many has under way, never more than ``limit`` (0: no limit)."""

    __slots__ = ("_counts", "limit")

    def __init__(self, limit: int = 0) -> None:
        self.limit = limit
        self._counts: dict[str, int] = {}

    @property
    def active(self) -> int:
        """Return how many have anything under way."""
        return len(self._counts)

    @property
    def highest(self) -> int:
        return max(self._counts.values(), default=0)

    def may_enter(self, name: str) -> bool:
        return not self._counts.get(name, 0) >= self.limit > 0

    def enter(self, name: str) -> bool:
        """Count one in; return False, and count nothing, where that would be over the limit."""
        count = self._counts.get(name, 0)
        if count >= self.limit > 0:
            return False
        self._counts[name] = count + 1
        return True

    def leave(self, name: str) -> None:
        """Count out one that was counted in."""
        count = self._counts[name] - 1
        if count:
            self._counts[name] = count
        else:
            del self._counts[name]


@dataclass(frozen=True, slots=True)
class Place:
    """A connection's place; ``over`` is the limit because of which it is a spare one, if it is.

    ``address`` is empty where clients have none, on a unix socket.
    """

    address: str
    over: Limit | None = None


class Places:
    """Places for connections, from the moment they are accepted: in total and for each address.

    Who comes when all are taken gets one of a few spare places, to be told so there.
    """

    def __init__(self, total: int, per_address: int) -> None:
        self.total = total
        self.taken = 0
        self._spare = SPARE_CONNECTIONS
        self._addresses = Tally(per_address)

    def over(self, address: str) -> Limit | None:
        """Return the limit that one more connection from ``address`` would go beyond."""
        if self.taken >= self.total:
            return "total"
        return None if not address or self._addresses.may_enter(address) else "address"

    def take(self, address: str) -> Place | None:
        """Take a place, a spare one if there must be; None where there is not even that."""
        over = self.over(address)
        if over is None:
            self.taken += 1
            if address:
                self._addresses.enter(address)
        elif self._spare:
            self._spare -= 1
        else:
            return None
        return Place(address, over)

    def give_back(self, place: Place) -> None:
        if place.over is None:
            self.taken -= 1
            if place.address:
                self._addresses.leave(place.address)
        else:
            self._spare += 1
