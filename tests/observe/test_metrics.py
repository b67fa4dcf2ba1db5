"""What is exported, as a scrape sees it."""

from __future__ import annotations

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from proxy import errors
from proxy.observe.metrics import FETCH_RESULTS, STREAM_KINDS, Metrics
from proxy.observe.metrics_markdown import metrics_markdown
from proxy.requestinfo import Kind

P = "headlamp_auth_proxy_"
# Names and label values of one closed set each: final, because dashboards and alerts rely on them.
CLOSED_SETS = {
    "audit_errors_total": {"log", "webhook"},
    "requests_in_flight": {"unary", "watch", "stream", "upgrade"},
    "request_duration_seconds": {"unary", "watch", "stream", "upgrade"},
    "streams_open": {"watch", "stream", "upgrade"},
    "stream_duration_seconds": {"watch", "stream", "upgrade"},
    "bytes_total": {"received", "sent"},
    "upstream_connections": {"idle", "active"},
    "token_cache_lookups_total": {"hit", "miss"},
    "jwks_fetches_total": {"success", "network", "http_error", "invalid"},
    "refused_headers_total": {"impersonate", "connection"},
    "upstream_errors_total": {
        *("upstream_unreachable", "upstream_certificate", "upstream_reset", "upstream_malformed"),
        *("upstream_timeout", "credential_unavailable", "credential_rejected", "truncated"),
    },
    "own_privileges": {
        *("everything", "beyond_impersonation", "unrestricted_impersonation"),
        *("seen_as_somebody_else", "unknown"),
    },
    "review_seconds": {
        *("TokenReview", "SubjectAccessReview", "SelfSubjectReview"),
        *("SelfSubjectAccessReview", "SelfSubjectRulesReview"),
    },
    "identity_refusals_total": {
        *("impersonation_not_allowed", "impersonation_denied"),
        *("username_malformed", "username_reserved"),
        *("group_malformed", "group_reserved", "too_many_groups"),
        *("uid_malformed", "extra_malformed"),
    },
    "connections_limited_total": {"total", "address", "handshake", "idle", "stalled"},
    "authentication_config_reloads_total": {"success", "failure"},
    "recordings_total": {"whole", "truncated", "failed"},
}
WITHOUT_LABELS = {
    *("proxy_overhead_seconds", "upstream_request_duration_seconds", "upstream_retries_total"),
    *("token_validation_seconds", "token_cache_entries", "jwks_fetch_seconds", "jwks_keys"),
    *("jwks_last_success_timestamp_seconds", "groups_dropped_total"),
    *("impersonation_forbidden_total", "credential_expiry_timestamp_seconds"),
    *("credential_reloads_total", "serving_certificate_expiry_timestamp_seconds"),
    *("event_loop_lag_seconds", "tasks", "connections_open", "connections_total"),
    *("connections_limit", "user_streams_highest", "user_requests_highest"),
    *("deny_list_entries", "deny_file_failed", "denied_streams_ended_total"),
    *("log_lines_dropped_total", "audit_policy_failed"),
}


@pytest.fixture
def metrics() -> Metrics:
    return Metrics("1.2.3", compiled=True)


def scrape(metrics: Metrics) -> dict[str, dict[frozenset[str], float]]:
    """Every series of ours: name (of a histogram, its count) to label values to value."""
    found: dict[str, dict[frozenset[str], float]] = {}
    for family in text_string_to_metric_families(generate_latest(metrics.registry).decode()):
        for sample in family.samples:
            if sample.name.startswith(P) and not sample.name.endswith(("_bucket", "_sum")):
                name = sample.name.removeprefix(P).removesuffix("_count")
                found.setdefault(name, {})[frozenset(sample.labels.values())] = sample.value
    return found


def value(metrics: Metrics, name: str, *labels: str) -> float:
    return scrape(metrics)[name][frozenset(labels)]


@pytest.mark.parametrize(("name", "values"), CLOSED_SETS.items())
def test_closed_label_sets_exist_at_zero(metrics: Metrics, name: str, values: set[str]) -> None:
    assert scrape(metrics)[name] == {frozenset({value}): 0 for value in values}


def test_nothing_else_is_exported(metrics: Metrics) -> None:
    derived = {"build_info", "refused_requests_total", "reviews_total", "token_results_total"}
    derived.add("audit_events_total")
    assert set(scrape(metrics)) == CLOSED_SETS.keys() | WITHOUT_LABELS | derived
    assert all(scrape(metrics)[name] == {frozenset(): 0} for name in WITHOUT_LABELS)


def test_every_error_has_its_refusal_series_and_nothing_else_has(metrics: Metrics) -> None:
    labels = {frozenset({error.label}) for error in errors.every_error()}
    assert scrape(metrics)["refused_requests_total"].keys() == labels


def test_token_results_are_valid_or_the_label_of_a_token_error(metrics: Metrics) -> None:
    results = scrape(metrics)["token_results_total"].keys()
    own = {"valid", "keys_unavailable", "token_too_large", "multiple_credentials"}
    refused = {e.label for e in errors.every_error() if issubclass(e, errors.AuthenticationError)}
    assert results == {frozenset({result}) for result in own | refused}


@pytest.mark.parametrize(
    ("error", "series"),
    [
        (errors.TokenExpired(), {"token_results_total"}),
        (errors.KeysUnavailable(), {"token_results_total"}),
        (errors.TokenTooLarge(), {"token_results_total"}),
        (errors.GroupReserved(), {"identity_refusals_total"}),
        (errors.UpstreamTimeout(), {"upstream_errors_total"}),
        (errors.CredentialRejected(), {"upstream_errors_total"}),
        (errors.HeadTooLarge(), set()),
        (errors.TooManyStreams(), set()),
        (errors.Denied(), set()),
    ],
    ids=lambda case: getattr(case, "label", ""),
)
def test_a_refusal_is_counted_in_each_series_of_its_kind(
    metrics: Metrics, error: errors.ProxyError, series: set[str]
) -> None:
    metrics.refused(error)
    counted = {
        name for name, values in scrape(metrics).items() if values.get(frozenset({error.label}))
    }
    assert counted == series | {"refused_requests_total"}


