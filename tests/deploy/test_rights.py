"""The account's rights in each mode, on a real kube-apiserver, by trying to exceed them."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from typing import Any

import pytest
import yaml

from proxy.tools.deploy.rbac import Mode, Rights, account_manifests
from tests.deploy.helm import Object
from tests.deploy.installing import ALICE
from tests.real.cluster import Cluster

OWN_GROUP = "headlamp-auth-proxy:authenticated"


class Account:
    """The proxy's account in a mode: what it gets when it asks as somebody."""

    def __init__(self, cluster: Cluster, namespace: str, rights: Rights) -> None:
        self._cluster = cluster
        cluster.kubectl("-n", namespace, "create", "serviceaccount", rights.account)
        self.manifests = account_manifests(rights)
        for manifest in self.manifests:
            manifest["metadata"]["name"] += f"-{namespace}"
        self.manifests[1]["roleRef"]["name"] += f"-{namespace}"
        cluster.apply(yaml.safe_dump_all(self.manifests))
        token = cluster.service_account_token(namespace, rights.account)
        self._kubeconfig = cluster.write_kubeconfig(namespace, {"token": token})

    def ask(
        self,
        user: str,
        *arguments: str,
        groups: tuple[str, ...] = (OWN_GROUP,),
        stdin: str | None = None,
    ) -> subprocess.CompletedProcess[str]:
        as_somebody = [f"--as={user}", *(f"--as-group={group}" for group in groups)]
        return self._cluster.kubectl(
            *as_somebody, *arguments, kubeconfig=self._kubeconfig, stdin=stdin, check=False
        )

    def may(self, user: str, *arguments: str, **kwargs: Any) -> bool:
        run = self.ask(user, *arguments, **kwargs)
        refused = ("orbidden", "do not have permission")
        assert run.returncode == 0 or any(words in run.stderr for words in refused), run.stderr
        return run.returncode == 0


