"""The issuers in force: a new version of the file is taken whole, or not at all."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from proxy import issuers as module
from proxy.authn.fetch import FetchResult
from proxy.authn.keyset import KeySet
from proxy.config import Config, load
from proxy.errors import IssuerUnknown, KeysUnavailable
from proxy.issuers import Issuers, ReloadResult
from proxy.plans import problems_of_file
from tests.issuer import DISCOVERY, FakeIssuer, answering

PATIENCE = 10.0  # seconds


class Seen:
    """What the outside was told."""

    def __init__(self) -> None:
        self.reloads: list[ReloadResult] = []
        self.keys: list[str] = []
        self.changes = 0

    def keys_fetched(self, result: FetchResult, seconds: float) -> None:
        assert seconds >= 0

    def authentication_config_reloaded(self, result: ReloadResult) -> None:
        self.reloads.append(result)

    def on_keys(self, issuer: str, keys: KeySet) -> None:
        assert keys.keys
        self.keys.append(issuer)

    def on_change(self) -> None:
        self.changes += 1


class Stage:
    """A file, the issuers of it, and what was seen."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "authentication.json"
        self.seen = Seen()

    def write(self, *servers: FakeIssuer, text: str | None = None, **changes: Any) -> None:
        """Put another version of the file in place, as an editor or a ConfigMap would."""
        document = {
            "apiVersion": "apiserver.config.k8s.io/v1",
            "kind": "AuthenticationConfiguration",
            "jwt": [authenticator(server) | changes for server in servers],
        }
        new = self.file.with_suffix(".new")
        new.write_text(json.dumps(document) if text is None else text)
        new.replace(self.file)

    def config(self) -> Config:
        flags = [f"--authentication-config={self.file}", "--oidc-clock-skew=0s"]
        return load(flags, {}, check_authentication=problems_of_file, authentication_only=True)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Issuers]:
        seen = self.seen
        issuers = Issuers(self.config(), seen, on_keys=seen.on_keys, on_change=seen.on_change)
        work = asyncio.create_task(issuers.run())
        try:
            yield issuers
        finally:
            work.cancel()
            await asyncio.wait([work])


def authenticator(server: FakeIssuer) -> dict[str, Any]:
    return {
        "issuer": {
            "url": server.url,
            "audiences": [server.client_id],
            "certificateAuthority": server.ca_file.read_text(),
        },
        "claimMappings": {"username": {"claim": "email", "prefix": ""}},
    }


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOK_EVERY", 0.02)


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


@pytest.fixture
async def one() -> AsyncIterator[FakeIssuer]:
    async with FakeIssuer() as issuer:
        yield issuer


@pytest.fixture
async def two() -> AsyncIterator[FakeIssuer]:
    async with FakeIssuer() as issuer:
        yield issuer


async def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "not in time"
        await asyncio.sleep(0.01)


def name_of(issuers: Issuers, token: str) -> str:
    return issuers.authenticator.authenticate(token.encode(), time.time()).user.username


async def test_several_issuers_are_trusted_each_with_its_own_keys(
    stage: Stage, one: FakeIssuer, two: FakeIssuer
) -> None:
    stage.write(one, two)
    two.rotate()
    async with stage.running() as issuers:
        await until(lambda: issuers.healthy)
        assert name_of(issuers, one.token("a@x")) == "a@x"
        assert name_of(issuers, two.token("b@x")) == "b@x"
        assert issuers.key_count == 2
        assert issuers.last_success > 0
        assert sorted(stage.seen.keys) == sorted([one.url, two.url])


async def test_one_issuer_s_keys_are_enough_to_be_ready(
    stage: Stage, one: FakeIssuer, two: FakeIssuer
) -> None:
    two.overrides[DISCOVERY] = answering(500)
    stage.write(one, two)
    async with stage.running() as issuers:
        await until(lambda: issuers.keys_held)
        assert not issuers.healthy
        assert issuers.last_success == 0
        with pytest.raises(KeysUnavailable):
            name_of(issuers, two.token())


async def test_a_new_version_takes_effect_and_keeps_the_keys_of_what_stays(
    stage: Stage, one: FakeIssuer, two: FakeIssuer
) -> None:
    stage.write(one)
    async with stage.running() as issuers:
        await until(lambda: issuers.keys_held)
        one.overrides[DISCOVERY] = answering(500)
        stage.write(one, two, claimMappings={"username": {"claim": "sub", "prefix": "s:"}})
        await until(lambda: stage.seen.reloads == ["success"])
        assert name_of(issuers, one.token(sub="me")) == "s:me"
        assert name_of(issuers, two.token(sub="me")) == "s:me"
        assert stage.seen.changes == 1
        stage.write(two)
        await until(lambda: stage.seen.reloads == ["success", "success"])
        with pytest.raises(IssuerUnknown):
            name_of(issuers, one.token())


@pytest.mark.parametrize("text", ["", "{}", "a: [", '{"kind": 5}'])
async def test_a_version_that_cannot_be_used_leaves_the_old_one_in_force(
    stage: Stage, one: FakeIssuer, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    stage.write(one)
    async with stage.running() as issuers:
        await until(lambda: issuers.keys_held)
        stage.write(text=text)
        await until(lambda: not issuers.up_to_date)
        assert name_of(issuers, one.token("a@x")) == "a@x"
        await asyncio.sleep(0.1)  # looked at again and again, told once
        assert stage.seen.reloads == ["failure"]
        errors = [record for record in caplog.records if record.levelno == logging.ERROR]
        assert len(errors) == 1
        assert "the old one stays in force" in errors[0].getMessage()
        stage.write(one)
        await until(lambda: issuers.up_to_date)
        assert stage.seen.changes == 0


async def test_a_file_that_has_gone_leaves_the_old_one_in_force(
    stage: Stage, one: FakeIssuer
) -> None:
    stage.write(one)
    async with stage.running() as issuers:
        await until(lambda: issuers.keys_held)
        stage.file.unlink()
        await until(lambda: stage.seen.reloads == ["failure"])
        assert name_of(issuers, one.token("a@x")) == "a@x"


async def test_issuers_whose_keys_do_not_come_leave_the_old_ones_in_force(
    stage: Stage, one: FakeIssuer, two: FakeIssuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "KEYS_WITHIN", 0.1)
    two.overrides[DISCOVERY] = answering(500)
    stage.write(one)
    async with stage.running() as issuers:
        await until(lambda: issuers.keys_held)
        stage.write(two)
        await until(lambda: stage.seen.reloads == ["failure"])
        assert name_of(issuers, one.token("a@x")) == "a@x"
        del two.overrides[DISCOVERY]
        await until(lambda: stage.seen.reloads == ["failure", "success"])
        assert name_of(issuers, two.token("b@x")) == "b@x"
        assert issuers.up_to_date


async def test_with_no_keys_at_all_there_is_nothing_to_wait_for(
    stage: Stage, one: FakeIssuer, two: FakeIssuer
) -> None:
    one.overrides[DISCOVERY] = answering(500)
    stage.write(one)
    async with stage.running() as issuers:
        stage.write(two)
        await until(lambda: issuers.keys_held)
        assert stage.seen.reloads == ["success"]


async def test_a_file_without_issuers_trusts_nobody(stage: Stage, one: FakeIssuer) -> None:
    stage.write()
    async with stage.running() as issuers:
        assert not issuers.keys_held
        with pytest.raises(IssuerUnknown):
            name_of(issuers, one.token())
