"""What must be done once in a while is done, for as long as the proxy runs."""

from __future__ import annotations

import asyncio

import pytest

from proxy.observe.metrics import Metrics
from proxy.server import running


async def test_housekeeping_folds_histograms_and_gives_memory_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(running, "HOUSEKEEPING", 0.0)
    monkeypatch.setattr(running, "GIVE_BACK_EVERY", 2)
    metrics, given_back = Metrics("test"), asyncio.Event()
    monkeypatch.setattr(running, "give_back", given_back.set)
    metrics.unary_answered([0.1], [0.2])
    work = asyncio.create_task(running.keep_house([], None, metrics))
    async with asyncio.timeout(10):
        await given_back.wait()
    work.cancel()
    assert not metrics._proxy_overhead._observed
