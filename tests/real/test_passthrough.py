"""Tokens that kube-apiserver itself has issued, through the proxy: its own decision, untouched."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from proxy.reviews.privileges import CANARY
from proxy.rights import TOKEN_PASSTHROUGH, Rule
from tests.kubectl import kubectl
from tests.real.cluster import Cluster
from tests.real.granting import (
    OWN_GROUP,
    account,
    issuer_flags,
    proxy_with,
    role,
    user_token,
)
from tests.serving import Serve

IMPERSONATION = (
    Rule(("impersonate",), ("",), ("users",), (CANARY,)),
    Rule(("impersonate",), ("",), ("groups",), (OWN_GROUP,)),
)
PODS = Rule(("list",), ("",), ("pods",))


@pytest.fixture
def robot(cluster: Cluster, namespace: str) -> str:
    """Return the token of a service account that may list pods."""
    cluster.kubectl("create", "serviceaccount", "robot", f"-n{namespace}")
    cluster.apply(role(f"{namespace}-robot", PODS, subject=account(namespace, "robot")))
    return cluster.service_account_token(namespace, "robot")


@contextmanager
def passing(cluster: Cluster, namespace: str, folder: Path, *rules: Rule) -> Iterator[Serve]:
    flags = ("--token-passthrough",)
    with proxy_with(cluster, namespace, folder, *IMPERSONATION, *rules, flags=flags) as serve:
        serve.wait_ready()
        yield serve


def whoami(config: Path) -> dict[str, Any]:
    run = kubectl(config, "auth", "whoami", "-ojson")
    user: dict[str, Any] = json.loads(run.stdout)["status"]["userInfo"]
    return user


def test_a_service_account_is_itself_to_the_last_extra(
    cluster: Cluster, namespace: str, tmp_path: Path, robot: str
) -> None:
    with passing(cluster, namespace, tmp_path, *TOKEN_PASSTHROUGH) as serve:
        through = serve.kubeconfig("robot", robot)
        direct = cluster.write_kubeconfig(f"{namespace}-robot", {"token": robot})
        assert whoami(through) == whoami(direct)
        assert whoami(through)["username"] == f"system:serviceaccount:{namespace}:robot"
        assert kubectl(through, "get", "pods", "-A").returncode == 0
        denied = kubectl(through, "get", "secrets", check=False)
        assert f'User "system:serviceaccount:{namespace}:robot" cannot list' in denied.stderr
        refused = kubectl(through, "get", "pods", "--as=bob", check=False)
        assert "leave out --as" in refused.stderr
        assert serve.get("/version", user_token("bob@example.com"))[0] == 403  # not in our RBAC
        serve.wait_until(
            lambda: "[+]own-privileges ok" in serve.probe("/readyz?verbose")[1], "judged"
        )


@pytest.mark.parametrize("spoilt", ["signature", "account"])
def test_whom_the_api_server_does_not_know_is_refused(
    cluster: Cluster, namespace: str, tmp_path: Path, robot: str, spoilt: str
) -> None:
    if spoilt == "account":
        cluster.kubectl("delete", "serviceaccount", "robot", f"-n{namespace}")
    else:
        robot = robot.rsplit(".", 1)[0] + ".AAAA"
    with passing(cluster, namespace, tmp_path, *TOKEN_PASSTHROUGH) as serve:
        status, body = serve.get("/version", robot)
        assert (status, body["details"]["causes"][0]["reason"]) == (401, "token_unknown")


def test_without_the_right_to_ask_it_is_a_503_and_the_log_says_why(
    cluster: Cluster, namespace: str, tmp_path: Path, robot: str
) -> None:
    with passing(cluster, namespace, tmp_path) as serve:
        status, body = serve.get("/version", robot)
        assert (status, body["details"]["causes"][0]["reason"]) == (503, "token_review_unavailable")
        serve.wait_until(lambda: "cannot create resource" in serve.log.read_text(), "logged")


def test_our_client_certificate_is_never_the_clients(
    cluster: Cluster, tmp_path: Path, robot: str, namespace: str
) -> None:
    """kube-apiserver takes a certificate for who is asking before it looks at any token."""
    flags = (
        f"--kubeconfig={cluster.admin_kubeconfig}",
        "--allow-privileged-service-account",
        "--token-passthrough",
    )
    with Serve(tmp_path, *issuer_flags(tmp_path), *flags) as serve:
        serve.wait_ready()
        through = serve.kubeconfig("robot", robot)
        assert serve.get("/version", user_token("alice@example.com"))[0] == 200
        assert whoami(through)["username"] == f"system:serviceaccount:{namespace}:robot"
        assert kubectl(through, "get", "secrets", "-A", check=False).returncode != 0
