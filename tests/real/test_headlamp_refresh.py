"""Headlamp's tokens as they end and are renewed, against a real kube-apiserver.

Refresh tokens are a matter of the newer tsidp, which is not to be had here; the demo's issuer plays
it (test_issuers.py compares it with the older one). The backend is a stand-in (see tests/headlamp).
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from proxy.authn.jws import parse
from proxy.tools.demo.issuer import claims
from proxy.tools.demo.people import ADMINS, ALICE, VIEWERS
from tests.process import free_port
from tests.real.account import OWN_GROUP, proxy_account
from tests.real.cluster import Cluster
from tests.real.headlamp import (
    WATCH_PROTOCOL,
    Browser,
    Headlamp,
    SignIn,
    callback_url,
    dashboard,
    event,
)
from tests.real.provider import demo_provider
from tests.real.tailnet import Reply
from tests.serving import Serve

RENEWED_BEFORE = 10  # seconds before its end, Headlamp renews a token


@dataclass
class Stage:
    cluster: Cluster
    ca_file: Path
    serve: Serve
    headlamp: Headlamp

    @asynccontextmanager
    async def browser(self, who: str = "alice") -> AsyncIterator[Browser]:
        async with Browser(self.headlamp, self.ca_file, query={"user": who}) as browser:
            assert (await browser.sign_in()).status == 303
            yield browser


@pytest.fixture(scope="module")
def token(cluster: Cluster) -> str:
    return proxy_account(cluster, "with-refresh", [ALICE.email], [ADMINS, VIEWERS])


@pytest.fixture(scope="module")
def stage(
    cluster: Cluster, token: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stage]:
    with staged(cluster, token, tmp_path_factory.mktemp("refresh")) as stage:
        yield stage


@contextmanager
def staged(cluster: Cluster, token: str, folder: Path, *flags: str) -> Iterator[Stage]:
    port = free_port()
    with demo_provider(folder / "issuer", callback_url(port)) as issuer:
        sign_in = SignIn(issuer.url, issuer.ca_file, issuer.client)
        with dashboard(folder, cluster, token, sign_in, port, *flags) as (serve, headlamp):
            yield Stage(cluster, issuer.ca_file, serve, headlamp)


def lifetime(monkeypatch: pytest.MonkeyPatch, seconds: int) -> None:
    """From now on the issuer's tokens live so long; tsidp's live five minutes."""
    monkeypatch.setattr(claims, "LIFETIME", seconds)


async def end_of(token: str) -> None:
    """Wait until a token has ended."""
    end = next(value for name, value in parse(token.encode()).members if name == "exp")
    await asyncio.sleep(end - time.time())


def label(answer: Reply) -> str:
    return str(json.loads(answer.text)["details"]["causes"][0]["reason"])


async def test_the_request_that_renews_a_token_goes_on_with_the_old_one(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even where that has ended; without some leeway it would be a 401, and a lost dashboard."""
    lifetime(monkeypatch, 1)
    async with stage.browser() as browser:
        old = browser.token()
        await end_of(old)
        lifetime(monkeypatch, 300)
        answer = await browser.request("GET", "/version")
        assert (answer.status, "Set-Cookie" in answer.headers) == (200, True)
        assert browser.token() != old
        answer = await browser.request("GET", "/version")
        assert (answer.status, "Set-Cookie" in answer.headers) == (200, False)
        user, groups = await browser.whoami()
    assert (user, set(groups)) == (
        ALICE.email,
        {ADMINS, VIEWERS, OWN_GROUP, "system:authenticated"},
    )


async def test_of_two_tabs_that_renew_at_once_one_succeeds_and_both_go_on(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A refresh token can be shown once; whoever comes second goes on with the old ID token."""
    lifetime(monkeypatch, RENEWED_BEFORE)
    async with stage.browser() as browser:
        lifetime(monkeypatch, 300)
        answers = await asyncio.gather(*(browser.request("GET", "/version") for _ in range(2)))
        assert [answer.status for answer in answers] == [200, 200]
        assert sum("Set-Cookie" in answer.headers for answer in answers) == 1
        answer = await browser.request("GET", "/version")
        assert (answer.status, "Set-Cookie" in answer.headers) == (200, False)
    assert "invalid refresh token" in stage.headlamp.log.read_text()


async def test_after_a_restart_of_headlamp_a_session_ends_with_its_token(
    cluster: Cluster, token: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its refresh tokens were in memory. The way out is to sign in anew, and that works."""
    with staged(cluster, token, tmp_path, "--oidc-clock-skew=0s") as stage:
        lifetime(monkeypatch, 2)
        async with stage.browser() as browser:
            await asyncio.to_thread(stage.headlamp.restart)
            await end_of(browser.token())
            answer = await browser.request("GET", "/version")
            assert (answer.status, label(answer)) == (401, "token_expired")
            lifetime(monkeypatch, 300)
            assert (await browser.sign_in()).status == 303
            assert (await browser.request("GET", "/version")).status == 200


async def test_a_watch_outlives_the_token_that_opened_it(
    cluster: Cluster, token: str, namespace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Headlamp's watches do not reconnect; what is new must bring a token that holds."""
    path = f"/api/v1/namespaces/{namespace}/configmaps?watch=1"
    rights = ("--verb=list,watch", "--resource=configmaps")
    cluster.kubectl("-n", namespace, "create", "role", "watch", *rights)
    whom = ("--role=watch", f"--group={VIEWERS}")
    cluster.kubectl("-n", namespace, "create", "rolebinding", "watch", *whom)
    with staged(cluster, token, tmp_path, "--oidc-clock-skew=0s") as stage:
        lifetime(monkeypatch, 2)
        async with stage.browser() as browser, browser.websocket(path, WATCH_PROTOCOL) as socket:
            await end_of(browser.token())
            cluster.kubectl("-n", namespace, "create", "configmap", "a")
            assert (await event(socket))["object"]["metadata"]["name"] == "a"
            lifetime(monkeypatch, 300)
            late = await browser.request("GET", "/version")  # renews, and carries the old one
            assert (late.status, label(late)) == (401, "token_expired")
            assert "Set-Cookie" in late.headers
            async with browser.websocket(path, WATCH_PROTOCOL) as another:
                assert (await event(another))["object"]["metadata"]["name"] == "a"
            cluster.kubectl("-n", namespace, "create", "configmap", "b")
            assert (await event(socket))["object"]["metadata"]["name"] == "b"


async def test_a_tagged_device_is_sent_back_with_a_no(stage: Stage) -> None:
    """The newer tsidp says so at /authorize, and Headlamp has no token then."""
    async with Browser(stage.headlamp, stage.ca_file, query={"user": "ci-runner"}) as browser:
        answer = await browser.sign_in()
        assert answer.status == 500
        assert browser.token() == ""
        answer = await browser.request("GET", "/version")
        assert (answer.status, label(answer)) == (401, "token_missing")
