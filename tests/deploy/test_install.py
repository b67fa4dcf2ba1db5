"""What is shipped for a cluster, on a real kube-apiserver: it installs, injects and holds.

There is no controller and no kubelet: a pod is made from a Deployment's template by the test.
Headlamp's chart is the stand-in of tests/deploy; images are names that nobody pulls.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from proxy.cli import main
from proxy.tools.deploy.rbac import Mode, Rights, account_manifests
from tests.deploy.helm import CHART, HEADLAMP, OVERLAY, Helm, Object, of_kind
from tests.deploy.pods import parts, pod
from tests.real.cluster import Cluster

OWN_GROUP = "headlamp-auth-proxy:authenticated"
ALICE = "alice@example.com"
SECRET = "--set=oidc.existingSecret=headlamp-oidc"
NAMED = f'--set-json=rbac.users=["{ALICE}"]'


@pytest.fixture
def restricted(cluster: Cluster, namespace: str) -> str:
    """A namespace in which the Pod Security Standard "restricted" is enforced."""
    cluster.kubectl(
        "label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted"
    )
    return namespace


@contextmanager
def installed(
    helm: Helm, cluster: Cluster, name: str, chart: Path, namespace: str, *values: str | Path
) -> Iterator[str]:
    """The chart, installed as a release; what helm said. Gone at the end."""
    where = (f"--namespace={namespace}", f"--kubeconfig={cluster.admin_kubeconfig}")
    yield helm.run("upgrade", "--install", name, chart, *where, *values).stdout
    helm.run("uninstall", name, *where)


def create_pod(
    cluster: Cluster, namespace: str, spec: Object, labels: dict[str, str], check: bool = True
) -> subprocess.CompletedProcess[str]:
    manifest = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"generateName": "headlamp-", "namespace": namespace, "labels": labels},
        "spec": spec,
    }
    arguments = ("create", "--filename=-", "--output=json")
    return cluster.kubectl(*arguments, stdin=json.dumps(manifest), check=check)


def headlamp_pod(helm: Helm, *values: str | Path) -> Object:
    return pod(helm.template(HEADLAMP, *values))


def stock_pod(helm: Helm) -> Object:
    """Headlamp's pod without the proxy, with as much as "restricted" demands of any pod."""
    context = yaml.safe_load(OVERLAY.read_text())["securityContext"]
    return headlamp_pod(helm, f"--set-json=securityContext={json.dumps(context)}")


def test_the_values_file_installs_where_pods_are_restricted(
    helm: Helm, cluster: Cluster, restricted: str
) -> None:
    with installed(helm, cluster, "headlamp", HEADLAMP, restricted, "--values", OVERLAY):
        template = json.loads(
            cluster.kubectl("-n", restricted, "get", "deployment", "headlamp", "-ojson").stdout
        )["spec"]["template"]
        run = create_pod(cluster, restricted, template["spec"], template["metadata"]["labels"])
    made = parts(json.loads(run.stdout)["spec"])
    assert made["first"] == "auth-proxy"
    assert made["automount"] is False


def test_a_running_stock_headlamp_is_given_the_proxy_another_role_and_its_old_self(
    helm: Helm, cluster: Cluster, namespace: str
) -> None:
    where = (f"--namespace={namespace}", f"--kubeconfig={cluster.admin_kubeconfig}")
    upgrade = ("upgrade", "headlamp", HEADLAMP, *where, "--values", OVERLAY)

    def roles() -> set[str]:
        found = json.loads(cluster.kubectl("get", "clusterrolebindings", "-ojson").stdout)["items"]
        return {b["roleRef"]["name"] for b in found if "headlamp" in b["metadata"]["name"]}

    def containers() -> int:
        deployment = cluster.kubectl("-n", namespace, "get", "deployment", "headlamp", "-ojson")
        spec = json.loads(deployment.stdout)["spec"]["template"]["spec"]
        return len([*spec.get("initContainers", []), *spec["containers"]])

    impersonator = "headlamp-auth-proxy-impersonator"
    with installed(helm, cluster, "headlamp", HEADLAMP, namespace):
        assert (roles(), containers()) == ({"cluster-admin"}, 1)
        helm.run(*upgrade)
        assert (roles(), containers()) == ({impersonator, "view"}, 2)
        helm.run(*upgrade, "--set=authProxy.role=edit")
        assert (roles(), containers()) == ({impersonator, "edit"}, 2)
        helm.run("rollback", "headlamp", "1", *where)
        assert (roles(), containers()) == ({"cluster-admin"}, 1)
    assert roles() == set()


