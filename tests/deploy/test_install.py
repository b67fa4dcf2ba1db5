"""What is shipped installs on a real kube-apiserver, and upgrades, and goes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from proxy.cli import main
from tests.deploy.helm import CHART, HEADLAMP, OVERLAY, Helm, of_kind
from tests.deploy.installing import NAMED, SECRET, create_pod, installed
from tests.deploy.pods import parts
from tests.deploy.test_records import EVERYTHING as RECORDS
from tests.real.cluster import Cluster


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


def test_what_inject_prints_is_taken_whole(
    helm: Helm, cluster: Cluster, namespace: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rendered = helm.template(HEADLAMP, "--set=clusterRoleBinding.create=false")
    (tmp_path / "m.yaml").write_text(yaml.safe_dump_all(rendered))
    mounts = ("--mount=configmap/a:/a", "--mount=secret/b:/b", "--mount=claim/c:/c")
    main(["inject", "--oidc-secret=headlamp-oidc", *mounts, str(tmp_path / "m.yaml")])
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
        *RECORDS,
    )
    with installed(helm, cluster, "proxy", CHART, restricted, *values) as notes:
        template = json.loads(cluster.kubectl("-n", restricted, "get", "deploy", "-ojson").stdout)[
            "items"
        ][0]["spec"]["template"]
        create_pod(cluster, restricted, template["spec"], template["metadata"]["labels"])
    assert f"system:serviceaccount:{restricted}:proxy-headlamp-auth-proxy" in notes
    assert "KUBERNETES_SERVICE_HOST" in notes
