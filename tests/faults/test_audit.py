"""Audit events of a running proxy: on standard output, at a webhook, and with the webhook away."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.audit.test_webhook import Collector, kubeconfig
from tests.faults.conftest import Stage, token

ALICE = "alice@example.com"
PODS = "/api/v1/namespaces/prod/pods"
POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [{"level": "Metadata"}],
}


def policy(folder: Path) -> str:
    path = folder / "policy.yaml"
    path.write_text(json.dumps(POLICY))
    return f"--audit-policy-file={path}"


def told(event: dict[str, Any]) -> tuple[str, str, int]:
    return (
        event["user"]["username"],
        event["objectRef"]["resource"],
        event["responseStatus"]["code"],
    )


def test_on_standard_output_an_event_is_a_line(stage: Stage) -> None:
    with stage.serve(policy(stage.folder), "--audit-log-path=-") as serve:
        serve.wait_ready()
        assert serve.get(PODS, token(ALICE))[0] == 200
        serve.stop()
        lines = [json.loads(line) for line in serve.log.read_text().splitlines()]
    (event,) = (line for line in lines if line.get("kind") == "Event")
    assert told(event) == (ALICE, "pods", 200)
    (request,) = (line for line in lines if line.get("event") == "request")
    assert request["audit_id"] == event["auditID"]


def test_the_policy_is_followed_and_a_broken_one_kept_out(stage: Stage) -> None:
    flag = policy(stage.folder)
    file, log = stage.folder / "policy.yaml", stage.folder / "audit.log"
    with stage.serve(flag, f"--audit-log-path={log}") as serve:
        serve.wait_ready()
        assert serve.get(PODS, token(ALICE))[0] == 200
        file.write_text("rules: {")
        serve.wait_until(lambda: serve.metric("audit_policy_failed") == 1, "noticed")
        assert "[-]audit-policy failed" in serve.probe("/readyz?verbose")[1]
        assert serve.probe("/readyz")[0] == 200
        assert serve.get(PODS, token(ALICE))[0] == 200
        file.write_text(json.dumps({**POLICY, "rules": [{"level": "None"}]}))
        serve.wait_until(lambda: serve.metric("audit_policy_failed") == 0, "taken")
        assert serve.get(PODS, token(ALICE))[0] == 200
        serve.stop()
    events = [json.loads(line) for line in log.read_text().splitlines()]
    assert [told(event) for event in events] == [(ALICE, "pods", 200)] * 2


def serve_three(stage: Stage, webhook: Path) -> None:
    """Serve three requests, and stop."""
    flag = f"--audit-webhook-config-file={webhook}"
    with stage.serve(policy(stage.folder), flag) as serve:
        serve.wait_ready()
        for _ in range(3):
            assert serve.get(PODS, token(ALICE))[0] == 200
        assert serve.stop() == 0


def test_a_webhook_has_every_event_at_the_latest_when_the_proxy_has_stopped(
    stage: Stage, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("webhook")
    with Collector(folder) as collector:
        serve_three(stage, kubeconfig(collector, folder))
        events = [event for request in collector.requests for event in request.json()["items"]]
    assert [told(event) for event in events] == [(ALICE, "pods", 200)] * 3


def test_a_webhook_that_is_away_costs_nobody_anything(
    stage: Stage, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("webhook")
    with Collector(folder) as collector:
        webhook = kubeconfig(collector, folder)
    serve_three(stage, webhook)
