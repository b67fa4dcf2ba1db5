"""The chart: what its values make, and which it refuses."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from proxy.config import load
from proxy.impersonation import RESERVED_PREFIXES
from proxy.reviews.privileges import CANARY
from proxy.tools.deploy.rbac import Mode, Rights, rules
from proxy.version import VERSION
from tests.deploy.helm import CHART, Helm, Object, of_kind

ISSUER = "--set=oidc.issuerURL=https://idp.example.ts.net,oidc.clientID=client"
ALICE = '--set-json=rbac.users=["alice@example.com"]'
STANDALONE = "--set=standalone.enabled=true,standalone.tls.secretName=tls"
EVERYTHING = (
    ISSUER,
    ALICE,
    STANDALONE,
    "--set=standalone.autoscaling.enabled=true,networkPolicy.enabled=true,metrics.rules.enabled=true",
    "--set=metrics.podMonitor.enabled=true,metrics.podMonitoring.enabled=true",
    "--set=metrics.dashboard.enabled=true",
)


def refusal(helm: Helm, *values: str) -> str:
    run = helm.run("template", "r", CHART, *values, check=False)
    assert run.returncode != 0
    return run.stderr


def test_it_lints(helm: Helm) -> None:
    helm.run("lint", "--strict", CHART, ISSUER, ALICE)
    helm.run("lint", "--strict", CHART, *EVERYTHING)


def test_by_default_it_grants_rights_and_makes_nothing_else(helm: Helm) -> None:
    documents = helm.template(CHART, ISSUER, ALICE)
    assert [d["kind"] for d in documents] == ["ClusterRole", "ClusterRoleBinding"]
    (subject,) = documents[1]["subjects"]
    assert subject == {"kind": "ServiceAccount", "name": "headlamp", "namespace": "headlamp"}


def test_lists_may_be_null(helm: Helm, tmp_path: Path) -> None:
    null = "--set=rbac.groups=null,extraFlags=null"
    assert of_kind(helm.template(CHART, ISSUER, ALICE, STANDALONE, null), "ClusterRole")
    assert "k8s-viewers" in notes(helm, tmp_path, ISSUER, ALICE, null)


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("read_only", [False, True])
def test_its_rules_are_those_that_the_command_rbac_prints(
    helm: Helm, mode: Mode, read_only: bool
) -> None:
    if read_only and mode is not Mode.CONSTRAINED:
        return
    rights = Rights(
        mode=mode,
        users=("alice@example.com",),
        groups=("k8s-admins",),
        own_group="headlamp-auth-proxy:authenticated",
        namespace="headlamp",
        account="headlamp",
        read_only=read_only,
    )
    documents = helm.template(
        CHART,
        ISSUER,
        ALICE,
        f"--set=rbac.mode={mode},rbac.readOnly={str(read_only).lower()}",
        '--set-json=rbac.groups=["k8s-admins"]',
    )
    assert of_kind(documents, "ClusterRole")["rules"] == rules(rights)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ((ALICE, STANDALONE), "oidc.issuerURL"),
        ((ISSUER,), "rbac.users"),
        ((ISSUER, ALICE, "--set=rbac.readOnly=true"), "constrained"),
        ((ISSUER, ALICE, "--set=rbac.mode=open"), "rbac"),
        ((ISSUER, '--set-json=rbac.users=["system:admin"]'), "users"),
        ((ISSUER, ALICE, '--set-json=rbac.groups=["system:masters"]'), "groups"),
        ((ISSUER, ALICE, "--set=oidc.issuerUrl=x"), "issuerUrl"),
        ((ISSUER, ALICE, "--set=oidc.issuerURL=http://idp"), "issuerURL"),
        ((ISSUER, ALICE, '--set-json=extraFlags=["--listen=:1"]'), "extraFlags"),
        ((ISSUER, ALICE, "--set=image.digest=latest"), "digest"),
        ((ISSUER, ALICE, '--set-json=image.tag="x\\", y: \\"z"'), "tag"),
        ((ISSUER, ALICE, '--set-json=oidc.existingSecret="a}, b: {c"'), "existingSecret"),
        ((ISSUER, ALICE, '--set-json=injection.container="a\\" || true"'), "container"),
        ((ISSUER, '--set-json=rbac.users=["a\\nb"]'), "users"),
        ((ISSUER, ALICE, '--set-json=rbac.role="a\\nb"'), "role"),
        ((ISSUER, ALICE, "--set=standalone.enabled=true"), "standalone.tls"),
        ((ISSUER, ALICE, STANDALONE, "--set=injection.enabled=true"), "exclude each other"),
    ],
)
def test_values_that_cannot_be_meant_are_refused(
    helm: Helm, values: tuple[str, ...], words: str
) -> None:
    assert words in refusal(helm, *values)


@pytest.mark.parametrize("prefix", RESERVED_PREFIXES)
def test_nothing_reserved_is_granted(helm4: Helm, prefix: str) -> None:
    groups = f'--set-json=rbac.groups=["{prefix}x"]'
    allowed = f'--set-json=extraFlags=["--allow-reserved-group={prefix}x"]'
    assert "users" in refusal(helm4, ISSUER, f'--set-json=rbac.users=["{prefix}x"]')
    assert "the proxy never asserts it" in refusal(helm4, ISSUER, ALICE, groups)
    helm4.template(CHART, ISSUER, ALICE, groups, allowed)


ODD = "'\"{{ .Values }} a: b # \\ ü$"
LINES = f"{ODD}\n---\nkind: X"


def test_what_is_odd_in_a_value_stays_in_its_value(helm: Helm) -> None:
    values = (
        f"--set-json=oidc.issuerURL={json.dumps(f'https://{ODD}')}",
        f"--set-json=oidc.clientID={json.dumps(LINES)}",
        f"--set-json=rbac.users={json.dumps([f'a{ODD}'])}",
        "--set=rbac.role=yes",
    )
    standalone = helm.template(CHART, *values, STANDALONE)
    (container,) = _containers(standalone)
    assert container["args"][-2:] == [
        f"--oidc-issuer-url=https://{ODD}",
        f"--oidc-client-id={LINES}",
    ]
    assert of_kind(standalone, "ClusterRole")["rules"][0]["resourceNames"] == [CANARY, f"a{ODD}"]
    assert of_kind(standalone, "ClusterRoleBinding", "yes")["roleRef"]["name"] == "yes"
    injection = helm.template(CHART, *values, "--set=injection.enabled=true")
    policy = of_kind(injection, "MutatingAdmissionPolicy")
    expression = policy["spec"]["mutations"][0]["jsonPatch"]["expression"]
    assert json.dumps(f"--oidc-client-id={LINES}", ensure_ascii=False) in expression


def test_every_value_is_known_to_the_schema_and_documented() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    text = (CHART / "values.yaml").read_text()

    def look(value: Any, schema: Object, path: str) -> None:
        if f"## @param {path} " in text:
            return
        assert isinstance(value, dict), f"{path} is not documented"
        assert schema["additionalProperties"] is False, path
        for key, inner in value.items():
            look(inner, schema["properties"][key], f"{path}.{key}".lstrip("."))

    look(yaml.safe_load(text), schema, "")


def test_the_digest_wins_over_the_tag(helm: Helm) -> None:
    digest = f"sha256:{'0' * 64}"
    values = (ISSUER, ALICE, STANDALONE, f"--set=image.digest={digest},image.tag=x")
    (container,) = _containers(helm.template(CHART, *values))
    assert container["image"].endswith(f"headlamp-auth-proxy@{digest}")


def test_the_version_is_the_programs() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["appVersion"] == VERSION


def notes(helm: Helm, folder: Path, *values: str) -> str:
    """What helm would print after an installation; without a cluster it prints no notes."""
    chart = folder / "chart"
    shutil.copytree(CHART, chart)
    shown = 'data: {notes: {{ include "headlamp-auth-proxy.notes" . | quote }}}'
    (chart / "templates" / "shown.yaml").write_text(
        f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: shown-notes}}\n{shown}\n"
    )
    documents = helm.template(chart, *values)
    text: str = of_kind(documents, "ConfigMap", "shown-notes")["data"]["notes"]
    return text


def _containers(documents: list[Object]) -> list[Object]:
    containers: list[Object] = of_kind(documents, "Deployment")["spec"]["template"]["spec"][
        "containers"
    ]
    return containers


def test_the_standalone_proxy_takes_the_flags_that_it_is_given(helm: Helm, tmp_path: Path) -> None:
    values = (ISSUER, ALICE, STANDALONE, "--set=oidc.usernamePrefix=tsidp:,oidc.groupsPrefix=g:")
    documents = helm.template(CHART, *values, '--set-json=extraFlags=["--oidc-clock-skew=5s"]')
    (container,) = _containers(documents)
    command, *flags = container["args"]
    assert command == "serve"
    config = load(
        flags,
        {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "KUBERNETES_SERVICE_PORT": "443"},
        lambda path: (_ for _ in ()).throw(FileNotFoundError(path)),
        elsewhere=True,
    )
    assert config.oidc_username_prefix == "tsidp:"
    assert config.oidc_clock_skew == 5
    assert config.listen.port == container["ports"][0]["containerPort"]


@pytest.mark.parametrize(("extra", "on"), [("[]", False), ('["--whoami=on"]', True)])
def test_the_page_that_needs_no_token_is_off_where_others_than_users_come(
    helm: Helm, extra: str, *, on: bool
) -> None:
    documents = helm.template(CHART, ISSUER, ALICE, STANDALONE, f"--set-json=extraFlags={extra}")
    (container,) = _containers(documents)
    pod = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "KUBERNETES_SERVICE_PORT": "443"}
    config = load(container["args"][1:], pod, lambda path: Path(path).read_bytes(), elsewhere=True)
    assert config.whoami is on


def test_a_pod_that_ends_disturbs_no_one_replica(helm: Helm) -> None:
    one = helm.template(CHART, ISSUER, ALICE, STANDALONE, "--set=standalone.replicas=1")
    two = helm.template(CHART, ISSUER, ALICE, STANDALONE)
    assert [d for d in one if d["kind"] == "PodDisruptionBudget"] == []
    assert of_kind(two, "PodDisruptionBudget")["spec"]["maxUnavailable"] == 1


def test_the_same_labels_select_the_pods_that_are_watched(helm: Helm) -> None:
    documents = helm.template(CHART, *EVERYTHING)
    labels = of_kind(documents, "Deployment")["spec"]["template"]["metadata"]["labels"]
    for selector in (
        of_kind(documents, "PodMonitor")["spec"]["selector"],
        of_kind(documents, "PodMonitoring")["spec"]["selector"],
        of_kind(documents, "NetworkPolicy")["spec"]["podSelector"],
        {"matchLabels": of_kind(documents, "Service")["spec"]["selector"]},
    ):
        assert selector["matchLabels"].items() <= labels.items()


def test_prometheus_reads_the_same_rules_from_the_chart_and_from_the_file(helm: Helm) -> None:
    rendered = of_kind(helm.template(CHART, *EVERYTHING), "PrometheusRule")["spec"]
    assert rendered == yaml.safe_load((CHART / "files" / "rules.yaml").read_text())


def test_grafana_reads_the_dashboard(helm: Helm) -> None:
    (content,) = of_kind(helm.template(CHART, *EVERYTHING), "ConfigMap", "dashboard")[
        "data"
    ].values()
    assert json.loads(content)["title"] == "headlamp-auth-proxy"


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ((ISSUER, ALICE), "nothing here runs the proxy"),
        ((ISSUER, ALICE, "--set=rbac.create=false"), "MISSING: rbac.create is false"),
        ((ISSUER, "--set=rbac.mode=wide"), "WARNING: rbac.mode is wide"),
        ((ISSUER, "--set=rbac.mode=constrained"), "WARNING: rbac.users is empty"),
        (
            (ISSUER, ALICE, "--set=rbac.mode=constrained", "--kube-version=1.35.1"),
            "MISSING: Kubernetes v1.35.1 knows no constrained",
        ),
        ((ISSUER, ALICE, "--set=rbac.role=edit"), "WARNING: edit is bound in every namespace"),
        ((ISSUER, ALICE, "--kube-version=1.35.8-gke.1"), "WARNING: on GKE"),
        ((ISSUER, ALICE, "--set=oidc.usernamePrefix=tsidp:"), "tsidp:<email>"),
    ],
)
def test_the_notes_say_who_is_who_and_what_is_missing(
    helm: Helm, tmp_path: Path, values: tuple[str, ...], words: str
) -> None:
    assert words in notes(helm, tmp_path, *values)
