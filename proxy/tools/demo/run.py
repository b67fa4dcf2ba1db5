"""``demo``: puts everything up, shows it, and takes it down, however it ends.

On a terminal the tour is printed and everything runs until Ctrl-C. With ``--once``, or where
nobody looks, the tour is taken at once, and the exit status says whether all of it held.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from typing import Final

from proxy.tools.demo.failure import DemoError
from proxy.tools.demo.screen import Screen
from proxy.tools.demo.stage import Stage, put_up
from proxy.tools.demo.tour import steps_for, take

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_BY_SIGNAL: Final = 128


def run(*, once: bool) -> int:
    """Run the demo; return the exit status."""
    try:
        return asyncio.run(_Demo(once=once or not sys.stdout.isatty()).run())
    except (DemoError, OSError) as error:
        sys.stderr.write(f"the demo cannot go on: {error}\n")
        return 1


class _Demo:
    def __init__(self, *, once: bool) -> None:
        self._once = once
        self._screen = Screen(sys.stdout)
        self._signal: signal.Signals | None = None

    async def run(self) -> int:
        task = asyncio.create_task(self._walk() if self._once else self._stay())
        loop = asyncio.get_running_loop()
        for number in _SIGNALS:
            loop.add_signal_handler(number, self._stop, task, number)
        try:
            return await task
        except asyncio.CancelledError:
            if self._signal is None:
                raise
            return _BY_SIGNAL + self._signal if self._once else 0

    def _stop(self, task: asyncio.Task[int], number: signal.Signals) -> None:
        """End the demo; once is enough, for the taking down is not to be disturbed."""
        if self._signal is None:
            self._signal = number
            task.cancel()

    async def _stay(self) -> int:
        async with put_up() as stage:
            self._screen.stage(stage)
            self._screen.headlamp(stage)
            self._screen.lines_to_copy(stage, steps_for(has_nodes=stage.cluster.has_nodes))
            self._screen.note("Ctrl-C stops everything and removes the files.")
            await stage.proxy.child.process.wait()
            raise stage.proxy.child.ended()

    async def _walk(self) -> int:
        started = time.monotonic()
        async with put_up() as stage:
            self._screen.stage(stage)
            failed, total = await self._take_steps(stage)
            self._screen.headlamp(stage)
        self._screen.verdict(failed, total, time.monotonic() - started)
        return 1 if failed else 0

    async def _take_steps(self, stage: Stage) -> tuple[list[int], int]:
        """Take every step; return the numbers of those that failed, and how many there were."""
        failed = []
        steps = steps_for(has_nodes=stage.cluster.has_nodes)
        for number, step in enumerate(steps, start=1):
            self._screen.step(number, step)
            outcome = await take(step, stage.folder)
            self._screen.outcome(outcome)
            if outcome.missing:
                failed.append(number)
        return failed, len(steps)
