"""The alerts and the dashboard, in a real Prometheus that scrapes the program itself."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from http import HTTPStatus
from pathlib import Path

import pytest
import yaml
from aiohttp import web

from docs.dashboard import queries
from proxy.observe.metrics import Metrics
from tests.deploy.helm import CHART, ROOT
from tests.deploy.prometheus import Prometheus, find
from tests.issuer import JWKS, jwks_document, rsa_key
from tests.process import free_port
from tests.scripted_cluster import ScriptedCluster
from tests.scripted_server import Reply, Request
from tests.serving import Serve, issuer_in_thread

RULES = CHART / "files" / "rules.yaml"
ALERTS = {rule["alert"] for rule in yaml.safe_load(RULES.read_text())["groups"][0]["rules"]}
FORBIDDEN = 'users "x" is forbidden: User "proxy" cannot impersonate resource "users"'


class Cluster(ScriptedCluster):
    """Answers as the API server does where the proxy's account may not impersonate somebody."""

    def answer(self, request: Request, reply: Reply) -> None:
        if request.path == "/forbidden":
            reply.document({"kind": "Status", "message": FORBIDDEN}, HTTPStatus.FORBIDDEN)
        else:
            super().answer(request, reply)


def known_series() -> set[str]:
    """Every name of a series that the program can be scraped for."""
    return {
        sample.name for family in Metrics("test").registry.collect() for sample in [*family.samples]
    } | {
        f"{family.name}{suffix}"
        for family in Metrics("test").registry.collect()
        for suffix in ("", "_bucket", "_count", "_sum", "_total")
    }


@pytest.mark.parametrize(
    "expression",
    [*queries(), *(r["expr"] for r in yaml.safe_load(RULES.read_text())["groups"][0]["rules"])],
)
def test_only_metrics_that_exist_are_asked_for(expression: str) -> None:
    named = set(re.findall(r"headlamp_auth_proxy_\w+", expression))
    assert named
    assert named <= known_series()


