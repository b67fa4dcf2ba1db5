"""Audit events on their way to a webhook, which is a real HTTPS server with a script."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from http import HTTPStatus
from pathlib import Path

import pytest

from proxy.audit import webhook
from proxy.audit.webhook import WebhookSink
from proxy.credentials.kubeconfig import KubeconfigError, webhook_from_kubeconfig
from tests.scripted_server import Reply, Request, ScriptedServer
from tests.wire import PATIENCE


class Collector(ScriptedServer):
    """Takes events; first answers with each status of ``script``."""

    def __init__(self, folder: Path, *script: int) -> None:
        super().__init__(folder)
        self.script = list(script)

    def answer(self, request: Request, reply: Reply) -> None:
        status = HTTPStatus(self.script.pop(0)) if self.script else HTTPStatus.OK
        reply.whole(b"", "text/plain", status)

    def taken(self) -> list[list[int]]:
        """The events of each request."""
        return [[event["n"] for event in request.json()["items"]] for request in self.requests]


def kubeconfig(server: Collector, folder: Path, **user: str) -> Path:
    path = folder / "webhook.kubeconfig"
    cluster = {"server": f"{server.url}/audit?x=1", "certificate-authority": str(server.ca_file)}
    context = {"cluster": "c", "user": "u"} if user else {"cluster": "c"}
    document = {
        "clusters": [{"name": "c", "cluster": cluster}],
        "users": [{"name": "u", "user": user}],
        "contexts": [{"name": "x", "context": context}],
        "current-context": "x",
    }
    path.write_text(json.dumps(document))
    return path


class Sending:
    """A sink that is sending, and what it told."""

    def __init__(self, sink: WebhookSink) -> None:
        self.sink = sink
        self.written = self.dropped = self.errors = 0
        self._told = asyncio.Event()
        sink.on_write = lambda count: self._count(written=count)
        sink.on_drop = lambda count: self._count(dropped=count)
        sink.on_error = lambda: self._count(errors=1)

    def _count(self, written: int = 0, dropped: int = 0, errors: int = 0) -> None:
        self.written += written
        self.dropped += dropped
        self.errors += errors
        self._told.set()

    def write(self, *numbers: int) -> None:
        for n in numbers:
            self.sink.write(json.dumps({"n": n}))

    async def settled(self, count: int) -> None:
        async with asyncio.timeout(PATIENCE):
            while self.written + self.dropped < count:
                self._told.clear()
                await self._told.wait()


@contextlib.asynccontextmanager
async def sending(path: Path) -> AsyncIterator[Sending]:
    sink = WebhookSink(webhook_from_kubeconfig(path))
    task = asyncio.create_task(sink.run())
    try:
        yield Sending(sink)
    finally:
        await sink.close(task)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhook, "COLLECTING", 0.01)
    monkeypatch.setattr(webhook, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(webhook, "FLUSHING", 0.5)


async def test_events_arrive_as_a_list_at_the_path_with_the_credential(tmp_path: Path) -> None:
    with Collector(tmp_path) as collector:
        async with sending(kubeconfig(collector, tmp_path, token="hook")) as events:
            events.write(1, 2)
            await events.settled(2)
        (request,) = collector.requests
    assert (request.method, request.target) == ("POST", "/audit?x=1")
    assert request.values("Authorization") == ["Bearer hook"]
    assert request.json() == {
        "kind": "EventList",
        "apiVersion": "audit.k8s.io/v1",
        "metadata": {},
        "items": [{"n": 1}, {"n": 2}],
    }
    assert (events.written, events.dropped, events.errors) == (2, 0, 0)


async def test_a_batch_is_no_larger_than_it_may_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhook, "MAX_BATCH", 2)
    monkeypatch.setattr(webhook, "COLLECTING", PATIENCE)  # nobody waits for what is enough
    with Collector(tmp_path) as collector:
        async with sending(kubeconfig(collector, tmp_path)) as events:
            events.write(1, 2, 3, 4)
            await events.settled(4)
        assert collector.taken() == [[1, 2], [3, 4]]
        assert collector.requests[0].values("Authorization") == []


async def test_a_batch_is_sent_until_it_arrives(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with Collector(tmp_path, 503, 503, 429, 401) as collector:
        async with sending(kubeconfig(collector, tmp_path)) as events:
            events.write(1)
            await events.settled(1)
        assert collector.taken() == [[1]] * 5
    assert (events.written, events.dropped, events.errors) == (1, 0, 4)
    said = [record.message for record in caplog.records if "does not take" in record.message]
    assert said == [
        f"the audit webhook does not take events: it answered {status}"
        for status in (503, 429, 401)
    ]


@pytest.mark.parametrize("status", [400, 307])
async def test_what_is_refused_for_good_is_dropped_and_the_next_goes_on(
    tmp_path: Path, status: int
) -> None:
    with Collector(tmp_path, status) as collector:
        async with sending(kubeconfig(collector, tmp_path)) as events:
            events.write(1)
            await events.settled(1)
            events.write(2)
            await events.settled(2)
        assert collector.taken() == [[1], [2]]
    assert (events.written, events.dropped, events.errors) == (1, 1, 1)


async def test_a_queue_that_is_full_drops_what_comes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhook, "MAX_QUEUED", 2)
    with Collector(tmp_path) as collector:
        async with sending(kubeconfig(collector, tmp_path)) as events:
            events.write(1, 2, 3)
            assert events.dropped == 1
            await events.settled(3)
        assert collector.taken() == [[1, 2]]


async def test_of_events_that_come_together_those_that_fit_are_queued(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhook, "MAX_QUEUED", 3)
    with Collector(tmp_path) as collector:
        async with sending(kubeconfig(collector, tmp_path)) as events:
            events.sink.write('{"n": 1}', '{"n": 2}')
            events.sink.write('{"n": 3}', '{"n": 4}')
            assert events.dropped == 1
            await events.settled(4)
        assert collector.taken() == [[1, 2, 3]]


async def test_a_queue_is_bounded_by_its_size_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An event has its request's URI, which anybody can make 60 KB long, without any token."""
    monkeypatch.setattr(webhook, "MAX_QUEUED_SIZE", 20)
    with Collector(tmp_path) as collector:
        async with sending(kubeconfig(collector, tmp_path)) as events:
            for n in (1, 2, 3):
                events.write(n)  # 8 characters each
                if n == 2:
                    assert events.dropped == 0
            assert events.dropped == 1
            await events.settled(3)
            events.write(4, 5)  # there is room again
            await events.settled(5)
        assert [n for batch in collector.taken() for n in batch] == [1, 2, 4, 5]