def account(cluster: Cluster, namespace: str, mode: Mode, **kwargs: Any) -> Account:
    rights = Rights(
        mode=mode,
        users=(ALICE,),
        groups=("k8s-admins",),
        own_group=OWN_GROUP,
        namespace=namespace,
        account="proxy",
    )
    rights = replace(rights, **kwargs)
    cluster.apply(
        yaml.safe_dump(
            {
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": "ClusterRoleBinding",
                "metadata": {"name": f"admins-{namespace}"},
                "roleRef": {
                    "apiGroup": "rbac.authorization.k8s.io",
                    "kind": "ClusterRole",
                    "name": "cluster-admin",
                },
                "subjects": [
                    {"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "k8s-admins"}
                ],
            }
        )
    )
    return Account(cluster, namespace, rights)


ADMIN = (OWN_GROUP, "k8s-admins")

LIST = ("get", "configmaps")


@pytest.mark.parametrize("mode", Mode)
def test_who_is_granted_may_be_impersonated(cluster: Cluster, namespace: str, mode: Mode) -> None:
    proxy = account(cluster, namespace, mode)
    assert proxy.may(ALICE, "-n", namespace, *LIST, groups=ADMIN)
    assert proxy.may(ALICE, "-n", namespace, "create", "configmap", "a", groups=ADMIN)
    assert proxy.may(ALICE, "auth", "whoami")


@pytest.mark.parametrize("mode", [Mode.NAMED, Mode.CONSTRAINED])
@pytest.mark.parametrize(
    ("user", "groups"),
    [
        ("mallory@example.com", ADMIN),
        (ALICE, (OWN_GROUP, "others")),
        (ALICE, (OWN_GROUP, "system:masters")),
        ("system:serviceaccount:kube-system:default", (OWN_GROUP,)),
        ("system:node:a", (OWN_GROUP,)),
        ("system:kube-controller-manager", (OWN_GROUP,)),
    ],
)
def test_who_is_not_granted_may_not(
    cluster: Cluster, namespace: str, mode: Mode, user: str, groups: tuple[str, ...]
) -> None:
    proxy = account(cluster, namespace, mode)
    assert not proxy.may(user, "-n", namespace, *LIST, groups=groups)


def test_without_names_the_constrained_mode_still_refuses_what_is_above_rbac(
    cluster: Cluster, namespace: str
) -> None:
    proxy = account(cluster, namespace, Mode.CONSTRAINED, users=())
    assert proxy.may("anybody", "auth", "whoami")
    for user in ("system:serviceaccount:kube-system:default", "system:node:a"):
        assert not proxy.may(user, "auth", "whoami")
    assert not proxy.may(ALICE, *LIST, groups=(OWN_GROUP, "system:masters"))


def test_a_read_only_cap_holds_for_a_cluster_admin(cluster: Cluster, namespace: str) -> None:
    cluster.kubectl("-n", namespace, "create", "configmap", "a")
    cluster.kubectl("-n", namespace, "create", "serviceaccount", "default")
    proxy = account(cluster, namespace, Mode.CONSTRAINED, read_only=True)
    here = ("-n", namespace)
    assert proxy.may(ALICE, *here, *LIST, groups=ADMIN)
    for arguments in (
        ("create", "configmap", "b"),
        ("delete", "configmap", "a"),
        ("get", "secrets"),
        ("create", "token", "default"),
        # A WebSocket opens a shell by GET, for which a cap on verbs alone would let it through.
        ("get", "--raw", f"/api/v1/namespaces/{namespace}/pods/x/exec?command=id"),
        ("get", "--raw", f"/api/v1/namespaces/{namespace}/pods/x/proxy/"),
        ("get", "--raw", "/api/v1/nodes/x/proxy/run"),
    ):
        assert not proxy.may(ALICE, *here, *arguments, groups=ADMIN), arguments


HIDDEN = {"secrets"}

ACCESS: Object = {"resourceAttributes": {"verb": "list", "resource": "pods"}}


def test_reading_only_headlamp_finds_all_that_it_asks_for_after_a_sign_in(
    cluster: Cluster, namespace: str
) -> None:
    proxy = account(cluster, namespace, Mode.CONSTRAINED, read_only=True)
    for version, kind, spec in (
        ("authorization.k8s.io/v1", "SelfSubjectRulesReview", {"namespace": "default"}),
        ("authorization.k8s.io/v1", "SelfSubjectAccessReview", ACCESS),
        ("authentication.k8s.io/v1", "SelfSubjectReview", {}),
    ):
        review = {"apiVersion": version, "kind": kind, "spec": spec}
        path = f"/apis/{version}/{kind.lower()}s"
        run = proxy.ask(ALICE, "create", "--filename=-", f"--raw={path}", stdin=json.dumps(review))
        assert run.returncode == 0, run.stderr
    for path in (
        "/version",
        "/healthz",
        "/api",
        "/apis",
        "/api/v1",
        "/apis/apps/v1",
        "/openapi/v3",
    ):
        run = proxy.ask(ALICE, "get", f"--raw={path}")
        assert run.returncode == 0, run.stderr
    for path in ("pods", "pods?watch=1&timeoutSeconds=1", "events?limit=1", "services"):
        run = proxy.ask(ALICE, "get", f"--raw=/api/v1/{path}", groups=ADMIN)
        assert run.returncode == 0, run.stderr
    log = f"--raw=/api/v1/namespaces/{namespace}/pods/gone/log?follow=true"
    assert '"gone" not found' in proxy.ask(ALICE, "get", log, groups=ADMIN).stderr


def test_reading_only_everything_but_secrets_can_be_listed(
    cluster: Cluster, namespace: str
) -> None:
    proxy = account(cluster, namespace, Mode.CONSTRAINED, read_only=True)
    found = cluster.kubectl("api-resources", "--verbs=list", "--output=name").stdout.split()
    assert len(found) > 40
    everything = ",".join(name for name in found if name not in HIDDEN)
    run = proxy.ask(ALICE, "get", everything, "--all-namespaces", "--output=name", groups=ADMIN)
    assert run.returncode == 0, run.stderr
    for name in HIDDEN & set(found):
        assert not proxy.may(ALICE, "get", name, "--all-namespaces", groups=ADMIN)


def test_the_account_itself_may_do_nothing(cluster: Cluster, namespace: str) -> None:
    proxy = account(cluster, namespace, Mode.CONSTRAINED)
    run = cluster.kubectl("-n", namespace, *LIST, kubeconfig=proxy._kubeconfig, check=False)
    assert "orbidden" in run.stderr