def test_every_alert_fires_at_the_durations_that_are_shipped_and_not_before() -> None:
    tests = ROOT / "deploy" / "prometheus" / "rules_test.yaml"
    assert {a for a in ALERTS if a not in tests.read_text()} == set()
    run = subprocess.run(
        [find("promtool"), "test", "rules", tests], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stdout + run.stderr


def test_every_alert_is_explained() -> None:
    explained = (ROOT / "docs" / "alerts.md").read_text()
    assert {a for a in ALERTS if f"## {a}\n" not in explained} == set()


class Stage:
    """Three proxies and all that can go wrong with them: one has no issuer, one has no disk."""

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        self.issuer, self._run = stack.enter_context(issuer_in_thread())
        self.cluster = stack.enter_context(Cluster(folder))
        self.token_file = folder / "token"
        self.write_token(expires_in=3600)
        for name in ("well", "lost", "deaf"):
            (folder / name).mkdir()
        self.well = stack.enter_context(self._serve(folder / "well", self.issuer.url))
        self.lost = stack.enter_context(
            self._serve(folder / "lost", f"https://localhost:{free_port()}")
        )
        deaf = self._serve(folder / "deaf", self.issuer.url)
        deaf.log = Path("/dev/full")
        self.deaf = stack.enter_context(deaf)
        self.well.wait_ready()

    def _serve(self, folder: Path, issuer: str) -> Serve:
        return Serve(
            folder,
            f"--oidc-issuer-url={issuer}",
            f"--oidc-client-id={self.issuer.client_id}",
            f"--oidc-ca-file={self.issuer.ca_file}",
            f"--upstream={self.cluster.url}",
            f"--upstream-ca-file={self.cluster.ca_file}",
            f"--upstream-token-file={self.token_file}",
        )

    def write_token(self, expires_in: float) -> None:
        claims = json.dumps({"exp": int(time.time() + expires_in)}).encode()
        body = base64.urlsafe_b64encode(claims).rstrip(b"=").decode()
        self.token_file.write_text(f"e30.{body}.c2ln")

    def slow_rotation(self) -> None:
        """Have the issuer sign with another key, and take a while to publish it."""
        self.issuer.rotate()
        keys = jwks_document(*self.issuer.keys)

        async def slowly(_: web.Request) -> web.StreamResponse:
            await asyncio.sleep(0.3)
            return web.Response(body=keys)

        self.issuer.overrides[JWKS] = slowly

    def ask(self, path: str = "/version", token: str | None = None, **headers: str) -> int:
        return self.well.get(path, token or self.issuer.token(), headers)[0]


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    with ExitStack() as stack:
        yield Stage(stack, tmp_path)


def targets(**proxies: Serve) -> dict[str, str]:
    return {name: f"127.0.0.1:{proxy.admin_port}" for name, proxy in proxies.items()}


def test_a_real_prometheus_scrapes_it_and_answers_every_query(stage: Stage, tmp_path: Path) -> None:
    stage.ask()
    with Prometheus(tmp_path, targets(well=stage.well), RULES) as prometheus:
        prometheus.wait_until(lambda: prometheus.query("up") != [], "scraped")
        assert [value for _, value in prometheus.query("up")] == [1]
        prometheus.wait_until(
            lambda: "unknown" not in prometheus.rules_health().values(), "evaluated"
        )
        assert prometheus.rules_health() == dict.fromkeys(ALERTS, "ok")
        for query in queries():
            prometheus.query(filled_in(query))
        assert prometheus.firing() == set()
    scraped = stage.well.probe("/metrics")[1]
    lint = subprocess.run(
        [find("promtool"), "check", "metrics"], input=scraped, capture_output=True, text=True
    )
    assert (lint.returncode, lint.stderr) == (0, "")


def filled_in(query: str) -> str:
    """The query with Grafana's variables as Grafana would fill them in."""
    for name, value in {
        "$__rate_interval": "5s",
        "$__range": "1m",
        "$namespace": ".*",
        "$pod": ".*",
    }.items():
        query = query.replace(name, value)
    return query


def test_a_real_fault_fires_each_alert(stage: Stage, tmp_path: Path) -> None:
    """The windows are shortened to seconds; the expressions and their bounds are the shipped ones,
    but for the hour after which keys are stale.
    """
    rules = tmp_path / "short.yaml"
    rules.write_text(shortened(RULES.read_text()))
    proxies = targets(well=stage.well, lost=stage.lost, deaf=stage.deaf)
    fired = set()
    with Prometheus(tmp_path, proxies, rules, interval="500ms") as prometheus:
        for alert, fault in FAULTS.items():
            if alert not in MAY_FIRE_EARLY:
                assert alert not in prometheus.firing()

            def happens(alert: str = alert, fault: Callable[[Stage], object] = fault) -> bool:
                fault(stage)
                return alert in prometheus.firing()

            prometheus.wait_until(happens, f"firing {alert}")
            fired.add(alert)
    assert fired == ALERTS


def forge(stage: Stage) -> None:
    stage.ask(token=stage.issuer.token(key=rsa_key(7)))


def smuggle(stage: Stage) -> None:
    assert stage.ask(**{"Impersonate-User": "admin"}) == 403


def expire(stage: Stage) -> None:
    stage.write_token(expires_in=100)
    stage.ask()


def lose_the_credential(stage: Stage) -> None:
    stage.token_file.unlink(missing_ok=True)
    stage.ask()


def wait_for_keys(stage: Stage) -> None:
    """Have a request wait for a key, which the issuer takes its time to give."""
    stage.write_token(expires_in=3600)
    stage.slow_rotation()
    stage.ask()


def stop_for_a_second(stage: Stage) -> None:
    os.kill(stage.well.pid, signal.SIGSTOP)
    time.sleep(1)  # the fault itself: nothing runs for that long
    os.kill(stage.well.pid, signal.SIGCONT)


def vanish(stage: Stage) -> None:
    for proxy in (stage.well, stage.lost, stage.deaf):
        proxy.stop()


def nothing(_: Stage) -> None:
    """The fault was there from the start."""


# Those whose fault was there from the start, or is another's as well, or is a busy machine.
MAY_FIRE_EARLY = {
    "AuthProxyNoKeys",
    "AuthProxyKeysStale",
    "AuthProxyLogLost",
    "AuthProxyUpstreamErrors",
    "AuthProxySlow",
    "AuthProxyLoopLag",
}
# In this order: what comes first must not make fire what comes later.
FAULTS: dict[str, Callable[[Stage], object]] = {
    "AuthProxyNoKeys": nothing,  # of the one whose issuer was never there
    "AuthProxyKeysStale": nothing,  # they are fetched every few minutes only
    "AuthProxySmuggling": smuggle,
    "AuthProxyTokensRefused": forge,
    "AuthProxyCannotImpersonate": lambda stage: stage.ask("/forbidden"),
    "AuthProxyCredentialExpiring": expire,
    "AuthProxyCredentialRejected": lose_the_credential,
    "AuthProxyUpstreamErrors": lose_the_credential,
    "AuthProxySlow": wait_for_keys,
    "AuthProxyLoopLag": stop_for_a_second,
    "AuthProxyLogLost": lambda stage: stage.deaf.get("/version"),
    "AuthProxyDown": vanish,
}


def shortened(text: str) -> str:
    """The rules with windows of seconds, and keys that are stale after one."""
    text = re.sub(r"\[\d+m\]", "[10s]", text)
    text = re.sub(r"for: \d+m", "for: 0s", text)
    return text.replace("> 3600", "> 1")
