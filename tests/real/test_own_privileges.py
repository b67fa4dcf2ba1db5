"""What the proxy finds of its own account's rights on a real kube-apiserver, and does about it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from proxy.reviews.privileges import CANARY
from proxy.rights import Rule
from tests.real.cluster import Cluster
from tests.real.granting import OWN_GROUP, account, proxy_with, role, user_token
from tests.serving import Serve

ALICE = "alice@example.com"
Started = Callable[..., AbstractContextManager[Serve]]

IMPERSONATION = (
    Rule(("impersonate",), ("",), ("users",), (CANARY, ALICE)),
    Rule(("impersonate",), ("",), ("groups",), (OWN_GROUP,)),
)
CONSTRAINED = (
    Rule(("impersonate:user-info",), ("authentication.k8s.io",), ("users", "groups")),
    Rule(("impersonate-on:user-info:create",), ("*",), ("*",)),
)
EVERYBODY = Rule(("impersonate",), ("",), ("users", "groups"))
SECRETS = Rule(("get", "list"), ("",), ("secrets",))
EVERYTHING = Rule(("*",), ("*",), ("*",))


@pytest.fixture
def started(cluster: Cluster, namespace: str, tmp_path: Path) -> Started:
    """Start a proxy whose account has these rules, and wait for its first verdict."""

    @contextmanager
    def start(*rules: Rule, flags: tuple[str, ...] = ()) -> Iterator[Serve]:
        with proxy_with(cluster, namespace, tmp_path, *rules, flags=flags) as serve:
            asked = 'reviews_total{kind="SelfSubjectReview",result="'
            serve.wait_until(
                lambda: serve.metric(f'{asked}answered"') + serve.metric(f'{asked}unknown"') >= 2,
                "asked",
            )
            yield serve

    return start


def found(serve: Serve) -> set[str]:
    """Return the findings that the metrics show."""
    start = "headlamp_auth_proxy_own_privileges{"
    lines = [x for x in serve.probe("/metrics")[1].splitlines() if x.startswith(start)]
    assert len(lines) == 5
    return {line.split('"')[1] for line in lines if line.endswith(" 1.0")}


def ask(serve: Serve) -> tuple[int, str]:
    status, body = serve.get("/version", user_token(ALICE))
    return status, body.get("details", {}).get("causes", [{}])[0].get("reason", "")


@pytest.mark.parametrize("rules", [IMPERSONATION, CONSTRAINED], ids=["named", "constrained"])
def test_an_account_for_impersonation_alone_is_as_it_should_be(
    started: Started, cluster: Cluster, rules: tuple[Rule, ...]
) -> None:
    with started(*rules) as serve:
        serve.wait_ready()
        verbose = serve.probe("/readyz?verbose")[1]
        assert found(serve) == set(), serve.logged()
        assert "failed" not in verbose
    event = cluster.wait_for_audit_event(
        lambda e: bool(e.get("impersonatedUser", {}).get("username") == CANARY)
    )
    assert event["objectRef"]["resource"] == "selfsubjectreviews"
    assert event["responseStatus"]["code"] == 201


def test_a_right_too_many_is_a_failed_line_and_a_metric(started: Started) -> None:
    with started(*IMPERSONATION, SECRETS) as serve:
        serve.wait_until(lambda: found(serve) == {"beyond_impersonation"}, "found")
        status, verbose = serve.probe("/readyz?verbose")
        assert status == 200
        assert "[-]own-privileges failed" in verbose
        assert ask(serve)[0] == 200

        def warnings() -> list[dict[str, Any]]:
            return [x for x in serve.logged() if "beyond_impersonation" in x]

        serve.wait_until(lambda: bool(warnings()), "logged")
        (line,) = warnings()
        assert line["level"] == "warning"
        assert "list secrets" in line["beyond_impersonation"]
        assert "get, list on secrets" in line["beyond_impersonation"]


def test_impersonation_of_everybody_is_found(started: Started) -> None:
    with started(EVERYBODY) as serve:
        serve.wait_until(lambda: found(serve) == {"unrestricted_impersonation"}, "found")
        assert "failed" not in serve.probe("/readyz?verbose")[1]


def test_an_account_that_may_do_everything_serves_nobody_until_that_is_mended(
    started: Started, cluster: Cluster, namespace: str
) -> None:
    with started(EVERYTHING) as serve:
        serve.wait_until(lambda: found(serve) == {"everything"}, "found")
        status, verbose = serve.probe("/readyz?verbose")
        assert status == 503
        assert "[-]account-not-privileged failed" in verbose
        assert "[-]own-privileges failed" in verbose
        assert ask(serve) == (503, "service_account_privileged")
        cluster.apply(role(namespace, *IMPERSONATION, subject=account(namespace)))
        serve.wait_until(lambda: serve.probe("/readyz")[0] == 200, "ready")
        assert ask(serve)[0] == 200


def test_unless_that_is_what_was_asked_for(started: Started) -> None:
    with started(EVERYTHING, flags=("--allow-privileged-service-account",)) as serve:
        serve.wait_until(lambda: found(serve) == {"everything"}, "found")
        status, verbose = serve.probe("/readyz?verbose")
        assert status == 200
        assert "[-]own-privileges failed" in verbose
        assert ask(serve)[0] == 200


def test_a_webhook_that_keeps_the_canary_out_leaves_the_rights_unknown_and_requests_go_on(
    started: Started, cluster: Cluster, namespace: str
) -> None:
    """An admission webhook for everything is asked about reviews, too; here, it is away."""
    cluster.apply(keeping_the_canary_out(namespace))
    try:
        with started(*IMPERSONATION) as serve:
            serve.wait_until(lambda: found(serve) == {"unknown"}, "found")
            status, verbose = serve.probe("/readyz?verbose")
            assert status == 200
            assert "[-]own-privileges-known failed" in verbose

            def said() -> list[str]:
                return [str(line["unknown"]) for line in serve.logged() if "unknown" in line]

            serve.wait_until(lambda: bool(said()), "logged")
            assert "failed calling webhook" in said()[0]
            assert ask(serve)[0] == 200
    finally:
        cluster.kubectl("delete", "validatingwebhookconfiguration", namespace)


def keeping_the_canary_out(name: str) -> str:
    webhook = {
        "name": "nobody.example.com",
        "clientConfig": {"url": "https://127.0.0.1:1/"},
        "rules": [
            {"operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*"]}
        ],
        "matchConditions": [
            {"name": "canary", "expression": f"request.userInfo.username == '{CANARY}'"}
        ],
        "failurePolicy": "Fail",
        "timeoutSeconds": 1,
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
    }
    kind = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
    }
    return json.dumps(kind | {"metadata": {"name": name}, "webhooks": [webhook]})


def test_an_account_that_may_not_impersonate_is_unknown(started: Started) -> None:
    with started() as serve:
        serve.wait_until(lambda: found(serve) == {"unknown"}, "found")
        status, verbose = serve.probe("/readyz?verbose")
        assert status == 200
        assert "[-]own-privileges-known failed" in verbose
