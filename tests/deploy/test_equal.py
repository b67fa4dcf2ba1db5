"""One sidecar: the values file, the component, the chart and ``inject`` make the same pod."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from proxy.cli import main
from proxy.tools.deploy.sidecar import NAME, Sidecar, default_image, volumes
from proxy.tools.deploy.workload import inject
from tests.deploy.helm import (
    HEADLAMP,
    OVERLAY,
    OVERLAY_BEFORE_1_29,
    Helm,
    Object,
    of_kind,
)
from tests.deploy.pods import kustomized, parts, pod

SECRET = "headlamp-oidc"
# helm removes what has another name than before, so there a person can be given another role.
ROLE_IN_NAME = {"headlamp-auth-proxy-people": "headlamp-auth-proxy-people-view"}


def reference(*, native: bool = True) -> dict[str, Any]:
    spec: Object = {"containers": [{"name": "headlamp"}]}
    sidecar = Sidecar(image=default_image(), secret=SECRET, native=native)
    inject(spec, spec["containers"][0], sidecar)
    return parts(spec)


@pytest.mark.parametrize(("file", "native"), [(OVERLAY, True), (OVERLAY_BEFORE_1_29, False)])
def test_the_values_file_makes_the_same_pod_as_inject(helm: Helm, file: Path, native: bool) -> None:
    assert parts(pod(helm.template(HEADLAMP, "--values", file))) == reference(native=native)


def test_the_values_file_grants_what_the_command_rbac_prints(
    helm: Helm, capsys: pytest.CaptureFixture[str]
) -> None:
    documents = helm.template(HEADLAMP, "--values", OVERLAY)
    main(["rbac", "--mode=named", "--user=alice@example.com", "--group=k8s-admins"])
    for wanted in yaml.safe_load_all(capsys.readouterr().out):
        name = wanted["metadata"]["name"]
        found = of_kind(documents, wanted["kind"], ROLE_IN_NAME.get(name, name))
        assert found | {"metadata": wanted["metadata"]} == wanted


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"users": []}, "name at least one"),
        ({"users": ["alice@example.com"], "groups": ["eks:x"]}, "eks:x is reserved"),
        ({"users": ["system:admin"]}, "system:admin is reserved"),
    ],
)
def test_the_values_file_grants_nothing_that_the_proxy_refuses(
    helm: Helm, values: Object, words: str
) -> None:
    given = f"--set-json=authProxy={json.dumps(values)}"
    run = helm.run("template", "r", HEADLAMP, "--values", OVERLAY, given, check=False)
    assert words in run.stderr


def test_the_values_file_leaves_the_rights_to_others_where_it_is_told_to(helm: Helm) -> None:
    values = ("--values", OVERLAY, "--set=authProxy.createRBAC=false")
    kinds = [d["kind"] for d in helm.template(HEADLAMP, *values)]
    assert kinds == ["ServiceAccount", "Deployment"]


def test_groups_and_role_may_be_left_out_of_the_values_file(helm: Helm) -> None:
    given = f"--set-json=authProxy={json.dumps({'users': ['alice@example.com']})}"
    documents = helm.template(HEADLAMP, "--values", OVERLAY, given)
    groups = of_kind(documents, "ClusterRole")["rules"][1]["resourceNames"]
    assert groups == ["headlamp-auth-proxy:authenticated"]
    assert of_kind(documents, "ClusterRoleBinding", "people-view")["roleRef"]["name"] == "view"


def test_the_values_file_makes_nobody_cluster_admin(helm: Helm) -> None:
    documents = helm.template(HEADLAMP, "--values", OVERLAY)
    roles = {d["roleRef"]["name"] for d in documents if d["kind"] == "ClusterRoleBinding"}
    assert roles == {"headlamp-auth-proxy-impersonator", "view"}


def test_the_component_makes_the_same_pod_as_inject(helm: Helm, tmp_path: Path) -> None:
    assert parts(kustomized(helm, tmp_path)) == reference()


def test_every_volume_of_ours_has_our_name() -> None:
    assert all(volume["name"].startswith(NAME) for volume in volumes())
