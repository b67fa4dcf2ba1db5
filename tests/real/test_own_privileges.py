"""What the proxy finds of its own account's rights on a real kube-apiserver, and does about it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from proxy.reviews.privileges import CANARY
from tests.issuer import CLIENT_ID, jwks_document, rsa_key, tsidp_claims
from tests.real.cluster import Cluster
from tests.serving import Serve

ISSUER = "https://idp.tail1234.ts.net"
OWN_GROUP = "headlamp-auth-proxy:authenticated"
ALICE = "alice@example.com"

Rule = dict[str, list[str]]
Started = Callable[..., AbstractContextManager[Serve]]

IMPERSONATION: list[Rule] = [
    {
        "apiGroups": [""],
        "resources": ["users"],
        "verbs": ["impersonate"],
        "resourceNames": [CANARY, ALICE],
    },
    {
        "apiGroups": [""],
        "resources": ["groups"],
        "verbs": ["impersonate"],
        "resourceNames": [OWN_GROUP],
    },
]
CONSTRAINED: list[Rule] = [
    {
        "apiGroups": ["authentication.k8s.io"],
        "resources": ["users", "groups"],
        "verbs": ["impersonate:user-info"],
    },
    {"apiGroups": ["*"], "resources": ["*"], "verbs": ["impersonate-on:user-info:create"]},
]
SECRETS: Rule = {"apiGroups": [""], "resources": ["secrets"], "verbs": ["get", "list"]}
ALL: Rule = {"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}


@pytest.fixture
def started(cluster: Cluster, namespace: str, tmp_path: Path) -> Started:
    """Start a proxy whose account has these rules, and wait for its first verdict."""

    @contextmanager
    def start(rules: list[Rule], *flags: str) -> Iterator[Serve]:
        cluster.kubectl("create", "serviceaccount", "proxy", f"-n{namespace}")
        cluster.apply(_role(namespace, rules))
        token_file = tmp_path / "token"
        token_file.write_text(cluster.service_account_token(namespace, "proxy"))
        jwks = tmp_path / "jwks.json"
        jwks.write_bytes(jwks_document(rsa_key()))
        with Serve(
            tmp_path,
            f"--oidc-issuer-url={ISSUER}",
            f"--oidc-client-id={CLIENT_ID}",
            f"--oidc-jwks-file={jwks}",
            f"--upstream={cluster.url}",
            f"--upstream-ca-file={cluster.ca_file}",
            f"--upstream-token-file={token_file}",
            *flags,
        ) as serve:
            asked = 'reviews_total{kind="SelfSubjectReview",result="'
            serve.wait_until(
                lambda: serve.metric(f'{asked}answered"') + serve.metric(f'{asked}unknown"') >= 2,
                "asked",
            )
            yield serve

    return start


def _role(namespace: str, rules: list[Rule]) -> str:
    role = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": {"name": namespace},
        "rules": rules,
    }
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": namespace},
        "roleRef": {
            "apiGroup": "rbac.authorization.k8s.io",
            "kind": "ClusterRole",
            "name": namespace,
        },
        "subjects": [{"kind": "ServiceAccount", "name": "proxy", "namespace": namespace}],
    }
    return f"{json.dumps(role)}\n---\n{json.dumps(binding)}"


def found(serve: Serve) -> set[str]:
    """Return the findings that the metrics show."""
    start = "headlamp_auth_proxy_own_privileges{"
    lines = [x for x in serve.probe("/metrics")[1].splitlines() if x.startswith(start)]
    assert len(lines) == 5
    return {line.split('"')[1] for line in lines if line.endswith(" 1.0")}


def ask(serve: Serve) -> tuple[int, str]:
    status, body = serve.get("/version", rsa_key().token(tsidp_claims(ISSUER, email=ALICE)))
    return status, body.get("details", {}).get("causes", [{}])[0].get("reason", "")


@pytest.mark.parametrize("rules", [IMPERSONATION, [*CONSTRAINED]], ids=["named", "constrained"])
def test_an_account_for_impersonation_alone_is_as_it_should_be(
    started: Started, cluster: Cluster, rules: list[Rule]
) -> None:
    with started(rules) as serve:
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
    with started([*IMPERSONATION, SECRETS]) as serve:
        serve.wait_until(lambda: found(serve) == {"beyond_impersonation"}, "found")
        status, verbose = serve.probe("/readyz?verbose")
        assert status == 200
        assert "[-]own-privileges failed" in verbose
        assert ask(serve)[0] == 200
        (line,) = [x for x in serve.logged() if "beyond_impersonation" in x]
        assert line["level"] == "warning"
        assert "list secrets" in line["beyond_impersonation"]
        assert "get, list on secrets" in line["beyond_impersonation"]


def test_impersonation_of_everybody_is_found(started: Started) -> None:
    rule: Rule = {"apiGroups": [""], "resources": ["users", "groups"], "verbs": ["impersonate"]}
    with started([rule]) as serve:
        serve.wait_until(lambda: found(serve) == {"unrestricted_impersonation"}, "found")
        assert "failed" not in serve.probe("/readyz?verbose")[1]


def test_an_account_that_may_do_everything_serves_nobody_until_that_is_mended(
    started: Started, cluster: Cluster, namespace: str
) -> None:
    with started([ALL]) as serve:
        serve.wait_until(lambda: found(serve) == {"everything"}, "found")
        status, verbose = serve.probe("/readyz?verbose")
        assert status == 503
        assert "[-]account-not-privileged failed" in verbose
        assert "[-]own-privileges failed" in verbose
        assert ask(serve) == (503, "service_account_privileged")
        cluster.apply(_role(namespace, IMPERSONATION))
        serve.wait_until(lambda: serve.probe("/readyz")[0] == 200, "ready")
        assert ask(serve)[0] == 200


def test_unless_that_is_what_was_asked_for(started: Started) -> None:
    with started([ALL], "--allow-privileged-service-account") as serve:
        serve.wait_until(lambda: found(serve) == {"everything"}, "found")
        status, verbose = serve.probe("/readyz?verbose")
        assert status == 200
        assert "[-]own-privileges failed" in verbose
        assert ask(serve)[0] == 200


def test_an_account_that_may_not_impersonate_is_unknown(started: Started) -> None:
    with started([]) as serve:
        serve.wait_until(lambda: found(serve) == {"unknown"}, "found")
        status, verbose = serve.probe("/readyz?verbose")
        assert status == 200
        assert "[-]own-privileges-known failed" in verbose
