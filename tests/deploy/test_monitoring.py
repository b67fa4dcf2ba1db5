"""The alerts and the dashboard, in a real Prometheus that scrapes the program itself."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import yaml

from docs.dashboard import queries
from proxy.observe.metrics import Metrics
from tests.deploy.helm import ROOT
from tests.deploy.prometheus import Prometheus, find
from tests.deploy.stage import RULES, Stage, filled_in, targets
from tests.issuer import rsa_key

ALERTS = {rule["alert"] for rule in yaml.safe_load(RULES.read_text())["groups"][0]["rules"]}


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


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    with ExitStack() as stack:
        yield Stage(stack, tmp_path)


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


def test_a_real_fault_fires_each_alert(stage: Stage, tmp_path: Path) -> None:
    """The windows are shortened to seconds; the expressions and their bounds are the shipped ones,
    but for the hour after which keys are stale.
    """
    rules = tmp_path / "short.yaml"
    rules.write_text(shortened(RULES.read_text()))
    proxies = targets(well=stage.well, lost=stage.lost, deaf=stage.deaf, lavish=stage.lavish)
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
    for proxy in (stage.well, stage.lost, stage.deaf, stage.lavish):
        proxy.stop()


def nothing(_: Stage) -> None:
    """The fault was there from the start."""


# Those whose fault was there from the start, or is another's as well, or is a busy machine.
MAY_FIRE_EARLY = {
    "AuthProxyNoKeys",
    "AuthProxyKeysStale",
    "AuthProxyLogLost",
    "AuthProxyPrivileged",
    "AuthProxyUpstreamErrors",
    "AuthProxySlow",
    "AuthProxyLoopLag",
}
# In this order: what comes first must not make fire what comes later.
FAULTS: dict[str, Callable[[Stage], object]] = {
    "AuthProxyNoKeys": nothing,  # of the one whose issuer was never there
    "AuthProxyKeysStale": nothing,  # they are fetched every few minutes only
    "AuthProxyPrivileged": nothing,  # of the one whose account may do anything
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
