"""What the proxy counts, in one registry, under names and label values that are final.

No user, group, token, path or namespace is ever a label: metrics are read by more people than the
cluster's secrets, and a label that a client chooses is a series that a client creates. So every
set of label values is closed and exists from the start, at zero (``rate()`` then sees the first
event); only ``code`` grows, within the registered HTTP statuses.

Label values are not typed again: kinds come from ``requestinfo``, reasons from ``errors``. A
refusal is counted by one call, ``refused``, which knows all the series that an error belongs to.
Children are bound once, so that a request pays for increments and not for look-ups.
"""

from __future__ import annotations

import platform
from collections import Counter as Multiset
from collections.abc import Callable, Iterable, Sequence
from http import HTTPStatus
from operator import add
from typing import Final, Literal, TypeVar, get_args

import prometheus_client
from prometheus_client import (
    CollectorRegistry,
    GCCollector,
    Info,
    Metric,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector, RestrictedRegistry

from proxy.authn.fetch import FetchResult
from proxy.errors import (
    AuthenticationError,
    ConnectionNamesIdentity,
    CredentialError,
    IdentityError,
    ImpersonationNotAllowed,
    KeysUnavailable,
    MultipleCredentials,
    ProxyError,
    TokenTooLarge,
    UpstreamError,
    every_error,
)
from proxy.limits import Limit
from proxy.observe.series import Counter, Gauge, Histogram
from proxy.requestinfo import KINDS, Kind
from proxy.reviews import documents
from proxy.reviews.privileges import FINDINGS
from proxy.sessions.recorder import Result

PREFIX: Final = "headlamp_auth_proxy"

FETCH_RESULTS: Final[tuple[FetchResult, ...]] = get_args(FetchResult)
CONNECTION_LIMITS: Final[tuple[Limit, ...]] = get_args(Limit)
AuditSink = Literal["log", "webhook"]
AUDIT_SINKS: Final[tuple[AuditSink, ...]] = get_args(AuditSink)
RECORDING_RESULTS: Final[tuple[Result, ...]] = get_args(Result)
STREAM_KINDS: Final[tuple[Kind, ...]] = tuple(kind for kind in KINDS if kind != "unary")
TOKEN_ERRORS: Final = (AuthenticationError, KeysUnavailable, TokenTooLarge, MultipleCredentials)

_KNOWN_CODES: Final = frozenset(status.value for status in HTTPStatus)
_REFUSED_HEADERS: Final = {
    ImpersonationNotAllowed.label: "impersonate",
    ConnectionNamesIdentity.label: "connection",
}

_REQUEST_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_FINE_BUCKETS: Final = (0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1)
_STREAM_BUCKETS: Final = (1, 10, 60, 300, 900, 1800, 3600, 7200, 14400)
_FETCH_BUCKETS: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_LAG_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5)

# A ``_created`` series beside every counter and histogram would be read by nobody.
disable_created_metrics()  # type: ignore[no-untyped-call]


class MirroredCounter(Collector):
    """A counter that somebody else keeps anyway, read at the scrape, as gauges can be."""

    def __init__(self, name: str, text: str, registry: CollectorRegistry) -> None:
        self._name = name
        self._text = text
        self._read: Callable[[], float] = lambda: 0
        registry.register(self)

    def set_function(self, read: Callable[[], float]) -> None:
        self._read = read

    def collect(self) -> Iterable[Metric]:
        yield CounterMetricFamily(self._name, self._text, self._read())


class Registry(CollectorRegistry):
    """Has ``before`` do what is still to be done whenever it is about to be read, in part too."""

    def __init__(self) -> None:
        super().__init__()
        self.before: Callable[[], None] = lambda: None

    def collect(self) -> Iterable[Metric]:
        self.before()
        return super().collect()

    def restricted_registry(self, names: Iterable[str]) -> RestrictedRegistry:
        self.before()
        return super().restricted_registry(names)


class _ByCode(dict[tuple[int, Kind], Counter]):
    """Requests by status and kind; there is a series of each that was sent, from then on."""

    def __init__(self, requests: Counter) -> None:
        super().__init__()
        self._requests = requests

    def __missing__(self, key: tuple[int, Kind]) -> Counter:
        code, kind = key
        label = str(code) if code in _KNOWN_CODES else "other"
        child = self[key] = self._requests.labels(label, kind)
        return child


