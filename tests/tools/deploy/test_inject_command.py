"""``inject`` as it is typed: a stream in, the same stream with the proxy in Headlamp's pod out."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
import yaml

from proxy.cli import main
from tests.tools.deploy.manifests import RENDERED

FLAGS = ("--oidc-issuer-url=https://idp.example.ts.net", "--oidc-client-id=client")

AMBIGUOUS = b"""\
kind: Pod
metadata: {name: p}
spec:
  containers:
  - {name: a, image: headlamp}
  - {name: b, image: headlamp}
"""


@pytest.fixture
def rendered(tmp_path: Path) -> str:
    path = tmp_path / "rendered.yaml"
    path.write_text(RENDERED)
    return str(path)


def test_only_the_workload_changes(rendered: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inject", *FLAGS, rendered]) == 0
    output = capsys.readouterr().out
    before, deployment, service = RENDERED.split("---\n")[1:]
    assert output.startswith(f"---\n{before}---\n# Source: headlamp/templates/deployment.yaml\n")
    assert output.endswith(f"---\n{service}")
    removed = set(deployment.splitlines()) - set(output.splitlines())
    assert removed == set()  # comments, quotes and flow mappings included
    proxy = list(yaml.safe_load_all(output))[1]["spec"]["template"]["spec"]["initContainers"][0]
    assert proxy["args"][-2:] == list(FLAGS)


def test_what_comes_out_can_go_in_again(
    rendered: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["inject", *FLAGS, rendered])
    once = capsys.readouterr().out
    Path(rendered).write_text(once)
    assert main(["inject", *FLAGS, rendered]) == 0
    assert capsys.readouterr().out == once


def test_standard_input_and_files_are_joined(
    rendered: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    stdin = io.TextIOWrapper(io.BytesIO(b"kind: ConfigMap\nmetadata: {name: a}"))
    monkeypatch.setattr("sys.stdin", stdin)
    assert main(["inject", *FLAGS, "-", rendered]) == 0
    documents = list(yaml.safe_load_all(capsys.readouterr().out))
    assert [d["kind"] for d in documents] == [
        "ConfigMap",
        "ServiceAccount",
        "Deployment",
        "Service",
    ]


def test_json_stays_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "list.json"
    path.write_text(json.dumps({"kind": "List", "items": list(yaml.safe_load_all(RENDERED))}))
    assert main(["inject", *FLAGS, str(path)]) == 0
    items = json.loads(capsys.readouterr().out)["items"]
    assert items[1]["spec"]["template"]["spec"]["initContainers"][0]["name"] == "auth-proxy"


def test_the_secret_of_headlamps_chart_says_issuer_and_client(
    rendered: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["inject", "--oidc-secret", "headlamp-oidc", rendered]) == 0
    deployment = list(yaml.safe_load_all(capsys.readouterr().out))[1]
    (proxy,) = deployment["spec"]["template"]["spec"]["initContainers"]
    assert [e["name"] for e in proxy["env"]] == [
        "HEADLAMP_AUTH_PROXY_OIDC_ISSUER_URL",
        "HEADLAMP_AUTH_PROXY_OIDC_CLIENT_ID",
    ]


AUDIT = (
    "--mount=configmap/policy:/run/auth-proxy/audit-policy",
    "--audit-policy-file=/run/auth-proxy/audit-policy/policy.yaml",
    "--audit-log-path=-",
)


@pytest.mark.parametrize("before", [[], ["--before-1.29"]])
def test_what_flags_name_is_mounted_into_the_proxy_alone(
    rendered: str, capsys: pytest.CaptureFixture[str], before: list[str]
) -> None:
    given = (*before, *FLAGS, *AUDIT, "--mount=secret/hook:/hook", "--mount=claim/casts:/casts")
    assert main(["inject", *given, rendered]) == 0
    spec = list(yaml.safe_load_all(capsys.readouterr().out))[1]["spec"]["template"]["spec"]
    mounted: list[dict[str, object]] = [
        {"name": "auth-proxy-mount-1", "mountPath": "/run/auth-proxy/audit-policy"},
        {"name": "auth-proxy-mount-2", "mountPath": "/hook"},
        {"name": "auth-proxy-mount-3", "mountPath": "/casts"},
    ]
    mounted[:2] = [mount | {"readOnly": True} for mount in mounted[:2]]
    for container in [*spec["initContainers"], *spec["containers"]]:
        ours = container["name"].startswith("auth-proxy")
        assert container.get("volumeMounts", [])[3:] == (mounted if ours else [])
    assert spec["volumes"][3:] == [
        {"name": "auth-proxy-mount-1", "configMap": {"name": "policy"}},
        {"name": "auth-proxy-mount-2", "secret": {"secretName": "hook"}},
        {"name": "auth-proxy-mount-3", "persistentVolumeClaim": {"claimName": "casts"}},
    ]
    assert spec["securityContext"] == {"fsGroup": 65532, "fsGroupChangePolicy": "OnRootMismatch"}


def test_what_is_no_longer_to_be_mounted_goes(
    rendered: str, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["inject", *FLAGS, rendered])
    without = capsys.readouterr().out
    main(["inject", *FLAGS, *AUDIT, rendered])
    Path(rendered).write_text(once := capsys.readouterr().out)
    main(["inject", *FLAGS, *AUDIT, rendered])
    assert capsys.readouterr().out == once
    main(["inject", *FLAGS, rendered])
    assert capsys.readouterr().out == without


@pytest.mark.parametrize("group", [7, None])
def test_a_group_that_the_pod_has_for_its_volumes_stays(
    rendered: str, capsys: pytest.CaptureFixture[str], group: int | None
) -> None:
    context = json.dumps({"runAsUser": 5, "fsGroup": group})
    manifest = RENDERED.replace(
        "      containers:", f"      securityContext: {context}\n      containers:"
    )
    Path(rendered).write_text(manifest)
    assert main(["inject", *FLAGS, "--mount=claim/casts:/casts", rendered]) == 0
    spec = list(yaml.safe_load_all(capsys.readouterr().out))[1]["spec"]["template"]["spec"]
    assert spec["securityContext"]["fsGroup"] == (group or 65532)
    assert spec["securityContext"]["runAsUser"] == 5


def test_files_of_the_pod_are_not_looked_for_here(rendered: str) -> None:
    assert main(["inject", *FLAGS, "--oidc-ca-file=/only/in/the/pod.crt", rendered]) == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((*FLAGS, "--listen=:1", "-"), "--listen: is fixed in the sidecar"),
        (("-",), "--oidc-issuer-url: is required"),
        ((*FLAGS, "--oidc-clock-skew=1", "-"), "has no unit"),
        ((*FLAGS, "--imagee=x", "-"), "did you mean --image?"),
        ((*FLAGS, "--image"), "--image: needs a value"),
        (FLAGS, "name the files"),
        ((*FLAGS, "--mount=configmap/a", "-"), "is not KIND/NAME:FOLDER"),
        ((*FLAGS, "--mount=volume/a:/b", "-"), "configmap, secret or claim for KIND"),
        ((*FLAGS, "--mount=secret/a:/b/../c", "-"), "is not KIND/NAME:FOLDER"),
        ((*FLAGS, "--mount=secret/a:/", "-"), "is in the way of /run/auth-proxy/trust"),
        (
            (*FLAGS, "--mount=secret/a:/run/auth-proxy/keys/x", "-"),
            "is in the way of /run/auth-proxy/keys",
        ),
        ((*FLAGS, "--mount=secret/a:/b", "--mount=secret/c:/b", "-"), "is in the way of /b"),
    ],
)
def test_wrong_use_says_what_is_wrong(
    arguments: tuple[str, ...], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["inject", *arguments]) == 2
    captured = capsys.readouterr()
    assert words in captured.err
    assert captured.out == ""


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"kind: Service\n", "nothing to inject"),
        (b"a: 1\n---\n a: b: c\n", "line 3: not YAML"),
        (b"\xff\xfe", "is not UTF-8"),
        (
            AMBIGUOUS,
            "Pod p: the containers a, b could all be Headlamp; say which with --container",
        ),
        (
            b"kind: Pod\nspec: {hostPID: true, containers: [{name: headlamp}]}\n",
            "Pod None: hostPID lets the containers see",
        ),
        (b"kind: Pod\nspec: {containers: [{name: headlamp, env: x}]}\n", "env is not a list"),
    ],
)
def test_a_stream_that_cannot_be_injected_comes_out_not_at_all(
    content: bytes, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "m.yaml"
    path.write_bytes(content)
    assert main(["inject", *FLAGS, str(path)]) == 1
    captured = capsys.readouterr()
    assert words in captured.err
    assert captured.out == ""


def test_a_file_that_is_not_there_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inject", *FLAGS, "/no/such.yaml"]) == 1
    assert "/no/such.yaml: cannot be read" in capsys.readouterr().err


def test_more_than_one_replica_is_warned_of(
    rendered: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path(rendered).write_text(RENDERED.replace("replicas: 1", "replicas: 2"))
    assert main(["inject", *FLAGS, rendered]) == 0
    assert "warning: Headlamp has 2 replicas" in capsys.readouterr().err


def test_a_file_with_windows_line_ends_keeps_them(
    rendered: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path(rendered).write_bytes(RENDERED.replace("\n", "\r\n").encode())
    assert main(["inject", *FLAGS, rendered]) == 0
    output = capsys.readouterr().out
    assert output.count("\n") == output.count("\r\n")
