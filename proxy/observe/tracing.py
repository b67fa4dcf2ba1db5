"""Spans for each request, in the words of OpenTelemetry, sent to a collector over OTLP.

The whole of a request is one span, a child of the client's where that sent a ``traceparent``; what
it waited for are spans below it: accept (of a new connection, TLS included, until its first request
was there), authenticate, connect, wait (for the first byte of the answer) and stream. They are made
when the request has ended, from the times that the exchange has taken anyway, and sent by a thread
of the SDK's own from a queue that drops what it cannot hold: a collector that is slow or away costs
no request anything.

The API server sees our span as its parent. What a span says of a request is what a metric may say
of all of them: no user, no name, no query, no header.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import Span, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from proxy.http.exchange import Exchange
from proxy.http.service import Observer

MILLION: Final = 1_000_000
_TRACEPARENT: Final = b"traceparent"
_SERVER_ERROR: Final = 500
_NANO: Final = 1_000_000_000
# How resources are called (RFC 1123 label); a path may have anything in their place, even a token.
_RESOURCE: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,62}(?:/[a-z0-9][a-z0-9-]{0,62})?")

_propagator = TraceContextTextMapPropagator()


@dataclass(slots=True)
class _Traced:
    """A span under way; ``admitted_at`` as the times of the exchange, 0 until then."""

    span: Span
    admitted_at: float = 0.0


class Tracing(Observer):
    """Makes spans of exchanges.

    ``rate_per_million`` of the requests that bring no decision of their own are traced
    (Kubernetes' ``samplingRatePerMillion``); one whose ``traceparent`` says sampled always is.
    """

    def __init__(self, exporter: SpanExporter, rate_per_million: int, version: str) -> None:
        resource = Resource.create({SERVICE_NAME: "headlamp-auth-proxy", SERVICE_VERSION: version})
        sampler = ParentBased(TraceIdRatioBased(rate_per_million / MILLION))
        self._provider = TracerProvider(sampler=sampler, resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("headlamp-auth-proxy", version)
        self._under_way: dict[Exchange, _Traced] = {}

    def begun(self, exchange: Exchange) -> None:
        span = self._tracer.start_span(
            _name(exchange),
            context=_parent(exchange),
            kind=SpanKind.SERVER,
            start_time=_epoch(exchange.began_at),
        )
        if span.is_recording():
            self._under_way[exchange] = _Traced(span)
            exchange.head.replace(_TRACEPARENT, _traceparent(span))

    def admitted(self, exchange: Exchange) -> None:
        if traced := self._under_way.get(exchange):
            traced.admitted_at = time.perf_counter()

    def ended(self, exchange: Exchange) -> None:
        traced = self._under_way.pop(exchange, None)
        if traced is None:
            return
        span = traced.span
        span.set_attributes(dict(_attributes(exchange)))
        error = exchange.error
        if error is not None or exchange.status >= _SERVER_ERROR:
            span.set_status(Status(StatusCode.ERROR, error.label if error else None))
        within = trace.set_span_in_context(span)
        for name, began, ended in _steps(exchange, traced.admitted_at):
            step = self._tracer.start_span(name, context=within, start_time=_epoch(began))
            step.end(_epoch(ended))
        span.end(_epoch(exchange.ended_at))

    def close(self) -> None:
        """Send what is still queued. Blocks for as long as the collector lets it."""
        self._provider.shutdown()


def _parent(exchange: Exchange) -> Context:
    """Return the client's span as the context; an empty one where it sent none that is valid."""
    head = exchange.head
    sent = {
        name: head.header(name.encode()).decode("ascii", "replace")
        for name in ("traceparent", "tracestate")
    }
    return _propagator.extract(sent, Context())


def _traceparent(span: Span) -> bytes:
    carrier: dict[str, str] = {}
    _propagator.inject(carrier, trace.set_span_in_context(span, Context()))
    return carrier["traceparent"].encode()


def _name(exchange: Exchange) -> str:
    """Few for all requests (semantic conventions, HTTP spans): verb and kind of resource."""
    info = exchange.info
    what = f"{info.resource}/{info.subresource}" if info.subresource else info.resource
    if not _RESOURCE.fullmatch(what):
        return exchange.method.decode("ascii", "replace")
    return f"{info.verb} {what}"


def _attributes(exchange: Exchange) -> Iterator[tuple[str, str | int]]:
    """Yield what a span says; names of the semantic conventions where there is one."""
    yield "http.request.method", exchange.method.decode("ascii", "replace")
    yield "http.response.status_code", exchange.status
    yield "headlamp_auth_proxy.kind", exchange.kind
    yield "headlamp_auth_proxy.audit_id", exchange.audit_id
    if exchange.error is not None:
        yield "error.type", exchange.error.label
    if exchange.truncated:
        yield "headlamp_auth_proxy.truncated", 1


def _steps(exchange: Exchange, admitted_at: float) -> Iterator[tuple[str, float, float]]:
    """Yield name, begin and end of what was reached; the last one reached lasts to the end."""
    times = [
        ("accept", exchange.client.accepted_at),
        ("authenticate", exchange.began_at),
        ("connect", admitted_at),
        ("wait", exchange.sent_at),
        ("stream", exchange.answered_at),
    ]
    reached = [(name, at) for name, at in times if at]
    ends = [at for _, at in reached[1:]] + [exchange.ended_at]
    for (name, began), ended in zip(reached, ends, strict=True):
        yield name, began, ended


def _epoch(moment: float) -> int:
    """Turn a time of ``perf_counter`` into nanoseconds since 1970."""
    return time.time_ns() - int((time.perf_counter() - moment) * _NANO)
