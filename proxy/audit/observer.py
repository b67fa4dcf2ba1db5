"""Sees each exchange at its stages and tells the sinks what the policy wants to be known.

The stages are kube-apiserver's. ``RequestReceived`` is when it is known who asks, for the policy
asks that first; ``ResponseStarted`` is for long-running requests alone; and of a request that
nobody could be found for, the one event is ``ResponseStarted``. What this proxy refuses is audited
like what it passes on, with its reason among the annotations.

This is on the path of each request, so as little of it as can be: what is the same from one to the
next is not made anew (``memory``), and of unary requests, and ends, many are told at once, a
twentieth of a second later at most, because one after the other they cost less than each between
the steps of its request. Killed, the process takes with it what has not been told by then.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final, Protocol

from proxy.audit.event import (
    annotated,
    answered_status,
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
from proxy.http.service import Observer
from proxy.observe.access_log import MAX_DETAIL, outcome_of
from proxy.rights import DOMAIN

AT_ONCE: Final = 32  # beginnings and ends; no more, for telling them holds up all requests
COLLECTING: Final = 0.05  # seconds

_log = logging.getLogger(__name__)


class Sink(Protocol):
    """Where events go; must neither block nor raise."""

    def write(self, line: str) -> None:
        """Take one event, a line of JSON in ASCII without its end."""


class AuditObserver(Observer):
    """Audits exchanges; ``flush`` tells at once what is still to be told."""

    def __init__(
        self, policy: Policy, sinks: Sequence[Sink], forwarded_from: Networks = ()
    ) -> None:
        self._forwarded_from = forwarded_from
        self._memory = Memory(policy, forwarded_from)
        self._tell = sinks[0].write if len(sinks) == 1 else partial(_tell_all, tuple(sinks))
        self._moment = Timestamps().format
        self._begun: dict[Exchange, tuple[Audited, str]] = {}  # with when it was received
        self._waiting: list[tuple[Callable[[Exchange], None], Exchange]] = []
        self._timer: asyncio.TimerHandle | None = None

    def take(self, policy: Policy) -> None:
        """Follow another policy from now on; what was told to have begun is told as it was."""
        self.flush()
        self._memory = Memory(policy, self._forwarded_from)

    def admitted(self, exchange: Exchange) -> None:
        if exchange.kind != "unary":
            self._begin(exchange)
        elif self._memory.early:  # else nothing is told of it before its end
            self._later(self._begin, exchange)

    def _begin(self, exchange: Exchange) -> None:
        audited = self._memory.find(exchange)
        if audited is None:
            return
        received = self._moment(exchange.received_at)
        self._begun[exchange] = audited, received
        if "RequestReceived" in audited.stages:
            self._tell(
                event("RequestReceived", exchange.audit_id, audited.common, received, received)
            )

    def answered(self, exchange: Exchange) -> None:
        if exchange.kind == "unary":  # the most frequent by far, and never long-running
            return
        if exchange.info.long_running and (begun := self._begun.get(exchange)):
            self._started(exchange, *begun, answered_status(exchange.status))

    def ended(self, exchange: Exchange) -> None:
        self._later(self._complete, exchange)

    def _later(self, tell: Callable[[Exchange], None], exchange: Exchange) -> None:
        self._waiting.append((tell, exchange))
        if len(self._waiting) >= AT_ONCE:
            self.flush()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(COLLECTING, self.flush)

    def flush(self) -> None:
        """Tell of all that has begun or ended until now."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        waiting, self._waiting = self._waiting, []
        for tell, exchange in waiting:
            try:
                tell(exchange)
            except Exception:  # noqa: BLE001 - whatever it is, it is no affair of the others'
                _log.exception("[unexpected] what became of a request could not be audited")

    def _complete(self, exchange: Exchange) -> None:
        if exchange.admission is None and isinstance(exchange.error, AuthenticationError):
            self._unauthenticated(exchange)
            return
        begun = self._begun.pop(exchange, None)
        if begun is None:  # nothing was told of it, and what is, is decided now
            self._begin(exchange)
            begun = self._begun.pop(exchange, None)
        if begun is None:
            return
        audited, received = begun
        if (
            exchange.kind == "unary"
            and exchange.error is None  # and so the answer was not truncated
            and exchange.missing is None
            and not exchange.annotations
            and not exchange.client_left
            and not exchange.impersonation_forbidden
        ):
            status, annotations = answered_status(exchange.status), audited.annotations
        else:
            status = request_status(exchange.status, exchange.error)
            annotations = _annotations(exchange, audited)
            if not exchange.answered_at and exchange.info.long_running:
                self._started(exchange, audited, received, status)
        if "ResponseComplete" in audited.stages:
            self._tell(
                event(
                    "ResponseComplete",
                    exchange.audit_id,
                    audited.common,
                    received,
                    self._moment(_end(exchange)),
                    status,
                    annotations,
                )
            )

    def unreadable(self, error: ProxyError, client: str, audit_id: str) -> None:
        """Tell of what is known: that it came, from where, and why it was refused.

        kube-apiserver has no event of such a one, which its HTTP server answers by itself.
        """
        if audited := self._memory.of_unreadable(client):
            now, status = self._moment(time.time()), request_status(error.code, error)
            annotations = annotated(members(_special({}, error, "")))
            self._tell(
                event("ResponseComplete", audit_id, audited.common, now, now, status, annotations)
            )

    def _started(
        self,
        exchange: Exchange,
        audited: Audited,
        received: str,
        status: str,
        annotations: str = "",
    ) -> None:
        if "ResponseStarted" in audited.stages:
            at = _end(exchange) if exchange.ended_at else time.time()
            now, audit_id = self._moment(at), exchange.audit_id
            self._tell(
                event(
                    "ResponseStarted", audit_id, audited.common, received, now, status, annotations
                )
            )

    def _unauthenticated(self, exchange: Exchange) -> None:
        if audited := self._memory.of_nobody(exchange):
            received = self._moment(exchange.received_at)
            status = response_status(unauthenticated(exchange.head.authorization))
            annotations = _annotations(exchange, audited)
            self._started(exchange, audited, received, status, annotations)


def _end(exchange: Exchange) -> float:
    """Return when an exchange has ended, in unix seconds."""
    return exchange.received_at + exchange.ended_at - exchange.began_at


def _tell_all(sinks: Sequence[Sink], line: str) -> None:
    for sink in sinks:
        sink.write(line)


def _annotations(exchange: Exchange, audited: Audited) -> str:
    """Return all annotations: what was known before, and what became of the request."""
    found = {**exchange.annotations, **_missing(exchange)}
    special = _special(found, exchange.error, outcome_of(exchange))
    return annotated(audited.facts, members(special))


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
