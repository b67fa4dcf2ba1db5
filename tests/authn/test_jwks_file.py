"""An issuer's keys from a file that others replace, as a ConfigMap's volume does."""

from __future__ import annotations

import asyncio
import logging
import os
from pathlib import Path

import pytest

from proxy.authn import jwks_file
from proxy.authn.jwks_file import JWKSFile
from proxy.authn.keyset import KeySet
from proxy.files import MAX_BYTES
from tests.issuer import SigningKey, jwks_document, rsa_key

OLD, NEW = rsa_key(0), rsa_key(1)


@pytest.fixture(autouse=True)
def _looking_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jwks_file, "LOOK_EVERY", 0.0)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "jwks.json"


def publish(path: Path, *keys: SigningKey) -> None:
    """Write in place; the size differs whenever the number of keys or their names do."""
    path.write_bytes(jwks_document(*keys))
    status = path.stat()  # a clock may be coarser than two writes are apart
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1))


def kids(keys: KeySet | None) -> list[str]:
    return [key.kid for key in keys.keys] if keys else []


def spoil(path: Path, content: bytes | None) -> None:
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)


async def test_the_keys_are_those_of_the_file(path: Path) -> None:
    publish(path, OLD)
    told: list[KeySet] = []
    source = JWKSFile(path, on_keys=told.append)
    assert kids(source.keys) == [OLD.kid]
    assert told == [source.keys]
    assert source.healthy
    assert source.last_success > 0


async def test_a_changed_file_is_followed_and_told_once(path: Path) -> None:
    publish(path, OLD)
    told: list[KeySet] = []
    source = JWKSFile(path, on_keys=told.append)
    assert kids(source.keys) == [OLD.kid]
    publish(path, OLD, NEW)
    assert kids(source.keys) == [OLD.kid, NEW.kid]
    assert kids(source.keys) == [OLD.kid, NEW.kid]
    assert len(told) == 2


async def test_a_swapped_symlink_is_followed_though_no_file_was_touched(tmp_path: Path) -> None:
    """As kubelet does it: ``jwks.json -> ..data/jwks.json``, ``..data -> ..2026_11_24``."""
    for name, key in (("..one", OLD), ("..two", NEW)):
        (tmp_path / name).mkdir()
        publish(tmp_path / name / "jwks.json", key)
    data, link = tmp_path / "..data", tmp_path / "jwks.json"
    data.symlink_to("..one")
    link.symlink_to("..data/jwks.json")
    source = JWKSFile(link, on_keys=lambda _: None)
    assert kids(source.keys) == [OLD.kid]
    (tmp_path / "..next").symlink_to("..two")
    (tmp_path / "..next").replace(data)
    assert kids(source.keys) == [NEW.kid]


@pytest.mark.parametrize(
    "content",
    [b"", b'{"keys": [', b'{"keys": []}', b"<html>", b" " * (MAX_BYTES + 1), None],
    ids=lambda content: str(content)[:20],
)
async def test_a_bad_new_version_leaves_the_old_keys_in_force_and_is_logged_once(
    path: Path, caplog: pytest.LogCaptureFixture, content: bytes | None
) -> None:
    publish(path, OLD)
    told: list[KeySet] = []
    source = JWKSFile(path, on_keys=told.append)
    held = source.keys
    spoil(path, content)
    assert source.keys is held
    assert source.keys is held
    assert not source.healthy
    assert told == [held]
    (line,) = caplog.messages
    assert f"{path} (--oidc-jwks-file)" in line
    assert "the keys held stay in use" in line
    publish(path, NEW)
    assert kids(source.keys) == [NEW.kid]
    assert source.healthy


async def test_a_file_that_is_missing_at_the_start_is_reported_and_found_later(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = JWKSFile(path, on_keys=lambda _: None)
    assert source.keys is None
    assert not source.healthy
    (line,) = caplog.messages
    assert "there is no such file" in line
    assert "no token can be verified yet" in line
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    publish(path, OLD)
    assert kids(source.keys) == [OLD.kid]


async def test_the_file_is_looked_at_no_more_than_once_in_a_while(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jwks_file, "LOOK_EVERY", 3600.0)
    publish(path, OLD)
    source = JWKSFile(path, on_keys=lambda _: None)
    assert kids(source.keys) == [OLD.kid]
    publish(path, OLD, NEW)
    assert kids(source.keys) == [OLD.kid]
    monkeypatch.setattr(jwks_file, "LOOK_EVERY", 0.0)
    assert kids(source.keys) == [OLD.kid, NEW.kid]


async def test_a_withdrawn_key_is_told_though_nobody_asks(path: Path) -> None:
    publish(path, OLD)
    told: asyncio.Queue[KeySet] = asyncio.Queue()
    watching = asyncio.create_task(JWKSFile(path, on_keys=told.put_nowait).run())
    async with asyncio.timeout(5):
        assert kids(await told.get()) == [OLD.kid]
        publish(path, NEW)
        assert kids(await told.get()) == [NEW.kid]
    watching.cancel()
    await asyncio.wait([watching])


async def test_no_token_can_cause_another_look(path: Path) -> None:
    publish(path, OLD)
    assert not await JWKSFile(path, on_keys=lambda _: None).refresh()
