"""Spans, as the collector gets them; and a collector that is away.

The collector is a plain HTTP server that decodes what came with OTLP's own messages.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.faults.conftest import Stage, token

ALICE = "alice@example.com"
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SAMPLED = {"traceparent": f"00-{TRACE}-{PARENT}-01", "tracestate": "vendor=1"}


class Collector(ThreadingHTTPServer):
    """Keeps every export; ``paths`` are where they were sent to."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Take)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.exports: queue.SimpleQueue[tuple[str, ExportTraceServiceRequest]] = queue.SimpleQueue()

    def spans(self) -> dict[str, Span]:
        """Return the spans of all exports so far, by name; wait for the first."""
        found: dict[str, Span] = {}
        while not found or not self.exports.empty():
            path, export = self.exports.get(timeout=20)
            assert path == "/v1/traces"
            for resource in export.resource_spans:
                for scope in resource.scope_spans:
                    found |= {span.name: span for span in scope.spans}
        return found


class _Take(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.exports.put((self.path, ExportTraceServiceRequest.FromString(body)))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


PODS = "/api/v1/namespaces/prod/pods?labelSelector=secret%3Dvalue"


def test_a_request_is_one_span_below_the_clients_and_its_steps_are_below_it(
    stage: Stage, collector: Collector
) -> None:
    with stage.serve(f"--tracing-otlp-endpoint={collector.url}/") as serve:
        serve.wait_ready()
        assert serve.get(PODS, token(ALICE), headers=SAMPLED)[0] == 200
        serve.stop()  # which sends what is queued
    spans = collector.spans()
    whole = spans.pop("list pods")
    assert (whole.trace_id.hex(), whole.parent_span_id.hex()) == (TRACE, PARENT)
    assert set(spans) == {"accept", "authenticate", "connect", "wait", "stream"}
    assert {span.parent_span_id for span in spans.values()} == {whole.span_id}
    steps = [spans[name] for name in ("accept", "authenticate", "connect", "wait", "stream")]
    for earlier, later in pairwise(steps):
        assert earlier.start_time_unix_nano <= later.start_time_unix_nano
        assert abs(earlier.end_time_unix_nano - later.start_time_unix_nano) < 1_000_000
    said = {attribute.key: attribute.value for attribute in whole.attributes}
    assert said["http.response.status_code"].int_value == 200
    assert "secret" not in str(whole)
    assert ALICE not in str(whole)
    (request,) = stage.api.requests
    assert request.values("traceparent") == [f"00-{TRACE}-{whole.span_id.hex()}-01"]
    assert request.values("tracestate") == ["vendor=1"]
    assert request.values("Audit-Id") == [said["headlamp_auth_proxy.audit_id"].string_value]


def test_requests_with_the_same_headers_have_spans_of_their_own(
    stage: Stage, collector: Collector
) -> None:
    with stage.serve(f"--tracing-otlp-endpoint={collector.url}") as serve:
        serve.wait_ready()
        alice = token(ALICE)
        for _ in range(3):
            assert serve.get(PODS, alice, headers=SAMPLED)[0] == 200
        serve.stop()
    sent = [request.values("traceparent") for request in stage.api.requests]
    assert len({parent for (parent,) in sent}) == 3
    assert len({request.values("Audit-Id")[0] for request in stage.api.requests}) == 3


def test_a_refusal_is_a_failed_span_with_its_reason(stage: Stage, collector: Collector) -> None:
    with stage.serve(f"--tracing-otlp-endpoint={collector.url}") as serve:
        serve.wait_ready()
        assert serve.get(PODS, token(ALICE, exp=1))[0] == 401
        serve.stop()
    spans = collector.spans()
    whole = spans.pop("list pods")
    assert whole.status.code == whole.status.STATUS_CODE_ERROR
    assert whole.status.message == "token_expired"
    assert set(spans) == {"accept", "authenticate"}


@pytest.mark.parametrize("bearer", ["", token(ALICE)], ids=["a stranger", "alice"])
def test_no_token_in_a_path_gets_into_a_span(
    stage: Stage, collector: Collector, bearer: str
) -> None:
    secret = token("bob@example.com")
    with stage.serve(f"--tracing-otlp-endpoint={collector.url}") as serve:
        serve.wait_ready()
        for path in (f"/api/v1/{secret}", f"/api/v1/namespaces/a/pods/p/{secret}"):
            serve.get(path, bearer or None, headers=SAMPLED)
        serve.stop()
    assert not [name for name in collector.spans() if "." in name]


@pytest.mark.parametrize(
    ("flags", "headers"),
    [
        (["--tracing-sampling-rate-per-million=0"], {}),
        ([], {"traceparent": f"00-{TRACE}-{PARENT}-00"}),
    ],
    ids=["by rate", "by the client"],
)
def test_what_is_not_sampled_passes_as_it_came(
    stage: Stage, collector: Collector, flags: list[str], headers: dict[str, str]
) -> None:
    with stage.serve(f"--tracing-otlp-endpoint={collector.url}", *flags) as serve:
        serve.wait_ready()
        assert serve.get(PODS, token(ALICE), headers=headers)[0] == 200
        serve.stop()
    assert collector.exports.empty()
    (request,) = stage.api.requests
    assert request.values("traceparent") == list(headers.values())


def test_a_collector_that_is_away_costs_nobody_anything(stage: Stage, collector: Collector) -> None:
    collector.socket.close()
    with stage.serve(f"--tracing-otlp-endpoint={collector.url}") as serve:
        serve.wait_ready()
        for _ in range(20):
            assert serve.get(PODS, token(ALICE))[0] == 200
        assert serve.stop() == 0
    assert "Traceback" not in serve.log.read_text()
