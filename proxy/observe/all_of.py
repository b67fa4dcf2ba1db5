"""Several observers as one, for those who want to see the same exchanges; composed once at start.

With a single observer there is nothing in between: what is switched off costs nothing. Where there
are several, one that fails on a request is logged, and neither the others nor the request suffer.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import TypeVar

from proxy.errors import ProxyError
from proxy.http.exchange import Exchange
from proxy.http.service import Observer, Witness
from proxy.limits import Limit

_log = logging.getLogger(__name__)


def all_of(observers: Sequence[Observer]) -> Observer:
    """Return one observer that tells all of ``observers``, in their order."""
    return observers[0] if len(observers) == 1 else _All(tuple(observers))


class Several(Observer):
    """Passes on to each of these, in their order, what is told without an exchange."""

    def __init__(self, observers: Sequence[Witness]) -> None:
        self._observers = observers

    def unreadable(self, error: ProxyError, client: str, audit_id: str) -> None:
        for observer in self._observers:
            observer.unreadable(error, client, audit_id)

    def retried(self) -> None:
        for observer in self._observers:
            observer.retried()

    def limited(self, limit: Limit) -> None:
        for observer in self._observers:
            observer.limited(limit)


class _All(Several):
    """Tells each of its observers what it wants to see.

    What is told of each request is bound once, which is half the cost of telling it, and only those
    are told who have something to do at that moment.
    """

    def __init__(self, observers: Sequence[Observer]) -> None:
        super().__init__(observers)
        for moment in ("begun", "admitted", "answered", "ended"):
            nothing = getattr(Observer, moment)
            seen_by = [o for o in observers if getattr(type(o), moment) is not nothing]
            if seen_by:
                setattr(self, moment, _in_turn([getattr(o, moment) for o in seen_by]))


_Tell = Callable[[Exchange], None]


def _in_turn(calls: Sequence[_Tell]) -> _Tell:
    """Return one function that calls all of these, in their order."""
    told = tuple(calls)

    def tell(exchange: Exchange) -> None:
        for call in told:
            guarded(call, exchange)

    return tell


_Of = TypeVar("_Of")


def guarded(tell: Callable[[_Of], None], of: _Of) -> None:
    """Have an observer told; if it fails, say so in the log."""
    try:
        tell(of)
    except Exception:  # noqa: BLE001 - whatever it is, it is no affair of the client's
        _log.exception("[unexpected] what became of a request could not be noted")
