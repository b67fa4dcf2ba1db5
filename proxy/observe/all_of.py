"""Several observers as one, for those who want to see the same exchanges; composed once at start.

With a single observer there is nothing in between: what is switched off costs nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

from proxy.errors import ProxyError
from proxy.http.exchange import Exchange
from proxy.http.service import Observer
from proxy.limits import Limit


def all_of(observers: Sequence[Observer]) -> Observer:
    """Return one observer that tells all of ``observers``, in their order."""
    return observers[0] if len(observers) == 1 else _All(tuple(observers))


class _All:
    """Tells each of its observers; satisfies ``http.service.Observer``."""

    def __init__(self, observers: tuple[Observer, ...]) -> None:
        self._observers = observers

    def begun(self, exchange: Exchange) -> None:
        for observer in self._observers:
            observer.begun(exchange)

    def admitted(self, exchange: Exchange) -> None:
        for observer in self._observers:
            observer.admitted(exchange)

    def answered(self, exchange: Exchange) -> None:
        for observer in self._observers:
            observer.answered(exchange)

    def ended(self, exchange: Exchange) -> None:
        for observer in self._observers:
            observer.ended(exchange)

    def unreadable(self, error: ProxyError, client: str, audit_id: str) -> None:
        for observer in self._observers:
            observer.unreadable(error, client, audit_id)

    def retried(self) -> None:
        for observer in self._observers:
            observer.retried()

    def limited(self, limit: Limit) -> None:
        for observer in self._observers:
            observer.limited(limit)
