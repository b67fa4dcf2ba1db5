"""Answers that are kept for seconds, and asked for once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

import pytest

from proxy.reviews.documents import Unknown
from proxy.reviews.memory import Memory


class Asked:
    """Answers when it is told to, and counts."""

    def __init__(self) -> None:
        self.times = 0
        self.answer: asyncio.Future[str | Unknown] = asyncio.get_running_loop().create_future()

    async def __call__(self) -> str | Unknown:
        self.times += 1
        return await self.answer


@pytest.fixture
def held() -> Memory[str]:
    return Memory(lambda answer: 10.0 if answer == "yes" else 5.0)


async def test_many_who_want_one_answer_ask_once(held: Memory[str]) -> None:
    asked, key = Asked(), held.key(b"q")
    waiting = [asyncio.create_task(held.ask(key, asked)) for _ in range(5)]
    await asyncio.sleep(0)
    asked.answer.set_result("yes")
    assert await asyncio.gather(*waiting) == ["yes"] * 5
    assert await held.ask(key, asked) == "yes"
    assert asked.times == 1


async def test_who_leaves_does_not_take_the_question_along(held: Memory[str]) -> None:
    asked, key = Asked(), held.key(b"q")
    leaving, staying = (asyncio.create_task(held.ask(key, asked)) for _ in range(2))
    await asyncio.sleep(0)
    leaving.cancel()
    asked.answer.set_result("yes")
    assert await staying == "yes"
    assert asked.times == 1


async def test_what_is_unknown_is_asked_again(held: Memory[str]) -> None:
    asked = Asked()
    asked.answer.set_result(Unknown("away"))
    for _ in range(2):
        assert await held.ask(held.key(b"q"), asked) == Unknown("away")
    assert (asked.times, len(held)) == (2, 0)


async def test_a_question_that_breaks_breaks_for_all_and_is_forgotten(held: Memory[str]) -> None:
    asked, key = Asked(), held.key(b"q")
    asked.answer.set_exception(RuntimeError("broken"))
    for _ in range(2):
        with pytest.raises(RuntimeError):
            await held.ask(key, asked)
    assert asked.times == 2


@pytest.mark.parametrize(("answer", "seconds"), [("yes", 10.0), ("no", 5.0)])
async def test_an_answer_dies(answer: str, seconds: float) -> None:
    now = 1000.0
    held: Memory[str] = Memory(lambda a: 10.0 if a == "yes" else 5.0, timer=lambda: now)
    asked = Asked()
    asked.answer.set_result(answer)
    await held.ask(held.key(b"q"), asked)
    now += seconds - 0.1
    await held.ask(held.key(b"q"), asked)
    assert asked.times == 1
    now += 0.2
    await held.ask(held.key(b"q"), asked)
    assert asked.times == 2


async def test_it_is_bounded() -> None:
    held: Memory[str] = Memory(lambda _: 10.0, max_entries=3)

    def ask(name: int) -> Awaitable[str | Unknown]:
        asked = Asked()
        asked.answer.set_result("yes")
        return held.ask(held.key(b"%d" % name), asked)

    for name in range(10):
        await ask(name)
    assert len(held) == 3


def test_a_key_gives_nothing_away_and_is_of_its_parts_alone(held: Memory[str]) -> None:
    assert b"token" not in held.key(b"token")
    assert held.key(b"a", b"bc") != held.key(b"ab", b"c")
    assert held.key(b"a") == held.key(b"a")
    assert held.key(b"a") != Memory[str](lambda _: 1.0).key(b"a")
