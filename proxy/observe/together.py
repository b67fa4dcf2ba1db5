"""Requests told of many at once, up to a twentieth of a second late, because that costs less.

Between the steps of a request, what a processor holds of the log's and the metrics' code and data
makes way for the kernel's and for TLS; in a row they find it there, and much is done once for all
(docs/performance-profile.md). What anybody may look at is there when they look: what RBAC refuses
is told at once, for it is shown to whoever asks why, and so are streams; and metrics are read after
``flush``. Killed, the process takes with it what has not been told by then, as with the lines of
its log.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from proxy.http.exchange import Exchange
from proxy.http.service import Witness
from proxy.observe.all_of import Several, guarded

AT_ONCE: Final = 32  # requests; no more, for telling of them holds up all others
COLLECTING: Final = 0.05  # seconds
LONGEST: Final = 4096  # bytes of a target; to tell of one that is longer takes some 10 ms

_Exchanges = Sequence[Exchange]


class BatchObserver(Witness):
    """Sees exchanges as an ``Observer`` does, but at their beginnings and ends many at once.

    An exchange has its times, so nobody needs to be told in time to know them. ``early`` says
    whether it matters that a unary request has begun before it has ended.
    """

    early = True

    def admitted(self, exchanges: _Exchanges) -> None:
        """It is known who asks."""

    def answered(self, exchange: Exchange) -> None:
        """The head of a stream's answer is about to be passed on, or the tunnel stands."""

    def ended(self, exchanges: _Exchanges) -> None:
        """Their answers have ended, either way; told once of each exchange that has begun."""


class Together(Several):
    """Tells its observers of unary requests later; ``flush`` tells of all that are still to be.

    An observer that fails on a request is logged, and neither the others nor the request suffer.
    """

    def __init__(self, observers: Sequence[BatchObserver]) -> None:
        super().__init__(observers)
        nobody = BatchObserver.admitted
        self._heeding = [o for o in observers if type(o).admitted is not nobody]
        self._answered = [observer.answered for observer in observers]
        self._ended = [observer.ended for observer in observers]
        self._beginnings: list[Exchange] = []
        self._ends: list[Exchange] = []
        self._timer: asyncio.TimerHandle | None = None

    def admitted(self, exchange: Exchange) -> None:
        for observer in self._heeding:
            if observer.early or exchange.kind != "unary":
                self._collect(self._beginnings, exchange)
                return

    def answered(self, exchange: Exchange) -> None:
        for tell in self._answered:
            guarded(tell, exchange)

    def ended(self, exchange: Exchange) -> None:
        self._collect(self._ends, exchange)
        if exchange.missing is not None:
            self.flush()

    def _collect(self, collected: list[Exchange], exchange: Exchange) -> None:
        collected.append(exchange)
        if (
            len(collected) >= AT_ONCE
            or exchange.kind != "unary"
            or len(exchange.head.target) > LONGEST
        ):
            self.flush()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(COLLECTING, self.flush)

    def flush(self) -> None:
        """Tell of all that has begun or ended until now, of beginnings first."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        beginnings, self._beginnings = self._beginnings, []
        ends, self._ends = self._ends, []
        for observer in self._heeding if beginnings else ():
            guarded(observer.admitted, beginnings)
        for tell in self._ended if ends else ():
            guarded(tell, ends)
