"""Requests are told of many at once, soon, and whatever must be seen is told at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

import pytest

from proxy.errors import ProxyError
from proxy.http.exchange import Exchange
from proxy.observe import together
from proxy.observe.together import LONGEST, BatchObserver, Together
from tests.conftest import Tls
from tests.http.conftest import Proxy, run_proxy
from tests.http.test_exchange import GET, OK
from tests.wire import PATIENCE, Client, Peer, Upstream

WATCH = GET.replace(b"pods", b"pods?watch=1")
FORBIDDEN = b'pods is forbidden: User "alice" cannot list resource "pods" in API group ""'
REFUSAL = b"HTTP/1.1 403 Forbidden\r\nContent-Length: %d\r\n\r\n%s" % (len(FORBIDDEN), FORBIDDEN)


class Told(BatchObserver):
    """Remembers what it was told, and in how many goes."""

    def __init__(self) -> None:
        self.goes: list[tuple[str, int]] = []
        self.changed = asyncio.Event()

    def admitted(self, exchanges: Sequence[Exchange]) -> None:
        self.note("admitted", len(exchanges))

    def answered(self, exchange: Exchange) -> None:
        self.note("answered", 1)

    def ended(self, exchanges: Sequence[Exchange]) -> None:
        self.note("ended", len(exchanges))

    def unreadable(self, error: ProxyError, client: str, audit_id: str) -> None:
        self.note("unreadable", 1)

    def note(self, moment: str, count: int) -> None:
        self.goes.append((moment, count))
        self.changed.set()


class Failing(BatchObserver):
    """Raises whatever it is told, as nobody should."""

    def admitted(self, exchanges: Sequence[Exchange]) -> None:
        raise ValueError("admitted")

    def ended(self, exchanges: Sequence[Exchange]) -> None:
        raise ValueError("ended")


class OfEnds(BatchObserver):
    """Wants to know of ends alone."""

    def __init__(self, told: Told) -> None:
        self.ended = told.ended  # type: ignore[method-assign]


@pytest.fixture
async def proxy(tls: Tls, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Proxy]:
    """A data plane where nothing is told because time has passed."""
    monkeypatch.setattr(together, "COLLECTING", 3600.0)
    async with Upstream.run(tls.server) as upstream, run_proxy(tls, upstream) as proxy:
        yield proxy


def watched(proxy: Proxy, *observers: BatchObserver) -> Together:
    """Have these told of the next requests."""
    made = Together(observers)
    proxy.listener.service = replace(proxy.service, observer=made)
    return made


async def ask(proxy: Proxy, answer: bytes = OK, times: int = 1) -> tuple[Client, Peer]:
    """Have requests answered, one after the other on one connection; return both its ends."""
    client, api = await proxy.asked(GET)
    api.send(answer)
    await client.answer()
    for _ in range(times - 1):
        client.send(GET)
        await api.read_head()
        api.send(answer)
        await client.answer()
    return client, api


async def test_unary_requests_are_told_of_when_asked_for(proxy: Proxy) -> None:
    told = Told()
    made = watched(proxy, told)
    await ask(proxy, times=3)
    assert told.goes == []
    made.flush()
    assert told.goes == [("admitted", 3), ("ended", 3)]
    made.flush()
    assert len(told.goes) == 2


async def test_of_many_none_waits(proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(together, "AT_ONCE", 3)
    told = Told()
    watched(proxy, OfEnds(told))
    await ask(proxy, times=7)
    assert told.goes == [("ended", 3), ("ended", 3)]


async def test_an_end_is_told_when_nothing_else_happens(
    proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(together, "COLLECTING", 0.0)
    told = Told()
    watched(proxy, OfEnds(told))
    await ask(proxy)
    async with asyncio.timeout(PATIENCE):
        while told.goes != [("ended", 1)]:
            told.changed.clear()
            await told.changed.wait()


async def test_that_a_request_has_begun_is_told_before_it_ends(
    proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(together, "COLLECTING", 0.0)
    told = Told()
    watched(proxy, told)
    await proxy.asked(GET)
    async with asyncio.timeout(PATIENCE):
        await told.changed.wait()
    assert told.goes == [("admitted", 1)]


async def test_to_whom_it_does_not_matter_only_streams_are_told_of_early(proxy: Proxy) -> None:
    told = Told()
    told.early = False
    made = watched(proxy, told)
    client, api = await ask(proxy)
    made.flush()
    assert told.goes == [("ended", 1)]
    client.send(WATCH)
    await api.read_head()
    assert told.goes[1:] == [("admitted", 1)]


async def test_a_stream_is_told_of_at_once_after_what_came_before(proxy: Proxy) -> None:
    told = Told()
    watched(proxy, told)
    client, api = await ask(proxy)
    client.send(WATCH)
    await api.read_head()
    assert told.goes == [("admitted", 2), ("ended", 1)]
    api.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n")
    await client.read_until(b"{}")
    assert told.goes[2:] == [("answered", 1)]
    api.send(b"0\r\n\r\n")
    await client.read_until(b"0\r\n\r\n")
    assert told.goes[3:] == [("ended", 1)]


async def test_a_long_target_is_told_of_at_once(proxy: Proxy) -> None:
    told = Told()
    watched(proxy, OfEnds(told))
    client, api = await proxy.asked(GET.replace(b"pods", b"pods?" + b"x" * LONGEST))
    api.send(OK)
    await client.answer()
    assert told.goes == [("ended", 1)]


async def test_what_rbac_refuses_is_told_at_once(proxy: Proxy) -> None:
    told = Told()
    watched(proxy, OfEnds(told))
    await ask(proxy, REFUSAL)
    assert told.goes == [("ended", 1)]


async def test_what_could_not_be_read_is_told_at_once(proxy: Proxy) -> None:
    told = Told()
    watched(proxy, told)
    client = await proxy.client()
    client.send(b"no request\r\n\r\n")
    await client.answer()
    assert told.goes == [("unreadable", 1)]


async def test_one_that_fails_is_logged_and_nobody_suffers_for_it(
    proxy: Proxy, caplog: pytest.LogCaptureFixture
) -> None:
    told = Told()
    made = watched(proxy, Failing(), told)
    await ask(proxy)
    made.flush()
    assert told.goes == [("admitted", 1), ("ended", 1)]
    failures = [str(record.exc_info[1]) for record in caplog.records if record.exc_info]
    assert failures == ["admitted", "ended"]
