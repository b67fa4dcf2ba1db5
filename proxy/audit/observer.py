"""Sees each exchange at its stages and tells the sinks what the policy wants to be known.

The stages are kube-apiserver's. ``RequestReceived`` is when it is known who asks, for the policy
asks that first; ``ResponseStarted`` is for long-running requests alone; and of a request that
nobody could be found for, the one event is ``ResponseStarted``. What this proxy refuses is audited
like what it passes on, with its reason among the annotations.

This is on the path of each request: what is the same from one to the next is not made anew
(``memory``), and what few requests have to say is looked for before it is put together.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Protocol

from proxy.audit.event import event, members, request_status, response_status, unauthenticated
from proxy.audit.memory import Audited, Memory
from proxy.audit.policy import Policy, Stage
from proxy.errors import AuthenticationError, ProxyError
from proxy.forwarded import Networks
from proxy.http.exchange import Exchange
from proxy.http.service import Observer
from proxy.observe.access_log import MAX_DETAIL, outcome_of
from proxy.rights import DOMAIN


class Sink(Protocol):
    """Where events go; must neither block nor raise."""

    def write(self, line: str) -> None:
        """Take one event, a line of JSON in ASCII without its end."""


class AuditObserver(Observer):
    """Audits exchanges."""

    def __init__(
        self, policy: Policy, sinks: Sequence[Sink], forwarded_from: Networks = ()
    ) -> None:
        self._forwarded_from = forwarded_from
        self._memory = Memory(policy, forwarded_from)
        self._sinks = tuple(sinks)
        self._audited: dict[Exchange, Audited] = {}

    def take(self, policy: Policy) -> None:
        """Follow another policy from now on; what has begun is told as it was decided."""
        self._memory = Memory(policy, self._forwarded_from)

    def admitted(self, exchange: Exchange) -> None:
        if audited := self._begin(exchange):
            self._audited[exchange] = audited

    def answered(self, exchange: Exchange) -> None:
        if exchange.kind == "unary":  # the most frequent by far, and never long-running
            return
        if exchange.info.long_running and (audited := self._audited.get(exchange)):
            self._started(exchange, audited, request_status(exchange.status, None))

    def ended(self, exchange: Exchange) -> None:
        audited = self._audited.pop(exchange, None)
        if exchange.admission is None:  # refused, or given up, before it was known who asks
            if isinstance(exchange.error, AuthenticationError):
                self._unauthenticated(exchange)
                return
            audited = self._begin(exchange)
        if audited is None:
            return
        status = request_status(exchange.status, exchange.error)
        if not exchange.answered_at and exchange.info.long_running:
            self._started(exchange, audited, status)
        if "ResponseComplete" in audited.stages:
            annotations = _annotations(exchange, audited)
            self._tell(exchange, audited, "ResponseComplete", time.time(), status, annotations)

    def unreadable(self, error: ProxyError, client: str, audit_id: str) -> None:
        """Tell of what is known: that it came, from where, and why it was refused.

        kube-apiserver has no event of such a one, which its HTTP server answers by itself.
        """
        if audited := self._memory.of_unreadable(client):
            now, special = time.time(), members(_special({}, error, ""))
            status, annotations = request_status(error.code, error), f',"annotations":{{{special}}}'
            self._write(
                event("ResponseComplete", audit_id, audited.common, now, now, status, annotations)
            )

    def _begin(self, exchange: Exchange) -> Audited | None:
        """Return what is to be told of a request, having told that it was received."""
        audited = self._memory.find(exchange)
        if audited is not None and "RequestReceived" in audited.stages:
            self._tell(exchange, audited, "RequestReceived", exchange.received_at)
        return audited

    def _started(
        self, exchange: Exchange, audited: Audited, status: str, annotations: str = ""
    ) -> None:
        if "ResponseStarted" in audited.stages:
            self._tell(exchange, audited, "ResponseStarted", time.time(), status, annotations)

    def _unauthenticated(self, exchange: Exchange) -> None:
        if audited := self._memory.of_nobody(exchange):
            status = response_status(unauthenticated(exchange.head.authorization))
            self._started(exchange, audited, status, _annotations(exchange, audited))

    def _tell(
        self,
        exchange: Exchange,
        audited: Audited,
        stage: Stage,
        at: float,
        status: str = "",
        annotations: str = "",
    ) -> None:
        line = event(
            stage,
            exchange.audit_id,
            audited.common,
            exchange.received_at,
            at,
            status,
            annotations,
        )
        self._write(line)

    def _write(self, line: str) -> None:
        for sink in self._sinks:
            sink.write(line)


def _annotations(exchange: Exchange, audited: Audited) -> str:
    """Return all annotations: what the token says, and what became of the request."""
    error, outcome = exchange.error, outcome_of(exchange)
    found = audited.annotations
    if error is not None or outcome or exchange.annotations or exchange.missing:
        special = members(_special({**exchange.annotations, **_missing(exchange)}, error, outcome))
        found = f"{found},{special}" if found and special else found or special
    return f',"annotations":{{{found}}}' if found else ""


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