def test_an_identity_that_may_not_be_asserted_came_with_a_valid_token(metrics: Metrics) -> None:
    metrics.refused(errors.UsernameReserved())
    assert value(metrics, "token_results_total", "valid") == 1


@pytest.mark.parametrize(
    ("error", "header"),
    [
        (errors.ImpersonationNotAllowed(), "impersonate"),
        (errors.ConnectionNamesIdentity(), "connection"),
    ],
)
def test_smuggled_identities_are_counted_by_header(
    metrics: Metrics, error: errors.ProxyError, header: str
) -> None:
    metrics.refused(error)
    assert value(metrics, "refused_headers_total", header) == 1


def test_answers_are_counted_one_by_one_however_many_are_told_of(metrics: Metrics) -> None:
    metrics.unary_answered([0.002, 0.004], [0.2, 0.4])
    metrics.requests_ended([(201, "unary"), (200, "unary"), (201, "unary")], received=3, sent=70)
    assert value(metrics, "request_duration_seconds", "unary") == 2
    assert value(metrics, "bytes_total", "sent") == 70
    assert scrape(metrics)["requests_total"] == {
        frozenset({"unary", "200"}): 1,
        frozenset({"unary", "201"}): 2,
    }
    sample = metrics.registry.get_sample_value
    name = "headlamp_auth_proxy_request_duration_seconds"
    assert sample(f"{name}_sum", {"kind": "unary"}) == pytest.approx(0.606)
    assert sample(f"{name}_bucket", {"kind": "unary", "le": "0.25"}) == 1


@pytest.mark.parametrize("kind", STREAM_KINDS)
def test_a_stream_is_open_from_its_answer_to_its_end(metrics: Metrics, kind: Kind) -> None:
    assert value(metrics, "streams_open", kind) == 0
    metrics.stream_answered(kind, 0.1, 0.2)
    assert value(metrics, "streams_open", kind) == 1
    assert value(metrics, "request_duration_seconds", kind) == 1
    metrics.stream_ended(kind, 3600)
    assert value(metrics, "streams_open", kind) == 0
    assert value(metrics, "stream_duration_seconds", kind) == 1


@pytest.mark.parametrize("code", [0, 299, 499, 599, 999])
def test_a_code_that_is_no_registered_status_is_folded(metrics: Metrics, code: int) -> None:
    metrics.requests_ended([(code, "unary")] * 2)
    assert scrape(metrics)["requests_total"] == {frozenset({"unary", "other"}): 2}


def test_what_is_still_to_be_counted_is_counted_before_all_is_read(metrics: Metrics) -> None:
    metrics.registry.before = lambda: metrics.requests_ended([(200, "unary")])
    for count in (1, 2):
        assert scrape(metrics)["requests_total"] == {frozenset({"unary", "200"}): count}
    name = "headlamp_auth_proxy_requests_total"
    (family,) = metrics.registry.restricted_registry([name]).collect()
    assert [sample.value for sample in family.samples] == [3]


def test_tokens_groups_and_keys_are_counted(metrics: Metrics) -> None:
    metrics.cache_hits.value += 1
    metrics.cache_misses.value += 1
    metrics.token_validated(0.0002)
    metrics.tokens_accepted(1)
    metrics.groups_dropped(0)
    metrics.groups_dropped(3)
    for result in FETCH_RESULTS:
        metrics.keys_fetched(result, 0.1)
    assert value(metrics, "token_cache_lookups_total", "hit") == 1
    assert value(metrics, "token_cache_lookups_total", "miss") == 1
    assert value(metrics, "token_validation_seconds") == 1
    assert value(metrics, "token_results_total", "valid") == 1
    assert value(metrics, "groups_dropped_total") == 3
    assert value(metrics, "jwks_fetches_total", "http_error") == 1
    assert value(metrics, "jwks_fetch_seconds") == 4


def test_gauges_that_mirror_state_are_read_at_the_scrape(metrics: Metrics) -> None:
    pool = ["a"]
    metrics.upstream_connections_idle.set_function(lambda: len(pool))
    pool.append("b")
    assert value(metrics, "upstream_connections", "idle") == 2


def test_a_counter_that_the_listener_keeps_is_read_at_the_scrape(metrics: Metrics) -> None:
    metrics.connections.set_function(lambda: 7)
    assert value(metrics, "connections_total") == 7


def test_the_build_is_named(metrics: Metrics) -> None:
    (labels,) = scrape(metrics)["build_info"]
    assert "1.2.3" in labels
    assert "true" in labels


def test_the_process_is_in_the_same_registry_and_no_series_says_when_it_was_created(
    metrics: Metrics,
) -> None:
    text = generate_latest(metrics.registry).decode()
    assert "process_resident_memory_bytes" in text
    assert "python_info" in text
    assert "python_gc_collections_total" in text
    assert "_created" not in text


def test_the_documented_table_names_every_metric_and_label(metrics: Metrics) -> None:
    lines = metrics_markdown().splitlines()[2:]
    named = {line.split("`")[1].removeprefix(P) for line in lines}
    assert named == {*scrape(metrics), "requests_total"}
    assert f"| `{P}bytes_total` | counter | `direction` (received, sent) |" in metrics_markdown()
    assert f"| `{P}requests_total` | counter | `code`; `kind` (unary, watch" in metrics_markdown()
