"""The deny file: what changes in it is in force at once, what is wrong in it changes nothing."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest

from proxy.denial import Bearer, InvalidDenyList
from proxy.deny_file import DenyFile
from proxy.errors import Denied
from proxy.files import SourceError

ALICE, BOB = Bearer("alice"), Bearer("bob")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "deny.yaml"
    file.write_text("users: [alice]")
    return file


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look on every request."""
    monkeypatch.setattr("proxy.followed.LOOK_EVERY", 0.0)


def publish(path: Path, content: str | None) -> None:
    """Replace the file by another one, or by none."""
    if content is None:
        path.unlink()
    else:
        path.with_suffix(".new").write_text(content)
        path.with_suffix(".new").rename(path)


def denied(file: DenyFile, bearer: Bearer) -> bool:
    try:
        file.check(bearer)
    except Denied:
        return True
    return False


async def test_who_is_in_it_is_denied(path: Path) -> None:
    file = DenyFile(path)
    assert (denied(file, ALICE), denied(file, BOB)) == (True, False)
    assert file.entries == 1


async def test_a_change_is_in_force_on_the_next_request_and_what_is_under_way_ends(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = DenyFile(path)
    calls: list[bool] = []

    def changed() -> int:
        calls.append(denied(file, BOB))
        return 3

    file.on_change = changed
    publish(path, "users: [bob]")
    assert (denied(file, ALICE), denied(file, BOB)) == (False, True)
    assert calls == []  # not while a request is being looked at
    await asyncio.sleep(0)
    assert calls == [True]
    (record,) = caplog.records
    assert (record.message, vars(record)["ended"], vars(record)["users"]) == (
        "the deny list has changed", 3, 1
    )  # fmt: skip


async def test_it_is_looked_at_though_nobody_asks(path: Path) -> None:
    file = DenyFile(path)
    changed = asyncio.Event()

    def on_change() -> int:
        changed.set()
        return 0

    file.on_change = on_change
    looking = asyncio.create_task(file.run())
    publish(path, "users: [bob]")
    async with asyncio.timeout(10):
        await changed.wait()
    looking.cancel()


@pytest.mark.parametrize("wrong", ["user: [bob]", "users: [bob", None])
async def test_a_version_that_cannot_be_used_leaves_the_old_one_in_force(
    path: Path, wrong: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    file = DenyFile(path)
    publish(path, wrong)
    for _ in range(3):
        assert (denied(file, ALICE), denied(file, BOB)) == (True, False)
    assert not file.healthy
    (record,) = caplog.records  # once for each cause
    assert record.levelno == logging.ERROR
    assert "the list held stays in force" in record.message
    publish(path, "users: [bob]")
    assert (denied(file, ALICE), denied(file, BOB)) == (False, True)
    assert file.healthy


async def test_without_a_usable_list_there_is_no_start(path: Path) -> None:
    publish(path, "users: alice")
    with pytest.raises(InvalidDenyList):
        DenyFile(path)
    publish(path, None)
    with pytest.raises(SourceError):
        DenyFile(path)
