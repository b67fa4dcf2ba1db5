"""What becomes of an exchange in metrics and log, as seen on a running data plane."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from proxy.errors import ProxyError, every_error
from proxy.http.service import Admission
from proxy.observe.access_log import AccessLog
from proxy.observe.log_writer import LogWriter
from proxy.observe.metrics import Metrics
from proxy.observe.requests import RequestObserver
from proxy.observe.together import Together
from proxy.server.showing import show_in_flight
from tests.conftest import Tls
from tests.http.conftest import Proxy, run_proxy
from tests.http.test_exchange import GET, OK, POST
from tests.http.test_tunnel import EXEC, SWITCH
from tests.wire import Upstream


class Seen:
    """A data plane whose observer is the real one."""

    def __init__(
        self, proxy: Proxy, metrics: Metrics, together: Together, writer: LogWriter, log: Path
    ) -> None:
        self.proxy, self._metrics, self._together = proxy, metrics, together
        self._writer, self._log = writer, log

    def value(self, name: str, **labels: str) -> float:
        found = self._metrics.registry.get_sample_value(f"headlamp_auth_proxy_{name}", labels)
        assert found is not None, name
        return found

    def line(self) -> dict[str, object]:
        (line,) = self.lines()
        return line

    def lines(self) -> list[dict[str, object]]:
        self._together.flush()
        self._writer.close()
        return [json.loads(line) for line in self._log.read_text().splitlines()]


@pytest.fixture
async def seen(tls: Tls, tmp_path: Path) -> AsyncIterator[Seen]:
    metrics, path = Metrics("test"), tmp_path / "log"
    with path.open("wb") as file:
        writer = LogWriter(os.dup(file.fileno()))
    together = Together([RequestObserver(metrics, AccessLog(writer))])
    metrics.registry.before = together.flush
    async with Upstream.run(tls.server) as upstream, run_proxy(tls, upstream) as proxy:
        proxy.listener.service = replace(proxy.listener.service, observer=together)
        show_in_flight(metrics, proxy.listener)
        yield Seen(proxy, metrics, together, writer, path)


async def test_every_refusal_has_one_name_in_the_answer_the_log_and_the_metrics(
    seen: Seen, monkeypatch: pytest.MonkeyPatch
) -> None:
    for error in every_error():

        def refuse(*_: object, error: type[ProxyError] = error) -> Admission:
            raise error

        monkeypatch.setattr(seen.proxy.gate, "admit", refuse)
        client = await seen.proxy.client()
        answer = await client.send(GET).answer()
        assert answer.status == error.code
        (cause,) = json.loads(answer.body)["details"]["causes"]
        assert cause["reason"] == error.label
        assert seen.value("refused_requests_total", reason=error.label) == 1
    assert [line["reason"] for line in seen.lines()] == [e.label for e in every_error()]


async def test_an_answer_that_passes(seen: Seen) -> None:
    client, api = await seen.proxy.asked(POST + b"Content-Length: 3\r\n\r\nabc")
    assert seen.value("requests_in_flight", kind="unary") == 1
    api.send(OK)
    await client.answer()
    assert seen.value("requests_in_flight", kind="unary") == 0
    assert seen.value("requests_total", code="200", kind="unary") == 1
    assert seen.value("token_results_total", result="valid") == 1
    assert seen.value("request_duration_seconds_count", kind="unary") == 1
    assert seen.value("upstream_request_duration_seconds_sum") > 0
    assert seen.value("proxy_overhead_seconds_sum") > 0
    assert seen.value("bytes_total", direction="received") == 3
    assert seen.value("bytes_total", direction="sent") > 2
    line = seen.line()
    assert (line["code"], line["verb"], line["resource"]) == (200, "create", "pods")
    assert (line["user"], line["bytes_in"]) == ("alice", 3)
    assert "outcome" not in line
    assert "reason" not in line


async def test_a_refusal_names_its_reason(seen: Seen) -> None:
    client = await seen.proxy.client()
    client.send(b"GET /api/v1/pods HTTP/1.1\r\nHost: x\r\n\r\n")
    await client.answer()
    assert seen.value("refused_requests_total", reason="token_missing") == 1
    assert seen.value("token_results_total", result="token_missing") == 1
    assert seen.value("token_results_total", result="valid") == 0
    assert seen.value("request_duration_seconds_count", kind="unary") == 0
    line = seen.line()
    assert (line["code"], line["reason"]) == (401, "token_missing")
    assert "user" not in line
    assert "upstream_ms" not in line


async def test_what_is_no_request_is_counted_too(seen: Seen) -> None:
    client = await seen.proxy.client()
    client.send(b"nonsense\r\n\r\n")
    await client.answer()
    assert seen.value("refused_requests_total", reason="malformed_request") == 1
    assert seen.value("requests_total", code="400", kind="unary") == 1


async def test_a_cut_answer_is_truncated_and_no_refusal(seen: Seen) -> None:
    client, api = await seen.proxy.asked(GET)
    api.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n123")
    await client.read_until(b"123")
    await api.end("reset")
    await client.read_to_end()
    assert seen.value("upstream_errors_total", reason="truncated") == 1
    assert seen.value("refused_requests_total", reason="upstream_reset") == 0
    assert seen.line()["outcome"] == "truncated"


async def test_a_request_that_is_sent_again_is_counted(seen: Seen) -> None:
    client, api = await seen.proxy.asked(GET)
    api.send(OK)
    await client.answer()
    client.send(GET)
    await api.read_head()
    await api.end("reset")
    again = await seen.proxy.upstream.connection()
    await again.read_head()
    again.send(OK)
    await client.answer()
    assert seen.value("upstream_retries_total") == 1


async def test_a_watch_is_open_until_it_ends(seen: Seen) -> None:
    client, api = await seen.proxy.asked(GET.replace(b"pods", b"pods?watch=1"))
    api.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n")
    await client.read_until(b"{}\r\n")
    assert seen.value("streams_open", kind="watch") == 1
    api.send(b"0\r\n\r\n")
    await client.read_until(b"0\r\n\r\n")
    assert seen.value("streams_open", kind="watch") == 0
    assert seen.value("stream_duration_seconds_count", kind="watch") == 1


async def test_a_tunnel_is_in_flight_until_it_ends(seen: Seen) -> None:
    client, api = await seen.proxy.asked(EXEC)
    api.send(SWITCH)
    await client.read_head()
    assert seen.value("requests_in_flight", kind="upgrade") == 1
    assert seen.value("streams_open", kind="upgrade") == 1
    await api.end("close")
    assert await client.ended()
    assert seen.value("requests_in_flight", kind="upgrade") == 0
    assert seen.value("streams_open", kind="upgrade") == 0


async def test_one_that_cannot_be_counted_keeps_no_other_from_it(
    seen: Seen, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ValueError("no")

    monkeypatch.setattr(Metrics, "refused", fail)
    client = await seen.proxy.client()
    for _ in range(2):
        client.send(b"GET /api/v1/pods HTTP/1.1\r\nHost: x\r\n\r\n")
        await client.answer()
    assert [line["code"] for line in seen.lines()] == [401, 401]
    assert caplog.text.count("could not be counted") == 2


async def test_a_client_that_leaves_is_said_to_have_left(seen: Seen) -> None:
    client, api = await seen.proxy.asked(GET.replace(b"pods", b"pods?watch=1"))
    await client.end("reset")
    assert await api.ended()
    assert seen.value("requests_total", code="other", kind="watch") == 1
    assert seen.value("streams_open", kind="watch") == 0
    assert seen.value("stream_duration_seconds_count", kind="watch") == 0
    assert seen.line()["outcome"] == "client_left"


async def test_who_has_too_much_under_way_is_named_in_the_log_and_nowhere_else(seen: Seen) -> None:
    seen.proxy.service.requests.limit = 1
    seen.proxy.service.requests.enter("alice")
    client = await seen.proxy.client()
    client.send(GET)
    await client.answer()
    assert seen.value("refused_requests_total", reason="too_many_requests") == 1
    assert seen.value("token_results_total", result="valid") == 1
    line = seen.line()
    assert (line["code"], line["reason"], line["user"]) == (429, "too_many_requests", "alice")


async def test_a_stream_that_is_ended_by_the_deny_list_is_no_fault_of_the_api_server(
    seen: Seen,
) -> None:
    client, api = await seen.proxy.asked(GET.replace(b"pods", b"pods?watch=1"))
    api.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n")
    await client.read_until(b"{}\r\n")
    seen.proxy.denial.denied.add("alice")
    assert seen.proxy.listener.end_denied() == 1
    assert await client.ended()
    assert seen.value("denied_streams_ended_total") == 1
    assert seen.value("upstream_errors_total", reason="truncated") == 0
    line = seen.line()
    assert (line["reason"], line["outcome"], line["user"]) == ("denied", "truncated", "alice")


async def test_a_connection_that_a_limit_ended_is_counted(seen: Seen) -> None:
    seen.proxy.listener.service.observer.limited("idle")
    assert seen.value("connections_limited_total", limit="idle") == 1


async def forbidden(seen: Seen, message: str) -> dict[str, object]:
    body = json.dumps({"kind": "Status", "message": message, "code": 403}).encode()
    client, api = await seen.proxy.asked(GET)
    head = b"HTTP/1.1 403 Forbidden\r\nContent-Length: %d\r\n\r\n" % len(body)
    api.send(head + body)
    assert (await client.answer()).body == body
    return seen.line()


async def test_what_rbac_refuses_is_logged_with_the_rule_that_is_missing(seen: Seen) -> None:
    words = 'pods is forbidden: User "alice" cannot list resource "pods" in API group ""'
    found = (await forbidden(seen, words))["missing"]
    assert isinstance(found, dict)
    assert (found["verb"], found["resource"]) == ("list", "pods")


async def test_what_a_quota_refuses_lacks_no_rule(seen: Seen) -> None:
    assert "missing" not in await forbidden(seen, "pods is forbidden: exceeded quota")
