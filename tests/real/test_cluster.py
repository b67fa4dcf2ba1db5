"""The real cluster is what the other tests take it for."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.real.cluster import Cluster

if TYPE_CHECKING:
    from pathlib import Path


def whoami(cluster: Cluster, kubeconfig: Path) -> dict[str, object]:
    answer = cluster.kubectl("auth", "whoami", "--output=json", kubeconfig=kubeconfig)
    user_info: dict[str, object] = json.loads(answer.stdout)["status"]["userInfo"]
    return user_info


def test_it_says_that_it_is_a_released_1_36(cluster: Cluster) -> None:
    version = json.loads(cluster.kubectl("version", "--output=json").stdout)["serverVersion"]
    assert version["gitVersion"].startswith("v1.36.")
    assert (version["major"], version["minor"]) == ("1", "36")


def test_the_administrator_may_do_anything(cluster: Cluster) -> None:
    assert "system:masters" in str(whoami(cluster, cluster.admin_kubeconfig)["groups"])
    assert cluster.kubectl("auth", "can-i", "*", "*").stdout == "yes\n"


def test_rbac_refuses_an_unknown_user(cluster: Cluster, namespace: str) -> None:
    answer = cluster.kubectl(
        "get", "pods", f"-n{namespace}", "--as=nobody@example.com", check=False
    )
    assert answer.returncode == 1
    assert 'User "nobody@example.com" cannot list resource "pods"' in answer.stderr


def test_rbac_allows_what_a_bound_bootstrap_role_grants(cluster: Cluster, namespace: str) -> None:
    as_reader = ("-n", namespace, "--as=reader@example.com")
    assert cluster.kubectl("auth", "can-i", "list", "pods", *as_reader, check=False).stdout == (
        "no\n"
    )
    cluster.apply(
        f"""
        apiVersion: rbac.authorization.k8s.io/v1
        kind: RoleBinding
        metadata: {{name: reader, namespace: {namespace}}}
        roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: system:node}}
        subjects: [{{apiGroup: rbac.authorization.k8s.io, kind: User, name: reader@example.com}}]
        """
    )
    assert cluster.kubectl("auth", "can-i", "list", "pods", *as_reader).stdout == "yes\n"


def test_a_service_account_token_authenticates_as_its_account(
    cluster: Cluster, namespace: str
) -> None:
    cluster.kubectl("create", "serviceaccount", "robot", f"-n{namespace}")
    token = cluster.service_account_token(namespace, "robot", expiration_seconds=600)
    user_info = whoami(cluster, cluster.write_kubeconfig(namespace, {"token": token}))
    assert user_info["username"] == f"system:serviceaccount:{namespace}:robot"


def test_the_audit_log_tells_who_was_impersonated(cluster: Cluster, namespace: str) -> None:
    cluster.kubectl("get", "secrets", f"-n{namespace}", "--as=eve@example.com", check=False)
    event = cluster.wait_for_audit_event(
        lambda event: (
            event.get("objectRef", {}).get("namespace") == namespace and event["verb"] == "list"
        )
    )
    assert event["user"]["username"] == "admin"
    assert event["impersonatedUser"]["username"] == "eve@example.com"
    assert event["responseStatus"]["code"] == 403


def test_a_restart_keeps_address_and_objects(cluster: Cluster, namespace: str) -> None:
    url = cluster.url
    cluster.stop()
    assert cluster.kubectl("get", "namespace", namespace, check=False).returncode != 0
    cluster.start()
    assert cluster.url == url
    assert cluster.kubectl("get", "namespace", namespace, "--output=name").stdout == (
        f"namespace/{namespace}\n"
    )


def test_a_program_that_exits_at_once_is_reported_with_its_log(tmp_path: Path) -> None:
    for name in ("etcd", "kube-apiserver"):
        (tmp_path / name).write_text("#!/bin/sh\necho this one is broken >&2\nexit 3\n")
        (tmp_path / name).chmod(0o755)
    with (
        pytest.raises(RuntimeError, match=r"exited with status 3\n(.*\n)*this one is broken"),
        Cluster.run(tmp_path, tmp_path),
    ):
        pass
