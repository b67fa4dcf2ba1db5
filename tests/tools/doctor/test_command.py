"""The command around the trusts: usage, settings, exit statuses, what is shown where."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from proxy.cli import main
from proxy.tools.doctor.display import Display
from proxy.tools.doctor.running import arguments_of_running, serve_arguments
from proxy.tools.doctor.verdict import Finding, Status, Verdict
from tests.tools.doctor.stage import CLIENT_ID, Doctor, Stage, whole


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    status = main(["doctor", *arguments])
    out, err = capsys.readouterr()
    return status, out, err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--unknown"], "--unknown: unknown flag"),
        (["word"], "'word': unexpected argument"),
        (["--headlamp-url=headlamp"], "--headlamp-url 'headlamp': is no address"),
        (["--output=yaml"], "--output 'yaml': is not an output"),
        (["--timeout=soon"], "--timeout 'soon'"),
        (["--group=a"], "--group: needs --user"),
        (["--token-file=/nonexistent"], "--token-file '/nonexistent': cannot be read"),
        (["--token-file=/dev/null"], "--token-file '/dev/null': the file is empty"),
        ([f"--token-file={__file__}"], "holds no token"),
        (["--headlamp-ca-file=/nonexistent", "--headlamp-url=https://x"], "--headlamp-ca-file"),
        (["--login", "--login-callback=https://x"], "--login-callback"),
        (["--admin-kubeconfig=/nonexistent"], "--admin-kubeconfig '/nonexistent': cannot be read"),
        (["--service-account=foo"], "--service-account 'foo': write NAMESPACE/NAME"),
        (["--user=a", "--namespace=Nope!"], "--namespace 'Nope!': is no namespace's name"),
    ],
)
def test_a_wrong_use_is_told_and_ends_with_2(
    capsys: pytest.CaptureFixture[str], arguments: list[str], says: str
) -> None:
    status, out, err = run(capsys, *arguments)
    assert status == 2
    assert says in err
    assert out == ""
    assert "Traceback" not in err


def test_a_wrong_use_is_json_where_json_is_asked(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(capsys, "-o", "json", "--unknown")
    assert status == 2
    assert json.loads(out) == {"ok": False, "trusts": [], "error": "--unknown: unknown flag"}


@pytest.mark.parametrize(
    ("flag", "trust"),
    [
        ("--oidc-issuer-url=http://idp.example.com", 2),
        ("--oidc-clock-skew=banana", 2),
        ("--upstream=http://10.0.0.1", 4),
        ("--groups-allow=\n", 5),
        ("--deny-file=/nonexistent", 5),
        ("--record-sessions=/dev/null", 4),
        ("--audit-log-path=/nonexistent/log", 4),
        ("--config=/nonexistent", 4),
    ],
)
def test_settings_that_no_serve_could_have_fail_their_trust(
    capsys: pytest.CaptureFixture[str], flag: str, trust: int
) -> None:
    flags = ["--oidc-issuer-url=https://idp.example.com", f"--oidc-client-id={CLIENT_ID}", flag]
    status, out, err = run(capsys, "-o=json", *flags)
    account = json.loads(out)
    failed = [each["id"] for each in account["trusts"] if each["status"] == "failed"]
    assert (status, failed, account["ok"]) == (1, [trust], False)
    assert flag.partition("=")[0] in account["error"]
    assert flag.partition("=")[0] in err


def test_a_refusal_is_said_once_and_its_mend_names_the_flag(
    capsys: pytest.CaptureFixture[str],
) -> None:
    issuer = ["--oidc-issuer-url=https://idp.example.com", f"--oidc-client-id={CLIENT_ID}"]
    status, out, err = run(capsys, *issuer, "--listen=foo")
    assert status == 1
    assert (out + err).count("is not an address") == 1
    assert 'mend: correct --listen "foo" (flag)\n' in out


def test_a_policy_that_serve_refuses_fails_its_trust(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "cm.yaml"
    path.write_text("apiVersion: v1\nkind: ConfigMap\n")
    issuer = ["--oidc-issuer-url=https://idp.example.com", f"--oidc-client-id={CLIENT_ID}"]
    status, out, _ = run(capsys, *issuer, f"--audit-policy-file={path}", "--audit-log-path=-")
    assert status == 1
    assert "expected Policy, got 'ConfigMap'" in out


def test_a_file_that_cannot_be_used_fails_its_trust_and_no_other(
    stage: Stage, doctor: Doctor
) -> None:
    stage.flags["--kubeconfig"] = str(stage.folder / "nowhere")
    with whole(stage):
        doctor.run()
    assert doctor.trusts[4]["cause"] == "kubeconfig_unusable"
    assert "--kubeconfig" in doctor.trusts[4]["mend"]
    assert doctor.trusts[2]["status"] == "ok"
    assert (doctor.status, doctor.ok) == (1, False)


def test_settings_come_from_the_environment_as_for_serve(
    stage: Stage, doctor: Doctor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADLAMP_AUTH_PROXY_OIDC_ISSUER_URL", stage.at.url)
    monkeypatch.setenv("HEADLAMP_AUTH_PROXY_OIDC_CLIENT_ID", CLIENT_ID)
    stage.flags |= {"--oidc-issuer-url": None, "--oidc-client-id": None}
    with whole(stage):
        doctor.run()
    assert doctor.trusts[2]["status"] == "ok"


def test_with_a_file_of_issuers_mends_name_its_fields(stage: Stage, doctor: Doctor) -> None:
    issuer: dict[str, Any] = {
        "issuer": {
            "url": f"{stage.at.url}/",
            "audiences": [CLIENT_ID],
            "certificateAuthority": stage.authority.cert_pem.bytes().decode(),
        },
        "claimMappings": {"username": {"claim": "email", "prefix": ""}},
    }
    path = stage.folder / "authentication.json"
    kind = {"apiVersion": "apiserver.config.k8s.io/v1", "kind": "AuthenticationConfiguration"}
    path.write_text(json.dumps(kind | {"jwt": [issuer]}))
    for flag in ("--oidc-issuer-url", "--oidc-client-id", "--oidc-ca-file"):
        stage.flags[flag] = None
    stage.flags["--authentication-config"] = str(path)
    with whole(stage):
        doctor.run()
    assert doctor.trusts[2]["cause"] == "issuer_mismatch"
    assert f"jwt[].issuer.url: {stage.at.url} " in doctor.trusts[2]["mend"]


def test_what_is_seen_is_plain_in_a_pipe(stage: Stage, doctor: Doctor) -> None:
    with whole(stage):
        text = doctor.text()
    assert doctor.status == 0
    assert "\033" not in text + doctor.err
    assert "\r" not in text + doctor.err
    assert "1. the browser and the Headlamp address: ok\n" in text
    assert "   tried: connecting to https://localhost:" in text


def test_standard_input_is_not_touched(
    stage: Stage, doctor: Doctor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under ``kubectl exec`` without ``-i`` there is nobody to answer."""

    class Untouchable(io.TextIOBase):
        def read(self, *_: object) -> str:
            raise AssertionError("standard input was read")

        readline = read  # type: ignore[assignment]

    monkeypatch.setattr(sys, "stdin", Untouchable())
    with whole(stage):
        doctor.run()
    assert doctor.status == 0


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_on_a_terminal_what_is_tried_is_shown_while_it_is() -> None:
    out, live = Terminal(), Terminal()
    display = Display(out, live)
    display.tries("connecting")
    assert live.getvalue().endswith("connecting")
    display.ends(Finding(1, "name", [Verdict(Status.FAILED, "cause", "seen", "one\ntwo")]))
    assert live.getvalue().endswith("\r\033[K"), "it is gone when there is an outcome"
    assert (
        "\033[31mFAILED\033[0m [cause]: seen\n      mend: one\n            two\n" in out.getvalue()
    )


# --- In the pod ----------------------------------------------------------------------------------


def process(folder: Path, number: int, *argv: str) -> None:
    (folder / str(number)).mkdir()
    (folder / str(number) / "cmdline").write_bytes("\0".join(argv).encode() + b"\0")


def test_the_arguments_of_the_proxy_that_runs_here_are_found(tmp_path: Path) -> None:
    process(tmp_path, 1, "/pause")
    process(tmp_path, 7, "/usr/bin/python3", "/app/bin/headlamp-auth-proxy", "serve", "--plaintext")
    process(tmp_path, 9, "/app/bin/headlamp-auth-proxy", "doctor")
    (tmp_path / "11").mkdir()  # one that has just ended
    assert arguments_of_running(tmp_path) == ["--plaintext"]


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["headlamp-auth-proxy", "serve"], []),
        (["python", "-m", "proxy", "serve", "--a=b"], ["--a=b"]),
        (["headlamp-auth-proxy", "doctor"], None),
        (["other", "serve", "--a=b"], None),
        ([""], None),
    ],
)
def test_only_this_programs_serve_counts(argv: list[str], expected: list[str] | None) -> None:
    assert serve_arguments(argv) == expected