def test_the_notes_name_other_rights_of_the_same_account(
    helm: Helm, cluster: Cluster, namespace: str
) -> None:
    """Under them a cap would not hold: with the verb impersonate, nobody asks about it."""
    capped = (SECRET, NAMED, "--set=rbac.mode=constrained,rbac.readOnly=true")
    overlay = ("--values", OVERLAY)
    without = (*overlay, "--set=authProxy.createRBAC=false")
    with (
        installed(helm, cluster, "headlamp", HEADLAMP, namespace, *overlay),
        installed(helm, cluster, "proxy", CHART, namespace, *capped) as notes,
    ):
        assert "WARNING: other bindings give that account rights as well" in notes
        assert "headlamp-auth-proxy-impersonator, to headlamp-auth-proxy-impersonator" in notes
    with (
        installed(helm, cluster, "headlamp", HEADLAMP, namespace, *without),
        installed(helm, cluster, "proxy", CHART, namespace, *capped) as notes,
    ):
        assert "WARNING" not in notes


def test_the_policy_injects_the_pod_that_the_values_file_makes(
    helm: Helm, cluster: Cluster, restricted: str
) -> None:
    stock = stock_pod(helm)
    overlay = headlamp_pod(helm, "--values", OVERLAY)
    cluster.kubectl("-n", restricted, "create", "serviceaccount", "headlamp")
    label = {"headlamp-auth-proxy/inject": "true"}
    by_hand = json.loads(create_pod(cluster, restricted, overlay, {}).stdout)["spec"]
    injection = "--set=injection.enabled=true"
    with installed(helm, cluster, "proxy", CHART, restricted, SECRET, NAMED, injection):
        spec = _injected(cluster, restricted, stock, label)
        untouched = json.loads(create_pod(cluster, restricted, stock, {}).stdout)["spec"]
    assert parts(spec) == parts(by_hand)
    assert spec["enableServiceLinks"] is False
    assert spec["terminationGracePeriodSeconds"] == 45
    assert "initContainers" not in untouched


def _injected(cluster: Cluster, namespace: str, spec: Object, labels: dict[str, str]) -> Object:
    """Create a pod once the API server has taken up the policies, which takes it a moment."""
    said = ""
    for _ in range(100):
        run = create_pod(cluster, namespace, spec, labels, check=False)
        said = run.stderr
        made: Object = json.loads(run.stdout)["spec"] if run.returncode == 0 else {}
        if "initContainers" in made:
            return made
    raise AssertionError(f"the policy never injected: {said}")


def test_a_pod_that_cannot_be_injected_is_refused_in_words(
    helm: Helm, cluster: Cluster, restricted: str
) -> None:
    stock = stock_pod(helm)
    stock["containers"][0]["name"] = "other"
    cluster.kubectl("-n", restricted, "create", "serviceaccount", "headlamp")
    label = {"headlamp-auth-proxy/inject": "true"}
    values = (SECRET, NAMED, "--set=injection.enabled=true")
    with installed(helm, cluster, "proxy", CHART, restricted, *values):
        said = ""
        for _ in range(100):  # until the API server has taken up the policy
            said = create_pod(cluster, restricted, stock, label, check=False).stderr
            if said:
                break
    assert "no container of this pod is called headlamp (set injection.container" in said


