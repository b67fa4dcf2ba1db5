"""What becomes of each exchange outside of it: numbers, and one line in the log."""

from __future__ import annotations

import logging
import time
from http import HTTPStatus
from typing import Final

from proxy.errors import Denied, ProxyError, RecordingFailed
from proxy.http.exchange import Exchange
from proxy.limits import Limit
from proxy.missing_rule import MissingRule
from proxy.observe.access_log import AccessLog, Entry, Identity
from proxy.observe.metrics import Metrics
from proxy.refusals import Refusals
from proxy.speaker import PassedThrough

# Naming an enum's member costs more than all else in ``outcome_of`` (0.2 us, Python 3.11).
_SWITCHING_PROTOCOLS: Final = HTTPStatus.SWITCHING_PROTOCOLS.value

_log = logging.getLogger(__name__)


class RequestObserver:
    """Counts and logs exchanges; satisfies ``http.service.Observer``.

    With ``refusals``, what RBAC refuses is remembered there for whom it is refused.
    """

    def __init__(
        self, metrics: Metrics, access_log: AccessLog, refusals: Refusals | None = None
    ) -> None:
        self._metrics = metrics
        self._access_log = access_log
        self._refusals = refusals

    def begun(self, exchange: Exchange) -> None:
        self._metrics.request_begun(exchange.kind)

    def admitted(self, exchange: Exchange) -> None:
        """Nothing is counted here: what becomes of the request is not known yet."""

    def answered(self, exchange: Exchange) -> None:
        metrics = self._metrics
        metrics.request_answered(exchange.kind, exchange.answered_at - exchange.began_at)
        metrics.upstream_request_duration_seconds.observe(exchange.answered_at - exchange.sent_at)
        metrics.proxy_overhead_seconds.observe(exchange.sent_at - exchange.began_at)

    def ended(self, exchange: Exchange) -> None:
        metrics, answered_at = self._metrics, exchange.answered_at
        answered_for = exchange.ended_at - answered_at if answered_at else None
        metrics.request_ended(exchange.kind, exchange.status, answered_for)
        metrics.bytes_received.inc(exchange.bytes_received)
        metrics.bytes_sent.inc(exchange.bytes_sent)
        if exchange.admission is not None:
            metrics.token_accepted()
        if exchange.truncated:
            self._cut_short(exchange.error)
        elif exchange.error is not None:
            metrics.refused(exchange.error)
        if exchange.impersonation_forbidden:
            metrics.impersonation_forbidden.inc()
        if exchange.missing is not None:
            self._remember(exchange, exchange.missing)
        self._access_log.write(_entry(exchange))

    def _remember(self, exchange: Exchange, missing: MissingRule) -> None:
        """Keep it for the one who asked; what was refused to another in their place is not."""
        admission = exchange.admission
        if self._refusals is None or admission is None or admission.identity.original:
            return
        self._refusals.add(admission.bearer, missing, time.monotonic())

    def _cut_short(self, error: ProxyError | None) -> None:
        """Count an answer or stream that was ended before its time, and by whom."""
        if isinstance(error, RecordingFailed):
            self._metrics.refused(error)
        elif isinstance(error, Denied):
            self._metrics.denied_streams_ended.inc()
        else:
            self._metrics.upstream_truncated.inc()

    def unreadable(self, error: ProxyError, client: str, audit_id: str) -> None:
        self._metrics.request_begun("unary")
        self._metrics.request_ended("unary", error.code, None)
        self._metrics.refused(error)
        _log.info(
            "a request could not be read",
            extra={
                "audit_id": audit_id,
                "reason": error.label,
                "detail": error.detail,
                "client": client,
            },
        )

    def retried(self) -> None:
        self._metrics.upstream_retries.inc()

    def limited(self, limit: Limit) -> None:
        self._metrics.limited(limit)


def outcome_of(exchange: Exchange) -> str:
    """Say in a word what the status code does not."""
    if exchange.truncated:
        return "truncated"
    if exchange.impersonation_forbidden:
        return "impersonation_forbidden"
    if exchange.client_left:
        return "client_left"
    return "upstream_ended" if exchange.status == _SWITCHING_PROTOCOLS else ""


def _entry(exchange: Exchange) -> Entry:
    head = exchange.head
    identity = exchange.admission.identity if exchange.admission else None
    sent, answered = exchange.sent_at, exchange.answered_at
    return Entry(
        audit_id=exchange.audit_id,
        method=head.method,
        target=head.target,
        info=exchange.info,
        kind=exchange.kind,
        code=exchange.status,
        outcome=outcome_of(exchange),
        client=exchange.client.address,
        user_agent=head.header(b"user-agent"),
        duration=exchange.ended_at - exchange.began_at,
        upstream=answered - sent if sent and answered else None,
        bytes_in=exchange.bytes_received,
        bytes_out=exchange.bytes_sent,
        identity=Identity(
            identity.username,
            identity.groups,
            original=identity.original,
            passed_through=isinstance(identity, PassedThrough),
        )
        if identity
        else None,
        error=exchange.error,
        forwarded_for=head.forwarded_for,
        session=exchange.session.fields() if exchange.session else {},
        missing=exchange.missing,
    )
