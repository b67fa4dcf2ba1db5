"""How late the event loop is: the one number that shows when something blocks it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

INTERVAL: Final = 0.5  # seconds between looks


async def watch_lag(observe: Callable[[float], object], interval: float = INTERVAL) -> None:
    """Report by how many seconds each timer came late, until cancelled."""
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + interval
        await asyncio.sleep(interval)
        observe(max(0.0, loop.time() - due))