async def test_at_the_end_what_is_queued_is_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhook, "COLLECTING", PATIENCE)
    with Collector(tmp_path) as collector:
        async with sending(kubeconfig(collector, tmp_path)) as events:
            events.write(1)
        assert collector.taken() == [[1]]
    assert events.written == 1


async def test_at_the_end_what_nobody_takes_is_counted(tmp_path: Path) -> None:
    with Collector(tmp_path) as collector:
        path = kubeconfig(collector, tmp_path)
    async with sending(path) as events:
        events.write(1, 2)
    assert (events.written, events.dropped) == (0, 2)
    assert events.errors


async def test_a_stranger_at_its_address_gets_nothing(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    with Collector(tmp_path / "a") as known, Collector(tmp_path / "b") as stranger:
        path = kubeconfig(stranger, tmp_path)
        path.write_text(path.read_text().replace(str(stranger.ca_file), str(known.ca_file)))
        async with sending(path) as events:
            events.write(1)
        assert stranger.requests == []
    assert events.dropped == 1


def test_what_its_kubeconfig_cannot_say_is_refused(tmp_path: Path) -> None:
    with Collector(tmp_path) as collector:
        path = kubeconfig(collector, tmp_path)
    path.write_text(path.read_text().replace("https://", "http://"))
    with pytest.raises(KubeconfigError, match="must begin with https://"):
        webhook_from_kubeconfig(path)
