from __future__ import annotations

import asyncio
import time

from proxy.observe.lag import watch_lag


async def test_a_blocked_loop_is_reported_as_late_by_as_much() -> None:
    loop = asyncio.get_running_loop()
    reported: asyncio.Queue[float] = asyncio.Queue()
    watching = loop.create_task(watch_lag(reported.put_nowait, 0.001))
    assert await reported.get() < 0.2
    loop.call_soon(time.sleep, 0.25)
    lags = [await reported.get() for _ in range(3)]
    watching.cancel()
    assert 0.2 < max(lags) < 2
