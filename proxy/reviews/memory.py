"""Answers that are costly to get, kept for seconds: asked for once, however many want them.

An answer is found by an HMAC of its question, under a key that lives and dies with the process, so
what was asked (a token, for one) is not kept. What could not be answered is not remembered. Who
waits for an answer may leave; the question is then still asked to its end, for the others.
"""

from __future__ import annotations

import asyncio
import hmac
import secrets
import time
from collections.abc import Callable, Coroutine
from typing import Any, Final, Generic, TypeVar

from cachetools import TLRUCache

from proxy.reviews.documents import Unknown

MAX_ENTRIES: Final = 10_000

T = TypeVar("T")


class Memory(Generic[T]):
    """Answers by key; ``keep_for`` says for how many seconds (of ``timer``) one may be believed.

    At most ``max_entries`` are kept.
    """

    def __init__(
        self,
        keep_for: Callable[[T], float],
        timer: Callable[[], float] = time.monotonic,
        max_entries: int = MAX_ENTRIES,
    ) -> None:
        self._secret = secrets.token_bytes(32)
        self._known: TLRUCache[bytes, T] = TLRUCache(
            max_entries,
            ttu=lambda _key, answer, now: now + keep_for(answer),
            timer=timer,
        )
        self._asking: dict[bytes, asyncio.Task[T | Unknown]] = {}

    def __len__(self) -> int:
        return len(self._known)

    def key(self, *parts: bytes) -> bytes:
        """Return the name of a question that is made of these parts, and of no others."""
        whole = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
        return hmac.digest(self._secret, whole, "sha256")

    def recall(self, key: bytes) -> T | None:
        """Return the answer that is known; ask nobody."""
        return self._known.get(key)

    async def ask(
        self, key: bytes, question: Callable[[], Coroutine[Any, Any, T | Unknown]]
    ) -> T | Unknown:
        """Return the answer that is known, or that is on its way, or ask for it."""
        if key in self._known:
            return self._known[key]
        task = self._asking.get(key)
        if task is None:
            task = self._asking[key] = asyncio.create_task(question(), name="review")
            task.add_done_callback(lambda done: self._answered(key, done))
        return await asyncio.shield(task)

    def _answered(self, key: bytes, task: asyncio.Task[T | Unknown]) -> None:
        del self._asking[key]
        if not task.cancelled() and task.exception() is None:
            answer = task.result()
            if not isinstance(answer, Unknown):
                self._known[key] = answer
