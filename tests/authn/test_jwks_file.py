"""Keys from a file: followed, and a bad version never takes the good keys away."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest

from proxy import followed
from proxy.authn.jwks_file import JWKSFile
from proxy.authn.keyset import KeySet
from proxy.files import MAX_BYTES
from tests.issuer import SigningKey, jwks_document, rsa_key


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "jwks.json"


@pytest.fixture
def always_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(followed, "LOOK_EVERY", 0.0)


def publish(path: Path, content: bytes | SigningKey) -> None:
    """Replace the file as Kubernetes does: by another one."""
    fresh = path.with_suffix(".new")
    fresh.write_bytes(content if isinstance(content, bytes) else jwks_document(content))
    fresh.rename(path)


def withdraw(path: Path) -> None:
    path.unlink()


def kids(keys: KeySet | None) -> list[str]:
    return [key.kid for key in keys.keys] if keys else []


async def test_the_keys_are_those_in_the_file(path: Path) -> None:
    seen: list[KeySet] = []
    publish(path, rsa_key())
    source = JWKSFile(path, on_keys=seen.append)
    assert kids(source.keys) == [rsa_key().kid]
    assert seen == [source.keys]
    assert source.healthy
    assert source.last_success > 0


async def test_a_new_version_is_used_and_told(path: Path, always_looks: None) -> None:
    seen: list[KeySet] = []
    publish(path, rsa_key(0))
    source = JWKSFile(path, on_keys=seen.append)
    first = source.keys
    assert source.keys is first
    publish(path, rsa_key(1))
    assert kids(source.keys) == [rsa_key(1).kid]
    assert [kids(keys) for keys in seen] == [[rsa_key(0).kid], [rsa_key(1).kid]]


@pytest.mark.parametrize(
    "content", [b"", b"{}", b'{"keys":[]}', b"<html>", b" " * (MAX_BYTES + 1), None]
)
async def test_a_bad_version_leaves_the_good_keys_in_force_and_is_logged_once(
    path: Path, always_looks: None, caplog: pytest.LogCaptureFixture, content: bytes | None
) -> None:
    publish(path, rsa_key())
    source = JWKSFile(path, on_keys=lambda _: None)
    good = source.keys
    if content is None:
        withdraw(path)
    else:
        publish(path, content)
    for _ in range(3):
        assert source.keys is good
    (line,) = caplog.messages
    assert f"{path} (--oidc-jwks-file)" in line
    assert "the keys held stay in use" in line
    assert not source.healthy
    publish(path, rsa_key(1))
    assert kids(source.keys) == [rsa_key(1).kid]
    assert source.healthy


async def test_a_file_that_is_not_there_yet_is_reported_and_found_though_nobody_asks(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(followed, "LOOK_EVERY", 0.001)
    found = asyncio.Event()
    source = JWKSFile(path, on_keys=lambda _: found.set())
    looking = asyncio.create_task(source.run())
    await asyncio.sleep(0)
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert "no token can be verified yet" in record.getMessage()
    publish(path, rsa_key())
    async with asyncio.timeout(10):
        await found.wait()
    looking.cancel()
    await asyncio.wait([looking])
    assert kids(source.keys) == [rsa_key().kid]


async def test_there_is_nothing_newer_to_look_for(path: Path) -> None:
    publish(path, rsa_key())
    assert not await JWKSFile(path, on_keys=lambda _: None).refresh()
