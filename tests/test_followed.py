"""A file that is followed: what is new in it counts, what is wrong in it changes nothing."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest

from proxy.files import FollowedFile, SourceError
from proxy.followed import Followed


class NoNumber(Exception):
    """What stands for a document that its reader refuses."""


def number(document: bytes) -> int:
    if not document.isdigit():
        raise NoNumber("it is not a number")
    return int(document)


class Number:
    """A number in a file, followed, and what was told of it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.told: list[int] = []
        self.news = asyncio.Event()
        self.followed = Followed(
            FollowedFile(path, "--number"),
            number,
            NoNumber,
            self.tell,
            name="the number",
            held="the one held stays",
            lacking="there is none yet",
        )

    def tell(self, number: int) -> None:
        self.told.append(number)
        self.news.set()

    def publish(self, content: str | None) -> None:
        """Replace the file as Kubernetes does, by another one, or by none."""
        if content is None:
            self.path.unlink()
        else:
            self.path.with_suffix(".new").write_text(content)
            self.path.with_suffix(".new").rename(self.path)


@pytest.fixture
async def file(tmp_path: Path) -> Number:
    (tmp_path / "number").write_text("1")
    return Number(tmp_path / "number")


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look whenever somebody asks."""
    monkeypatch.setattr("proxy.followed.LOOK_EVERY", 0.0)


async def test_each_new_version_is_told_once(at_once: None, file: Number) -> None:
    values = [file.followed.now(), file.followed.now()]
    file.publish("2")
    assert [*values, file.followed.now(), file.followed.now()] == [1, 1, 2, 2]
    assert file.told == [1, 2]


async def test_what_there_must_be_at_the_start_is_taken_and_not_told(file: Number) -> None:
    assert file.followed.start() == file.followed.now() == 1
    assert file.followed.healthy
    assert file.followed.last_success > 0
    assert file.told == []


@pytest.mark.parametrize(("content", "error"), [("one", NoNumber), (None, SourceError)])
async def test_without_it_there_is_no_start(
    file: Number, content: str | None, error: type[Exception]
) -> None:
    file.publish(content)
    with pytest.raises(error):
        file.followed.start()
    assert not file.followed.healthy


@pytest.mark.parametrize(
    ("content", "why"),
    [("one", "{path} (--number): it is not a number"), (None, "{path} (--number) cannot be read")],
)
async def test_a_version_that_cannot_be_used_leaves_the_last_one_and_is_said_once_as_is_its_end(
    at_once: None, file: Number, content: str | None, why: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    assert file.followed.now() == 1
    file.publish(content)
    assert [file.followed.now() for _ in range(3)] == [1, 1, 1]
    assert not file.followed.healthy
    assert file.followed.failure.startswith(why.format(path=file.path))
    file.publish("1")
    assert [file.followed.now() for _ in range(3)] == [1, 1, 1]
    assert file.followed.healthy
    failed, ended = caplog.messages
    assert failed.startswith(f"the number cannot be used: {why.format(path=file.path)}")
    assert failed.endswith("; the one held stays")
    assert ended == "the number can be used again"
    assert file.told == [1]  # it is what it was


async def test_the_log_says_that_there_is_no_version_yet(
    at_once: None, file: Number, caplog: pytest.LogCaptureFixture
) -> None:
    file.publish("one")
    assert file.followed.now() is None
    assert not file.followed.healthy
    assert caplog.messages[0].endswith("; there is none yet")
    file.publish("2")
    assert file.followed.now() == 2
    assert file.followed.healthy


async def test_it_is_looked_at_once_a_second_and_no_more(
    file: Number, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proxy.followed.LOOK_EVERY", 60.0)
    assert file.followed.start() == 1
    file.publish("2")
    assert file.followed.now() == 1
    file.followed.look()
    assert file.followed.now() == 2


async def test_it_is_looked_at_though_nobody_asks(at_once: None, file: Number) -> None:
    looking = asyncio.create_task(file.followed.run())
    async with asyncio.timeout(10):
        await file.news.wait()
        file.news.clear()
        file.publish("2")
        await file.news.wait()
    looking.cancel()
    assert file.told == [1, 2]
