"""``kubectl --as`` through the proxy: what is allowed, and as whom, compared with a direct one.

alice is known to kube-apiserver by a client certificate and to the proxy by a token, under one
name and in one group; what one way allows, the other must, and what it denies as well.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from proxy.rights import ALLOW_IMPERSONATION, ORIGINAL_USER, Rule
from tests.kubectl import kubectl
from tests.real.cluster import Cluster
from tests.real.granting import OWN_GROUP, proxy_with, role, user, user_token
from tests.serving import Serve

ALICE, BOB = "alice@impersonation.example", "bob@impersonation.example"
AUTHN = "authentication.k8s.io"

# What alice may ask for. Her group and the proxy's own group get nothing by it.
HERS = (
    Rule(("impersonate",), ("",), ("users",), (BOB, "system:kube-scheduler")),
    Rule(("impersonate",), ("",), ("groups",), ("dev", "system:masters")),
    Rule(("impersonate",), ("",), ("serviceaccounts",), ("robot",)),
    Rule(("impersonate",), (AUTHN,), ("uids",), ("7",)),
    Rule(("impersonate",), (AUTHN,), ("userextras/example.com/scope",), ("view",)),
)
# The proxy may impersonate whom it likes, so that every refusal is the review's.
OURS = (
    Rule(("impersonate",), ("",), ("users", "groups", "serviceaccounts")),
    Rule(("impersonate",), (AUTHN,), ("uids", "userextras/example.com/scope")),
    *ALLOW_IMPERSONATION,
)


@dataclass
class Ways:
    """Two kubeconfigs of alice: through the proxy, and to the API server itself."""

    serve: Serve
    through: Path
    direct: Path
    namespace: str

    def whoami(self, config: Path, *flags: str) -> dict[str, Any]:
        """Return who the API server sees."""
        run = kubectl(config, "auth", "whoami", "-ojson", *flags)
        seen: dict[str, Any] = json.loads(run.stdout)["status"]["userInfo"]
        return seen

    def refusal(self, config: Path, *flags: str) -> str:
        """Return what is said to somebody who may not even ask for the version."""
        run = kubectl(config, "get", "--raw=/version", *flags, check=False)
        assert run.returncode
        return run.stderr


@pytest.fixture(scope="module")
def ways(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ways]:
    namespace, folder = "impersonation", tmp_path_factory.mktemp("impersonation")
    cluster.kubectl("create", "namespace", namespace)
    cluster.apply(role("impersonation-alice", *HERS, subject=user(ALICE)))
    flags = ("--allow-impersonation",)
    with proxy_with(cluster, namespace, folder, *OURS, flags=flags) as serve:
        serve.wait_ready()
        through = serve.kubeconfig("alice", user_token(ALICE, "team"))
        yield Ways(serve, through, cluster.write_user(ALICE, "team"), namespace)


ROBOT = "system:serviceaccount:impersonation:robot"


@pytest.mark.parametrize(
    "flags",
    [
        [f"--as={BOB}"],
        [f"--as={BOB}", "--as-group=dev"],
        [f"--as={BOB}", "--as-uid=7"],
        [f"--as={BOB}", "--as-user-extra=example.com/scope=view"],
        [f"--as={BOB}", "--as-group=dev", "--as-uid=7", "--as-user-extra=example.com/scope=view"],
        ["--as=system:kube-scheduler"],
        [f"--as={ROBOT}"],
        [f"--as={ROBOT}", "--as-group=dev"],
    ],
    ids=" ".join,
)
def test_what_is_allowed_directly_is_allowed_and_the_same(ways: Ways, flags: list[str]) -> None:
    direct, through = ways.whoami(ways.direct, *flags), ways.whoami(ways.through, *flags)
    assert through["username"] == direct["username"]
    assert through.get("uid") == direct.get("uid")
    assert sorted(through["groups"]) == sorted([*direct["groups"], OWN_GROUP])
    assert through["extra"] == {**direct.get("extra", {}), ORIGINAL_USER: [ALICE]}


@pytest.mark.parametrize(
    "flags",
    [
        ["--as=eve@impersonation.example"],
        [f"--as={BOB}", "--as-group=ops"],
        [f"--as={BOB}", "--as-group=dev", "--as-group=ops"],
        [f"--as={BOB}", "--as-group=system:authenticated"],
        [f"--as={BOB}", f"--as-group={OWN_GROUP}"],
        [f"--as={BOB}", "--as-uid=8"],
        [f"--as={BOB}", "--as-user-extra=example.com/scope=edit"],
        [f"--as={BOB}", "--as-user-extra=example.com/other=view"],
        ["--as=system:admin"],
        ["--as=system:serviceaccount:impersonation:proxy"],
        ["--as=system:serviceaccount:impersonation:robot:x"],
        [f"--as={ALICE}"],
    ],
    ids=" ".join,
)
def test_what_is_denied_directly_is_denied(ways: Ways, flags: list[str]) -> None:
    assert "cannot impersonate" in ways.refusal(ways.direct, *flags)
    assert "You may not impersonate" in ways.refusal(ways.through, *flags)


def test_masters_never_pass_whatever_the_api_server_would_allow(ways: Ways) -> None:
    flags = (f"--as={BOB}", "--as-group=system:masters")
    assert "system:masters" in ways.whoami(ways.direct, *flags)["groups"]
    assert "You may not impersonate" in ways.refusal(ways.through, *flags)


def test_rbac_is_that_of_the_one_who_is_impersonated(ways: Ways, cluster: Cluster) -> None:
    secrets = Rule(("list",), ("",), ("secrets",))
    cluster.apply(role("impersonation-bob", secrets, subject=user(BOB)))
    asked = ("get", "secrets", f"-n{ways.namespace}")
    assert kubectl(ways.through, *asked, check=False).returncode != 0
    assert kubectl(ways.through, *asked, f"--as={BOB}").returncode == 0


def test_the_audit_log_has_both_names(ways: Ways, cluster: Cluster) -> None:
    kubectl(ways.through, "get", "pods", "-nthe-audited", f"--as={BOB}", check=False)
    event = cluster.wait_for_audit_event(
        lambda e: bool(e.get("objectRef", {}).get("namespace") == "the-audited")
    )
    assert event["impersonatedUser"]["username"] == BOB
    assert event["impersonatedUser"]["extra"] == {ORIGINAL_USER: [ALICE]}


def test_without_the_right_to_ask_it_is_a_503(
    cluster: Cluster, namespace: str, tmp_path: Path
) -> None:
    everybody = Rule(("impersonate",), ("",), ("users", "groups"))
    flags = ("--allow-impersonation",)
    with proxy_with(cluster, namespace, tmp_path, everybody, flags=flags) as serve:
        serve.wait_ready()
        status, body = serve.get("/version", user_token(ALICE), {"Impersonate-User": BOB})
        reason = body["details"]["causes"][0]["reason"]
        assert (status, reason) == (503, "access_review_unavailable")
        serve.wait_until(lambda: "cannot create resource" in serve.log.read_text(), "logged")
