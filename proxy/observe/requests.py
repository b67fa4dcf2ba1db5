"""What becomes of each exchange outside of it: numbers, and one line in the log."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

from proxy.errors import Denied, ProxyError, RecordingFailed
from proxy.http.exchange import Exchange
from proxy.limits import Limit
from proxy.missing_rule import MissingRule
from proxy.observe.access_log import AccessLog
from proxy.observe.metrics import Metrics
from proxy.observe.together import BatchObserver
from proxy.refusals import Refusals

_log = logging.getLogger(__name__)


class RequestObserver(BatchObserver):
    """Counts and logs exchanges.

    With ``refusals``, what RBAC refuses is remembered there for whom it is refused.
    """

    def __init__(
        self, metrics: Metrics, access_log: AccessLog, refusals: Refusals | None = None
    ) -> None:
        self._metrics = metrics
        self._access_log = access_log
        self._refusals = refusals

    def answered(self, exchange: Exchange) -> None:
        sent_at = exchange.sent_at
        self._metrics.stream_answered(
            exchange.kind, sent_at - exchange.began_at, exchange.answered_at - sent_at
        )

    def ended(self, exchanges: Sequence[Exchange]) -> None:
        metrics = self._metrics
        metrics.requests_ended(
            [(exchange.status, exchange.kind) for exchange in exchanges],
            received=sum([exchange.bytes_received for exchange in exchanges]),
            sent=sum([exchange.bytes_sent for exchange in exchanges]),
        )
        unary = [e for e in exchanges if e.answered_at and e.kind == "unary"]
        metrics.unary_answered(
            [exchange.sent_at - exchange.began_at for exchange in unary],
            [exchange.answered_at - exchange.sent_at for exchange in unary],
        )
        metrics.tokens_accepted(sum([e.admission is not None for e in exchanges]))
        self._access_log.write(exchanges)
        for exchange in exchanges:
            try:
                self._note_special(exchange)
            except Exception:  # noqa: BLE001 - whatever it is, it is no affair of the others'
                _log.exception("[unexpected] what became of a request could not be counted")

    def _note_special(self, exchange: Exchange) -> None:
        """Count what few requests have to say."""
        if exchange.error is not None:
            self._failed(exchange.error, truncated=exchange.truncated)
        if exchange.impersonation_forbidden:
            self._metrics.impersonation_forbidden.inc()
        if exchange.missing is not None:
            self._remember(exchange, exchange.missing)
        if exchange.answered_at and exchange.kind != "unary":
            self._metrics.stream_ended(exchange.kind, exchange.ended_at - exchange.answered_at)

    def _remember(self, exchange: Exchange, missing: MissingRule) -> None:
        """Keep it for the one who asked; what was refused to another in their place is not."""
        admission = exchange.admission
        if self._refusals is None or admission is None or admission.identity.original:
            return
        self._refusals.add(admission.bearer, missing, time.monotonic())

    def _failed(self, error: ProxyError, *, truncated: bool) -> None:
        """Count a refusal; or an answer that was ended before its time, by whom."""
        if not truncated or isinstance(error, RecordingFailed):
            self._metrics.refused(error)
        elif isinstance(error, Denied):
            self._metrics.denied_streams_ended.inc()
        else:
            self._metrics.upstream_truncated.inc()

    def unreadable(self, error: ProxyError, client: str, audit_id: str) -> None:
        self._metrics.requests_ended([(error.code, "unary")])
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