TOKEN_VOLUME = {
    "name": "mine",
    "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]},
}
CLOUD_VOLUME = {
    "name": "mine",
    "projected": {
        "sources": [{"serviceAccountToken": {"path": "token", "audience": "sts.example.com"}}]
    },
}
STRANGER: Object = {
    "name": "stranger",
    "image": "x",
    "volumeMounts": [{"name": "mine", "mountPath": "/tokens"}],
}
PROXY_OF_OTHERS: Object = {"name": "auth-proxy", "image": "x"}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"containers": [STRANGER], "volumes": [TOKEN_VOLUME]}, "a container mounts a token"),
        ({"initContainers": [STRANGER], "volumes": [TOKEN_VOLUME]}, "a container mounts a token"),
        ({"containers": [STRANGER], "volumes": [CLOUD_VOLUME]}, ""),
        ({"initContainers": [PROXY_OF_OTHERS]}, "another one is called auth-proxy"),
        ({"shareProcessNamespace": True}, "see into the proxy"),
    ],
)
def test_the_policy_refuses_what_would_get_at_the_proxys_token(
    helm4: Helm, cluster: Cluster, namespace: str, change: Object, words: str
) -> None:
    cluster.kubectl("-n", namespace, "create", "serviceaccount", "headlamp")
    label = {"headlamp-auth-proxy/inject": "true"}
    stock = stock_pod(helm4)
    changed: Object = {
        key: [*stock.get(key, []), *value] if isinstance(value, list) else value
        for key, value in change.items()
    }
    values = (SECRET, NAMED, "--set=injection.enabled=true")
    with installed(helm4, cluster, "proxy", CHART, namespace, *values):
        spec = _injected(cluster, namespace, stock, label)
        _until_refused(cluster, namespace, label)
        run = create_pod(cluster, namespace, stock | changed, label, check=False)
    assert spec["initContainers"][0]["name"] == "auth-proxy"
    assert words in run.stderr
    assert (run.returncode == 0) == (words == "")


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"targetContainerName": "auth-proxy"}, "an ephemeral container would get at"),
        (
            {"volumeMounts": [{"name": "auth-proxy-account", "mountPath": "/t"}]},
            "an ephemeral container would get at",
        ),
        ({"targetContainerName": "headlamp"}, ""),
    ],
)
def test_the_policy_refuses_a_debugging_container_that_would(
    helm4: Helm, cluster: Cluster, namespace: str, more: Object, words: str
) -> None:
    cluster.kubectl("-n", namespace, "create", "serviceaccount", "headlamp")
    label = {"headlamp-auth-proxy/inject": "true"}
    values = (SECRET, NAMED, "--set=injection.enabled=true")
    with installed(helm4, cluster, "proxy", CHART, namespace, *values):
        _until_refused(cluster, namespace, label)
        made = json.loads(create_pod(cluster, namespace, stock_pod(helm4), label).stdout)
        made["spec"]["ephemeralContainers"] = [{"name": "debug", "image": "x", **more}]
        path = f"/api/v1/namespaces/{namespace}/pods/{made['metadata']['name']}/ephemeralcontainers"
        arguments = ("replace", "--filename=-", f"--raw={path}")
        run = cluster.kubectl(*arguments, stdin=json.dumps(made), check=False)
    assert words in run.stderr
    assert (run.returncode == 0) == (words == "")


def _until_refused(cluster: Cluster, namespace: str, labels: dict[str, str]) -> None:
    """Return once the API server has taken up the second policy too, which takes it a moment."""
    nothing: Object = {"containers": [{"name": "other", "image": "x"}]}
    for _ in range(100):
        if create_pod(cluster, namespace, nothing, labels, check=False).returncode:
            return
    raise AssertionError("the policy never refused")


def test_what_inject_prints_is_taken_whole(
    helm: Helm, cluster: Cluster, namespace: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rendered = helm.template(HEADLAMP, "--set=clusterRoleBinding.create=false")
    (tmp_path / "m.yaml").write_text(yaml.safe_dump_all(rendered))
    main(["inject", "--oidc-secret=headlamp-oidc", str(tmp_path / "m.yaml")])
    documents = list(yaml.safe_load_all(capsys.readouterr().out))
    deployment = of_kind(documents, "Deployment")
    deployment["metadata"]["namespace"] = namespace
    arguments = ("create", "--filename=-", "--validate=strict", "--output=json")
    run = cluster.kubectl(*arguments, stdin=yaml.safe_dump(deployment))
    (made,) = json.loads(run.stdout)["spec"]["template"]["spec"]["initContainers"]
    assert made["restartPolicy"] == "Always"


def test_the_standalone_proxy_and_all_that_watches_it_install(
    helm: Helm, cluster: Cluster, restricted: str
) -> None:
    values = (
        SECRET,
        NAMED,
        "--set=standalone.enabled=true,standalone.tls.secretName=tls",
        "--set=standalone.autoscaling.enabled=true,networkPolicy.enabled=true",
        "--set=metrics.dashboard.enabled=true",
    )
    with installed(helm, cluster, "proxy", CHART, restricted, *values) as notes:
        template = json.loads(cluster.kubectl("-n", restricted, "get", "deploy", "-ojson").stdout)[
            "items"
        ][0]["spec"]["template"]
        create_pod(cluster, restricted, template["spec"], template["metadata"]["labels"])
    assert f"system:serviceaccount:{restricted}:proxy-headlamp-auth-proxy" in notes
    assert "KUBERNETES_SERVICE_HOST" in notes


# --- The account's rights ------------------------------------------------------------------------


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
