"""Sees each exchange at its stages and tells the sinks what the policy wants to be known.

The stages are kube-apiserver's. ``RequestReceived`` is when it is known who asks, for the policy
asks that first; ``ResponseStarted`` is for long-running requests alone; and of a request that
nobody could be found for, the one event is ``ResponseStarted``. What this proxy refuses is audited
like what it passes on, with its reason among the annotations.

This is done for each request, so as little of it as can be: what is the same from one to the next
is not made anew (``memory``).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from proxy.audit.event import (
    ANSWERED,
    COMPLETE,
    RECEIVED,
    STARTED,
    ending,
    event,
    members,
    request_status,
    response_status,
    unauthenticated,
)
from proxy.audit.memory import Audited, Memory
from proxy.audit.policy import Policy
from proxy.audit.timestamps import Timestamps
from proxy.errors import AuthenticationError, ProxyError
from proxy.forwarded import Networks
from proxy.http.exchange import Exchange
from proxy.observe.access_log import MAX_DETAIL, outcome_of
from proxy.observe.together import BatchObserver
from proxy.rights import DOMAIN

_log = logging.getLogger(__name__)


class Sink(Protocol):
    """Where events go; must neither block nor raise."""

    def write(self, *lines: str) -> None:
        """Take events, each a line of JSON in ASCII without its end."""


class AuditObserver(BatchObserver):
    """Audits exchanges."""

    def __init__(
        self, policy: Policy, sinks: Sequence[Sink], forwarded_from: Networks = ()
    ) -> None:
        self._forwarded_from = forwarded_from
        self.take(policy)
        self._sinks = sinks
        self._lines: list[str] = []  # that the sinks do not have yet
        self._times = Timestamps().members
        self._begun: dict[Exchange, Audited | None] = {}  # what is to be told of their ends

    def take(self, policy: Policy) -> None:
        """Follow another policy from now on; what was told to have begun is told as it was."""
        self._memory = Memory(policy, self._forwarded_from)
        self.early = any("RequestReceived" in rule.stages for rule in policy.rules)

    def admitted(self, exchanges: Sequence[Exchange]) -> None:
        # Of one that has ended by now all is told then, and of most nothing is before its end.
        early = self.early
        begun = [e for e in exchanges if not e.ended_at and (early or e.kind != "unary")]
        self._tell_of(begun, self._admitted)

    def ended(self, exchanges: Sequence[Exchange]) -> None:
        self._tell_of(exchanges, self._complete)

    def _tell_of(self, exchanges: Sequence[Exchange], tell: Callable[[Exchange], None]) -> None:
        for exchange in exchanges:
            try:
                tell(exchange)
            except Exception:  # noqa: BLE001 - whatever it is, it is no affair of the others'
                _log.exception("[unexpected] what became of a request could not be audited")
        self._send()

    def _admitted(self, exchange: Exchange) -> None:
        self._begun[exchange] = self._begin(exchange)

    def _begin(self, exchange: Exchange) -> Audited | None:
        """Tell that a request was received, where that is wanted; return what is wanted of it."""
        audited = self._memory.find(exchange)
        if audited is not None and "RequestReceived" in audited.stages:
            # When it came it was received, whenever that is told.
            times = self._times(exchange.received_at, exchange.received_at)
            self._lines.append(event(RECEIVED, exchange.audit_id, audited.common, times))
        return audited

    def answered(self, exchange: Exchange) -> None:
        audited = self._begun.get(exchange)
        if exchange.info.long_running and audited is not None:
            self._started(exchange, audited, ANSWERED[exchange.status])
            self._send()

    def _complete(self, exchange: Exchange) -> None:
        if exchange.admission is None and isinstance(exchange.error, AuthenticationError):
            self._unauthenticated(exchange)
            return
        # What nothing was told of yet is decided now.
        begun = self._begun
        audited = begun.pop(exchange) if exchange in begun else self._begin(exchange)
        if audited is None:
            return
        if (
            exchange.kind == "unary"
            and exchange.error is None  # and so the answer was not truncated
            and exchange.missing is None
            and not exchange.annotations
            and not exchange.client_left
            and not exchange.impersonation_forbidden
        ):
            status, end = ANSWERED[exchange.status], audited.end
        else:
            status = request_status(exchange.status, exchange.error)
            end = _ending(exchange, audited)
            if not exchange.answered_at and exchange.info.long_running:
                self._started(exchange, audited, status)
        if "ResponseComplete" in audited.stages:
            times = self._times(exchange.received_at, exchange.completed_at)
            self._lines.append(
                event(COMPLETE, exchange.audit_id, audited.common, times, status, end)
            )

    def unreadable(self, error: ProxyError, client: str, audit_id: str) -> None:
        """Tell of what is known: that it came, from where, and why it was refused.

        kube-apiserver has no event of such a one, which its HTTP server answers by itself.
        """
        if audited := self._memory.of_unreadable(client):
            now = time.time()
            status = request_status(error.code, error)
            end = ending(members(_special({}, error, "")))
            times = self._times(now, now)
            self._lines.append(event(COMPLETE, audit_id, audited.common, times, status, end))
            self._send()

    def _send(self) -> None:
        if self._lines:
            lines = tuple(self._lines)
            self._lines.clear()
            for sink in self._sinks:
                sink.write(*lines)

    def _started(self, exchange: Exchange, audited: Audited, status: str, end: str = "}") -> None:
        if "ResponseStarted" in audited.stages:
            at = exchange.completed_at if exchange.ended_at else time.time()
            times = self._times(exchange.received_at, at)
            self._lines.append(
                event(STARTED, exchange.audit_id, audited.common, times, status, end)
            )

    def _unauthenticated(self, exchange: Exchange) -> None:
        if audited := self._memory.of_nobody(exchange):
            status = response_status(unauthenticated(exchange.head.authorization))
            self._started(exchange, audited, status, _ending(exchange, audited))


def _ending(exchange: Exchange, audited: Audited) -> str:
    """Return the end of an event with all annotations: what was known before, what became of it."""
    found = {**exchange.annotations, **_missing(exchange)}
    special = _special(found, exchange.error, outcome_of(exchange))
    return ending(audited.facts, members(special))


def _missing(exchange: Exchange) -> dict[str, str]:
    """Return the rule that RBAC lacked; behind ``proxy``, others could say so as well."""
    if exchange.missing is None or exchange.info.subresource == "proxy":
        return {}
    return {f"{DOMAIN}/missing-rule": str(exchange.missing)}


def _special(found: Mapping[str, str], error: ProxyError | None, outcome: str) -> dict[str, str]:
    """Return what few requests have to say; nothing is remembered of it."""
    special = {
        **found,
        f"{DOMAIN}/reason": error.label if error else "",
        f"{DOMAIN}/detail": error.detail[:MAX_DETAIL] if error and error.detail else "",
        f"{DOMAIN}/outcome": outcome,
    }
    return {key: value for key, value in special.items() if value}
