"""Audit and recordings in the chart: what their values make, what it refuses, and that it runs."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from proxy.audit.policy_file import InvalidPolicy, parse_policy
from proxy.cli import main
from tests.deploy.disk import Disk
from tests.deploy.helm import CHART, HEADLAMP, ROOT, Helm, Object, of_kind
from tests.deploy.pods import kustomized, pod
from tests.deploy.test_chart import ALICE, ISSUER, STANDALONE, notes, refusal
from tests.issuer import FakeIssuer
from tests.scripted_cluster import ScriptedCluster
from tests.serving import Serve, issuer_in_thread

INJECTION = "--set=injection.enabled=true"
AUDIT = "--set=audit.enabled=true"
FILE = "--set=audit.log.path=/var/log/auth-proxy/$(POD_NAME).log"
RECORDINGS = "--set=recordings.enabled=true"
EVERYTHING = (
    AUDIT,
    FILE,
    RECORDINGS,
    "--set=audit.log.existingClaim=logs,recordings.existingClaim=casts,recordings.failure=closed",
    "--set=audit.webhook.existingSecret=hook",
)
HOOK = {
    "clusters": [{"name": "c", "cluster": {"server": "https://127.0.0.1:1/audit"}}],
    "contexts": [{"name": "x", "context": {"cluster": "c"}}],
    "current-context": "x",
}
SECRETS = {"kubeconfig": json.dumps(HOOK)}


ISSUER_FLAGS = ("--oidc-issuer-url=https://idp.example.ts.net", "--oidc-client-id=client")


def check_config(*flags: str) -> None:
    program = str(Path(sys.executable).parent / "headlamp-auth-proxy")
    command = [program, "check-config", *flags]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (run.returncode, run.stderr) == (0, "")


def standalone(helm: Helm, *values: str) -> list[Object]:
    return helm.template(CHART, ISSUER, ALICE, STANDALONE, *values)


def documented(page: str, title: str) -> str:
    """The YAML on a page of the documentation that begins with ``title``."""
    text = (ROOT / "docs" / f"{page}.md").read_text()
    (block,) = (b for b in text.split("```yaml\n")[1:] if b.startswith(title))
    return block.partition("```")[0]


@pytest.mark.parametrize("mode", [STANDALONE, INJECTION])
def test_nothing_is_made_for_what_is_off(helm: Helm, mode: str) -> None:
    configured = ("--set=audit.webhook.existingSecret=hook,recordings.existingClaim=casts", FILE)
    off = helm.template(CHART, ISSUER, ALICE, mode)
    assert helm.template(CHART, ISSUER, ALICE, mode, *configured) == off
    assert not any(word in json.dumps(off) for word in ("audit-", "record", "POD_NAME"))


def test_the_policy_of_the_chart_is_that_of_the_documentation(helm4: Helm) -> None:
    policy = of_kind(standalone(helm4, AUDIT), "ConfigMap", "-audit")["data"]["policy.yaml"]
    assert policy.strip() == documented("audit", "apiVersion: audit.k8s.io/v1").strip()


@pytest.mark.parametrize("form", ["yaml", "file"])
def test_a_policy_is_taken_as_yaml_or_as_the_file_that_kube_apiserver_has(
    helm: Helm, tmp_path: Path, form: str
) -> None:
    own = {"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": [{"level": "None"}]}
    (tmp_path / "policy.yaml").write_text(f"# ours\n{yaml.safe_dump(own)}")
    yaml_value = f"--set-json=audit.policy={json.dumps(own)}"
    file_value = f"--set-file=audit.policy={tmp_path / 'policy.yaml'}"
    given = {"yaml": yaml_value, "file": file_value}[form]
    (text,) = of_kind(standalone(helm, AUDIT, given), "ConfigMap", "-audit")["data"].values()
    assert yaml.safe_load(text) == own
    assert text.startswith("# ours") == (form == "file")


@pytest.mark.parametrize(
    "values",
    [
        pytest.param((AUDIT,), id="standard output"),
        pytest.param((AUDIT, FILE), id="file"),
        pytest.param((AUDIT, "--set=audit.webhook.existingSecret=hook,audit.log.path="), id="hook"),
        pytest.param((RECORDINGS,), id="recordings"),
        pytest.param(EVERYTHING, id="everything"),
        pytest.param(("audit",), id="docs/audit.md"),
        pytest.param(("sessions",), id="docs/sessions.md"),
    ],
)
def test_the_program_takes_the_flags_and_finds_what_they_name(
    helm4: Helm, tmp_path: Path, values: tuple[str, ...]
) -> None:
    if len(values) == 1 and not values[0].startswith("--"):
        (tmp_path / "v.yaml").write_text(documented(values[0], "# values of the chart"))
        values = (f"--values={tmp_path / 'v.yaml'}",)
    documents = standalone(helm4, *values)
    disk = Disk(tmp_path, documents, pod(documents), SECRETS)
    check_config(*disk.arguments[1:])


@pytest.fixture(scope="module")
def issuer() -> Any:
    with issuer_in_thread() as (issuer, _):
        yield issuer


def test_the_pod_audits_into_its_own_file_and_follows_the_policy(
    helm4: Helm, tmp_path: Path, issuer: FakeIssuer
) -> None:
    documents = standalone(helm4, AUDIT, FILE, RECORDINGS)
    disk = Disk(tmp_path / "pod", documents, pod(documents), {})
    ours = [a for a in disk.arguments if a.startswith(("--audit-", "--record-"))]
    with ScriptedCluster(tmp_path) as cluster:
        (tmp_path / "token").write_text("own-token-of-the-standalone-proxy")
        with Serve(
            tmp_path,
            f"--oidc-issuer-url={issuer.url}",
            f"--oidc-client-id={issuer.client_id}",
            f"--oidc-ca-file={issuer.ca_file}",
            f"--upstream={cluster.url}",
            f"--upstream-ca-file={cluster.ca_file}",
            f"--upstream-token-file={tmp_path / 'token'}",
            *ours,
        ) as serve:
            serve.wait_ready()
            log = disk.path("/var/log/auth-proxy/value-of-POD_NAME.log")
            pods, version = "/api/v1/namespaces/default/pods", "/version"  # None in the policy
            serve.get(version, issuer.token())
            serve.get(pods, issuer.token())
            serve.wait_until(lambda: pods in log.read_text(), "audited")
            assert version not in log.read_text()

            everything = {"level": "Metadata", "omitStages": ["RequestReceived"]}
            policy = {"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": [everything]}
            disk.update("auth-proxy-audit-policy", {"policy.yaml": yaml.safe_dump(policy)})
            serve.wait_until(
                lambda: any("policy has changed" in x["event"] for x in serve.logged()), "followed"
            )
            serve.get(version, issuer.token())
            serve.wait_until(lambda: version in log.read_text(), "audited by the new policy")


@pytest.mark.parametrize(
    ("values", "context"),
    [
        ((AUDIT, FILE, RECORDINGS), None),
        ((AUDIT, "--set=recordings.existingClaim=casts"), None),
        ((RECORDINGS, "--set=recordings.existingClaim=casts"), (65532, "OnRootMismatch")),
        ((AUDIT, FILE, "--set=audit.log.existingClaim=logs"), (65532, "OnRootMismatch")),
        ((*EVERYTHING, "--set=standalone.podSecurityContext.fsGroup=7"), (7, "OnRootMismatch")),
    ],
)
def test_the_proxy_may_write_to_a_claim(
    helm4: Helm, values: tuple[str, ...], context: tuple[int, str] | None
) -> None:
    found = pod(standalone(helm4, *values)).get("securityContext")
    assert found == (context and {"fsGroup": context[0], "fsGroupChangePolicy": context[1]})


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ((AUDIT, "--set=standalone.enabled=false"), "audit.enabled: nothing here runs the proxy"),
        (
            (RECORDINGS, "--set=standalone.enabled=false"),
            "recordings.enabled: nothing here runs the proxy",
        ),
        ((AUDIT, "--set=audit.log.path="), "audit.log.path: the events have nowhere to go"),
        ((AUDIT, "--set=audit.log.path=/var/log/a.log"), "pattern"),
        ((AUDIT, "--set=audit.log.path=/run/auth-proxy/tls/a.log"), "pattern"),
        ((AUDIT, "--set=audit.log.path=/var/log/a/../../b.log"), "pattern"),
        ((AUDIT, "--set=audit.log.path=null"), "path"),
        ((AUDIT, "--set=audit.log.existingClaim=c"), "audit.log.existingClaim: is for a file"),
        (
            (AUDIT, "--set=audit.log.existingClaim=c,audit.log.path=/var/log/a/b.log"),
            "put $(POD_NAME) into its name",
        ),
        ((AUDIT, FILE, "--set=audit.log.maxBackups=10"), "audit.log.sizeLimit: a pod whose files"),
        ((AUDIT, FILE, "--set=audit.log.maxBackups=0"), "audit.log.sizeLimit: a pod whose files"),
        ((AUDIT, FILE, "--set=audit.log.maxSize=0"), "audit.log.sizeLimit: a pod whose files"),
        ((AUDIT, FILE, "--set=audit.log.sizeLimit=900Mi"), "audit.log.sizeLimit: a pod whose"),
        ((AUDIT, FILE, "--set=audit.log.sizeLimit=1G"), "pattern"),
        ((AUDIT, "--set=audit.webhook.key=../x"), "pattern"),
        ((RECORDINGS, "--set=recordings.sizeLimit=99Mi"), "recordings.sizeLimit: 99Mi holds less"),
        ((RECORDINGS, "--set=recordings.maxBytes=1"), "maxBytes"),
        ((RECORDINGS, "--set=recordings.failure=shut"), "failure"),
        (
            (AUDIT, '--set-json=extraFlags=["--audit-log-path=-"]'),
            "extraFlags: --audit-log-path=- is among what the values of audit set",
        ),
        (
            (RECORDINGS, '--set-json=extraFlags=["--record-sessions=/x"]'),
            "extraFlags: --record-sessions=/x is among what the values of recordings set",
        ),
        ((AUDIT, '--set-json=audit.policy="{a"'), "audit.policy: is not YAML"),
    ],
)
def test_what_could_not_work_is_refused_by_the_name_of_the_value(
    helm: Helm, values: tuple[str, ...], words: str
) -> None:
    assert words in " ".join(refusal(helm, ISSUER, ALICE, STANDALONE, *values).split())


@pytest.mark.parametrize("values", [(), (AUDIT, FILE), (RECORDINGS,)])
def test_flags_by_hand_stay_possible_for_what_is_off(helm4: Helm, values: tuple[str, ...]) -> None:
    flag = "--forwarded-from=127.0.0.1/32"
    assert standalone(helm4, *values, f'--set-json=extraFlags=["{flag}"]')
    if AUDIT not in values:
        assert standalone(helm4, *values, '--set-json=extraFlags=["--audit-log-path=-"]')


POLICY = {"apiVersion": "audit.k8s.io/v1", "kind": "Policy"}
RULE = {"level": "Metadata"}


@pytest.mark.parametrize(
    ("policy", "words"),
    [
        ({"rules": [RULE]}, "audit.policy: must be a whole Policy"),
        (POLICY | {"kind": "Rules", "rules": [RULE]}, "audit.policy: must be a whole Policy"),
        (POLICY, "audit.policy.rules: must be a list"),
        (POLICY | {"rules": []}, "audit.policy.rules: must be a list"),
        (POLICY | {"rules": RULE}, "audit.policy.rules: must be a list"),
        (POLICY | {"rules": ["Metadata"]}, "audit.policy.rules[0]: must be a rule"),
        (POLICY | {"rules": [RULE, {}]}, "audit.policy.rules[1].level: must be None, Metadata"),
        (POLICY | {"rules": [{"level": "metadata"}]}, "it is metadata"),
        (POLICY | {"rules": [RULE], "omitStages": ["Received"]}, "audit.policy.omitStages: knows"),
        (POLICY | {"rules": [RULE | {"omitStages": ["X"]}]}, "audit.policy.rules[0].omitStages"),
        (POLICY | {"rules": [RULE | {"omitStages": "Panic"}]}, ""),
    ],
)
def test_helm_refuses_no_policy_that_the_program_takes(
    helm4: Helm, policy: Object, words: str
) -> None:
    with pytest.raises(InvalidPolicy):
        parse_policy(json.dumps(policy).encode())
    given = f"--set-json=audit.policy={json.dumps(policy)}"
    if words:
        assert words in refusal(helm4, ISSUER, ALICE, STANDALONE, AUDIT, given)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ((AUDIT,), "to the standard output of the container auth-proxy"),
        ((AUDIT, FILE), "in the pod, and gone with it (audit.log.existingClaim keeps it)"),
        (EVERYTHING, "on the claim logs\n  to the webhook of Secret hook"),
        (EVERYTHING, "to /recordings, on the claim casts. What cannot be recorded is refused."),
        ((RECORDINGS,), "evicted when they outgrow 1Gi"),
        ((f"--set-json=audit.policy={json.dumps(POLICY)}",), "so nothing is audited"),
    ],
)
def test_the_notes_say_what_is_written_down_and_where(
    helm4: Helm, tmp_path: Path, values: tuple[str, ...], words: str
) -> None:
    assert words in notes(helm4, tmp_path, ISSUER, ALICE, STANDALONE, *values)


OWN_POLICY: Object = {
    "kind": "ConfigMap",
    "metadata": {"name": "headlamp-auth-proxy-audit"},
    "data": {"policy.yaml": json.dumps(POLICY | {"rules": [RULE]})},
}


def test_the_patch_in_the_documentation_audits_beside_headlamp(helm4: Helm, tmp_path: Path) -> None:
    spec = kustomized(helm4, tmp_path, documented("audit", "# kustomize"))
    disk = Disk(tmp_path / "pod", [OWN_POLICY], spec, {})
    assert [a.partition("=")[0] for a in disk.arguments[3:]] == [
        "--audit-policy-file",
        "--audit-log-path",
    ]
    check_config(*ISSUER_FLAGS, *disk.arguments[3:])
    assert set(disk.mounts) >= {"/run/auth-proxy/keys", "/run/auth-proxy/trust"}


def test_the_command_in_the_documentation_audits_beside_headlamp(
    helm4: Helm, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = (ROOT / "docs" / "audit.md").read_text()
    typed = page[page.index("    headlamp-auth-proxy inject") :].partition("\n\n")[0]
    _, *words, file = shlex.split(typed.replace("\\\n", ""))
    rendered = helm4.template(HEADLAMP, "--set=clusterRoleBinding.create=false")
    (tmp_path / file).write_text(yaml.safe_dump_all(rendered))
    assert main([*words, str(tmp_path / file)]) == 0
    spec = pod(list(yaml.safe_load_all(capsys.readouterr().out)))
    disk = Disk(tmp_path / "pod", [OWN_POLICY], spec, {})
    check_config(*ISSUER_FLAGS, *disk.arguments[3:])
