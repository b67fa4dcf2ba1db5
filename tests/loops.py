"""The event loops that the proxy runs on: each test of sockets is run on both."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import uvloop

Run = Callable[[Coroutine[Any, Any, None]], None]


def _on(factory: Callable[[], asyncio.AbstractEventLoop]) -> Run:
    def run(coroutine: Coroutine[Any, Any, None]) -> None:
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(coroutine)

    return run


on_both_loops = pytest.mark.parametrize(
    "run", [_on(asyncio.new_event_loop), _on(uvloop.new_event_loop)], ids=["asyncio", "uvloop"]
)
