"""Several observers as one."""

from __future__ import annotations

from dataclasses import replace

import pytest

from proxy.http.exchange import Exchange
from proxy.observe.all_of import all_of
from tests.conftest import Tls
from tests.http.conftest import Recorder, run_proxy
from tests.http.test_exchange import GET, OK
from tests.wire import Upstream


def test_one_alone_has_nothing_in_between() -> None:
    only = Recorder()
    assert all_of([only]) is only


async def test_all_are_told_all(tls: Tls) -> None:
    first, second = Recorder(), Recorder()
    async with Upstream.run(tls.server) as upstream, run_proxy(tls, upstream) as proxy:
        proxy.listener.service = replace(proxy.service, observer=all_of([first, second]))
        client, api = await proxy.asked(GET)
        assert first.under_way == second.under_way != set()
        api.send(OK)
        await client.answer()
        client.send(b"no request\r\n\r\n")
        await client.answer()
    for recorder in (first, second):
        (exchange,) = await recorder.ended_exchanges(1)
        assert exchange.status == 200
        assert [error.label for error in recorder.errors] == ["malformed_request"]


class Failing(Recorder):
    """Raises whatever it is told, as nobody should."""

    def begun(self, exchange: Exchange) -> None:
        raise ValueError("begun")

    def admitted(self, exchange: Exchange) -> None:
        raise ValueError("admitted")

    def answered(self, exchange: Exchange) -> None:
        raise ValueError("answered")

    def ended(self, exchange: Exchange) -> None:
        raise ValueError("ended")


async def test_one_that_fails_is_logged_and_nobody_suffers_for_it(
    tls: Tls, caplog: pytest.LogCaptureFixture
) -> None:
    second = Recorder()
    async with Upstream.run(tls.server) as upstream, run_proxy(tls, upstream) as proxy:
        proxy.listener.service = replace(proxy.service, observer=all_of([Failing(), second]))
        client, api = await proxy.asked(GET.replace(b"pods", b"pods?watch=1"))
        api.send(OK)
        assert (await client.answer()).status == 200
    (exchange,) = await second.ended_exchanges(1)
    assert exchange.status == 200
    assert [str(record.exc_info[1]) for record in caplog.records if record.exc_info] == [
        "begun",
        "admitted",
        "answered",
        "ended",
    ]
