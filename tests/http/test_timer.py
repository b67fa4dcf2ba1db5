"""A deadline that moves."""

from __future__ import annotations

import asyncio

from proxy.http.timer import Timer


async def test_it_fires_once_when_its_last_deadline_passes() -> None:
    loop = asyncio.get_running_loop()
    fired: list[float] = []
    done = asyncio.Event()

    def expired() -> None:
        fired.append(loop.time())
        done.set()

    timer = Timer(loop, expired)
    began = loop.time()
    timer.set(0.02)
    timer.set(0.06)  # later: the loop timer is not touched
    await done.wait()
    assert len(fired) == 1
    assert fired[0] - began >= 0.055


async def test_a_nearer_deadline_counts() -> None:
    done = asyncio.Event()
    timer = Timer(asyncio.get_running_loop(), done.set)
    timer.set(60)
    timer.set(0.01)
    async with asyncio.timeout(5):
        await done.wait()


async def test_without_a_deadline_it_never_fires() -> None:
    loop = asyncio.get_running_loop()
    fired: list[str] = []
    cleared, cancelled = (
        Timer(loop, lambda: fired.append("a")),
        Timer(loop, lambda: fired.append("b")),
    )
    after = asyncio.Event()
    for timer in (cleared, cancelled):
        timer.set(0.01)
    cleared.clear()
    cancelled.cancel()
    loop.call_later(0.05, after.set)
    await after.wait()
    assert fired == []