class Metrics:
    """Every metric of one process. Gauges that mirror state are bound with ``set_function``."""

    def __init__(self, version: str, *, compiled: bool = False) -> None:
        self.registry = Registry()
        self._histograms: list[Histogram] = []
        self._build_info(version, compiled=compiled)
        self._requests()
        self._upstream()
        self._tokens()
        self._keys()
        self._identity()
        self._reviews()
        self._audit()
        self._process()
        self._refusals = {error.label: self._series_of(error) for error in every_error()}

    def fold(self) -> None:
        """Sort what was observed into its buckets; to be done once in a while."""
        for histogram in self._histograms:
            histogram.fold()

    # a request, in the order of its life

    def stream_answered(self, kind: Kind, overhead: float, upstream: float) -> None:
        """Count an answer that begins: seconds until the request was sent on, and from then on."""
        self._proxy_overhead.observe(overhead)
        self._upstream_duration.observe(upstream)
        self._duration[kind].observe(overhead + upstream)
        self._streams_open[kind].inc()

    def stream_ended(self, kind: Kind, lasted: float) -> None:
        """Count the end of what ``stream_answered`` has counted, so many seconds later."""
        self._streams_open[kind].dec()
        self._stream_duration[kind].observe(lasted)

    def unary_answered(self, overheads: Sequence[float], upstream: Sequence[float]) -> None:
        """Count answers: of each the same seconds, at the same place in both."""
        self._proxy_overhead.observe_all(overheads)
        self._upstream_duration.observe_all(upstream)
        self._duration["unary"].observe_all(map(add, overheads, upstream))

    def requests_ended(
        self, ends: Iterable[tuple[int, Kind]], *, received: int = 0, sent: int = 0
    ) -> None:
        """Count the ends of requests, whatever ends those are.

        Of each, the status that its client was sent, 0 for none, and its kind. ``received`` are the
        bytes of the bodies that came, ``sent`` those of all that was sent.
        """
        for end, count in Multiset(ends).items():
            self._requests_total[end].inc(count)
        self._received.inc(received)
        self._sent.inc(sent)

    def refused(self, error: ProxyError) -> None:
        """Count an answer that the proxy itself gave, in every series that it belongs to."""
        for child in self._refusals[error.label]:
            child.inc()

    def limited(self, limit: Limit) -> None:
        """Count a connection that a limit refused or ended."""
        self._limited[limit].inc()

    # tokens, groups and keys

    def token_validated(self, seconds: float) -> None:
        """Count the time that it took to verify a token that the cache did not hold."""
        self._token_validation.observe(seconds)

    def tokens_accepted(self, count: int) -> None:
        """Count requests whose token is valid and whose identity may be asserted."""
        self._token_valid.inc(count)

    def groups_dropped(self, count: int) -> None:
        if count:
            self._groups_dropped.inc(count)

    def authentication_config_reloaded(self, result: str) -> None:
        """Count a new version of the file: ``success``, or ``failure`` if the old one stays."""
        self._reloads[result].inc()

    def keys_fetched(self, result: FetchResult, seconds: float) -> None:
        self._fetches[result].inc()
        self._fetch_duration.observe(seconds)

    def reviewed(self, kind: str, outcome: documents.Outcome, seconds: float) -> None:
        """Count a question to the API server, ``seconds`` after it was put."""
        self._review_results[kind, outcome].inc()
        self._review_duration[kind].observe(seconds)

    def audit_written(self, sink: AuditSink, count: int) -> None:
        """Count audit events that have reached a sink."""
        self._audit_events[sink, "written"].inc(count)

    def audit_dropped(self, sink: AuditSink, count: int) -> None:
        """Count audit events that a sink will never have."""
        self._audit_events[sink, "dropped"].inc(count)

    def audit_failed(self, sink: AuditSink) -> None:
        """Count an attempt to reach a sink that has failed."""
        self._audit_errors[sink].inc()

    # what there is

    def _build_info(self, version: str, *, compiled: bool) -> None:
        build = Info(
            f"{PREFIX}_build",
            "What is running, and whether it is compiled (true, false).",
            registry=self.registry,
        )
        build.info(
            {
                "version": version,
                "python_version": platform.python_version(),
                "compiled": str(compiled).lower(),
            }
        )

    def _requests(self) -> None:
        requests = self._counter(
            "requests_total", "Requests, by the status that was sent and by kind.", "code", "kind"
        )
        self._requests_total = _ByCode(requests)
        in_flight = self._gauge("requests_in_flight", "Requests being served.", "kind")
        self.requests_in_flight = _bind(in_flight.labels, KINDS)
        duration = self._histogram(
            "request_duration_seconds",
            "From the request's head to the head of the API server's answer.",
            _REQUEST_BUCKETS,
            "kind",
        )
        self._duration = _bind(duration.labels, KINDS)
        self._proxy_overhead = self._histogram(
            "proxy_overhead_seconds",
            "From the request's head to its being sent on: the proxy's own share.",
            _FINE_BUCKETS,
        )
        streams = self._gauge("streams_open", "Watches, streams and upgrades under way.", "kind")
        self._streams_open = _bind(streams.labels, STREAM_KINDS)
        stream_duration = self._histogram(
            "stream_duration_seconds",
            "How long watches, streams and upgrades lasted.",
            _STREAM_BUCKETS,
            "kind",
        )
        self._stream_duration = _bind(stream_duration.labels, STREAM_KINDS)
        transferred = self._counter(
            "bytes_total", "Bytes received from clients and sent to them.", "direction"
        )
        self._received = transferred.labels("received")
        self._sent = transferred.labels("sent")
        self._refused_requests = self._counter(
            "refused_requests_total", "Requests that the proxy itself answered, by why.", "reason"
        )

    def _upstream(self) -> None:
        self._upstream_duration = self._histogram(
            "upstream_request_duration_seconds",
            "From the request being sent to the API server to the head of its answer.",
            _REQUEST_BUCKETS,
        )
        self._upstream_errors = self._counter(
            "upstream_errors_total", "Answers that the API server failed to give.", "reason"
        )
        self.upstream_truncated = self._upstream_errors.labels("truncated")
        connections = self._gauge("upstream_connections", "Connections to the API server.", "state")
        self.upstream_connections_idle = connections.labels("idle")
        self.upstream_connections_active = connections.labels("active")
        self.upstream_retries = self._counter(
            "upstream_retries_total", "Requests that were sent to the API server a second time."
        )
        self.credential_expiry = self._gauge(
            "credential_expiry_timestamp_seconds",
            "When the proxy's own token for the API server expires; 0 if it does not say.",
        )
        self.credential_reloads = MirroredCounter(
            f"{PREFIX}_credential_reloads",
            "Times that the proxy's own token has changed.",
            self.registry,
        )

    def _tokens(self) -> None:
        self._token_results = self._counter(
            "token_results_total", "What became of the tokens (or their absence).", "result"
        )
        self._token_valid = self._token_results.labels("valid")
        self._token_validation = self._histogram(
            "token_validation_seconds",
            "Verifying a token that the cache did not hold.",
            _FINE_BUCKETS,
        )
        lookups = self._counter(
            "token_cache_lookups_total", "Look-ups of verified tokens.", "result"
        )
        self.cache_hits = lookups.labels("hit").number
        self.cache_misses = lookups.labels("miss").number
        self.token_cache_entries = self._gauge("token_cache_entries", "Verified tokens held.")

    def _keys(self) -> None:
        fetches = self._counter(
            "jwks_fetches_total", "Fetches of issuers' key sets (discovery included).", "result"
        )
        self._fetches = _bind(fetches.labels, FETCH_RESULTS)
        self._fetch_duration = self._histogram(
            "jwks_fetch_seconds", "How long fetches of key sets took.", _FETCH_BUCKETS
        )
        self.jwks_last_success = self._gauge(
            "jwks_last_success_timestamp_seconds",
            "When keys were last fetched; of several issuers, the one for which it is longest ago.",
        )
        self.jwks_keys = self._gauge("jwks_keys", "Keys held, of all issuers.")
        reloads = self._counter(
            "authentication_config_reloads_total",
            "New versions of --authentication-config, by whether they came into force.",
            "result",
        )
        self._reloads = _bind(reloads.labels, ("success", "failure"))

    def _identity(self) -> None:
        self._identity_refusals = self._counter(
            "identity_refusals_total", "Identities that may not be asserted.", "reason"
        )
        self._groups_dropped = self._counter(
            "groups_dropped_total", "Groups dropped because --groups-allow does not match them."
        )
        self._refused_headers = self._counter(
            "refused_headers_total", "Attempts of a client to bring an identity along.", "header"
        )
        self.user_streams_highest = self._gauge(
            "user_streams_highest",
            "Watches, streams and upgrades under way of the user who has the most.",
        )
        self.user_requests_highest = self._gauge(
            "user_requests_highest", "Other requests in flight of the user who has the most."
        )
        self.deny_list_entries = self._gauge(
            "deny_list_entries", "Users, groups, subjects and token ids that are denied."
        )
        self.deny_file_failed = self._gauge(
            "deny_file_failed", "1 while --deny-file cannot be used and an older list is in force."
        )
        self.denied_streams_ended = self._counter(
            "denied_streams_ended_total",
            "Answers and streams that were cut because their user came to be denied.",
        )
        self.impersonation_forbidden = self._counter(
            "impersonation_forbidden_total",
            "Answers that say that the proxy's own account may not impersonate: RBAC is wrong.",
        )

    def _reviews(self) -> None:
        reviews = self._counter(
            "reviews_total",
            "Questions to the API server: who somebody is, what somebody may do.",
            "kind",
            "result",
        )
        self._review_results = {
            (k, r): reviews.labels(k, r) for k in documents.KINDS for r in documents.OUTCOMES
        }
        duration = self._histogram(
            "review_seconds", "How long the API server took to answer.", _FETCH_BUCKETS, "kind"
        )
        self._review_duration = _bind(duration.labels, documents.KINDS)
        privileges = self._gauge(
            "own_privileges",
            "1 for what was found of the rights of the proxy's own account, or could not be.",
            "finding",
        )
        self.own_privileges = _bind(privileges.labels, FINDINGS)

        recordings = self._counter(
            "recordings_total",
            "Recordings of sessions that have ended, by what became of the file.",
            "result",
        )
        self._recordings = _bind(recordings.labels, RECORDING_RESULTS)

    def _audit(self) -> None:
        events = self._counter(
            "audit_events_total", "Audit events, by sink and by what became of them.",
            "sink", "result",
        )  # fmt: skip
        self._audit_events = {
            (sink, result): events.labels(sink, result)
            for sink in AUDIT_SINKS
            for result in ("written", "dropped")
        }
        errors = self._counter(
            "audit_errors_total", "Attempts to write or send audit events that failed.", "sink"
        )
        self._audit_errors = _bind(errors.labels, AUDIT_SINKS)
        self.audit_policy_failed = self._gauge(
            "audit_policy_failed",
            "1 while --audit-policy-file cannot be used and an older policy is in force.",
        )

    def _process(self) -> None:
        self.serving_certificate_expiry = self._gauge(
            "serving_certificate_expiry_timestamp_seconds",
            "When the certificate that is served expires; 0 without TLS.",
        )
        self.event_loop_lag_seconds = self._histogram(
            "event_loop_lag_seconds", "How late the event loop was for a timer.", _LAG_BUCKETS
        )
        self.tasks = self._gauge("tasks", "Tasks of the event loop.")
        self.connections_open = self._gauge("connections_open", "Connections of clients.")
        self.connections = MirroredCounter(
            f"{PREFIX}_connections", "Connections that were accepted from clients.", self.registry
        )
        self.connections_limit = self._gauge(
            "connections_limit",
            "The most connections of clients: --max-connections, or what descriptors allow.",
        )
        limited = self._counter(
            "connections_limited_total", "Connections that a limit refused or ended.", "limit"
        )
        self._limited = _bind(limited.labels, CONNECTION_LIMITS)
        # The writer's thread counts here too, so this one keeps its lock.
        self.log_lines_dropped = prometheus_client.Counter(
            f"{PREFIX}_log_lines_dropped_total",
            "Log lines lost because standard error did not take them.",
            registry=self.registry,
        )
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        GCCollector(registry=self.registry)

    def recording_ended(self, result: Result) -> None:
        self._recordings[result].inc()

    def _series_of(self, error: type[ProxyError]) -> list[Counter]:
        """Create and return the children that one refusal of this class increments."""
        series = [self._refused_requests.labels(error.label)]
        if issubclass(error, TOKEN_ERRORS):
            series.append(self._token_results.labels(error.label))
        if issubclass(error, IdentityError):
            # The token was; the identity in it may not be asserted.
            series.append(self._token_valid)
            series.append(self._identity_refusals.labels(error.label))
        if issubclass(error, UpstreamError | CredentialError):
            series.append(self._upstream_errors.labels(error.label))
        if error.label in _REFUSED_HEADERS:
            series.append(self._refused_headers.labels(_REFUSED_HEADERS[error.label]))
        return series

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"{PREFIX}_{name}", text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"{PREFIX}_{name}", text, labels, registry=self.registry)

    def _histogram(self, name: str, text: str, buckets: Sequence[float], *labels: str) -> Histogram:
        made = Histogram(f"{PREFIX}_{name}", text, labels, registry=self.registry, buckets=buckets)
        self._histograms.append(made)
        return made


_Child = TypeVar("_Child")
_Value = TypeVar("_Value", bound=str)


def _bind(labels: Callable[[str], _Child], values: Iterable[_Value]) -> dict[_Value, _Child]:
    """Create the children of a closed set of label values, at zero."""
    return {value: labels(value) for value in values}
