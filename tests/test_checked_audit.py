"""What keeps audit or recordings from starting: ``check-config`` and ``serve`` refuse it alike."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from proxy.cli import main
from tests.config.loading import SOUND

ISSUER = [flag for flag in SOUND if flag.startswith("--oidc-")]
POLICY = {"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": [{"level": "Metadata"}]}
WEBHOOK = {
    "clusters": [{"name": "c", "cluster": {"server": "https://127.0.0.1:1/audit"}}],
    "contexts": [{"name": "x", "context": {"cluster": "c"}}],
    "current-context": "x",
}


class Files:
    """The files of an audit, and the flags that name them."""

    def __init__(self, folder: Path) -> None:
        self.policy, self.webhook = folder / "policy.yaml", folder / "hook.yaml"
        self.log = folder / "logs" / "audit.log"
        self.policy.write_text(json.dumps(POLICY))
        self.webhook.write_text(json.dumps(WEBHOOK))
        self.log.parent.mkdir()

    @property
    def flags(self) -> list[str]:
        return [
            f"--audit-policy-file={self.policy}",
            f"--audit-log-path={self.log}",
            f"--audit-webhook-config-file={self.webhook}",
        ]


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def refused(capsys: pytest.CaptureFixture[str], flags: list[str]) -> list[str]:
    """What both commands say, which is the same."""
    said = []
    for command, given in (("check-config", ISSUER), ("serve", list(SOUND))):
        assert main([command, *given, *flags]) == 2, command
        said.append(capsys.readouterr().err.splitlines())
    assert said[0] == said[1]
    return said[0]


def test_a_sound_audit_is_taken_and_nothing_is_made(files: Files) -> None:
    assert main(["check-config", *ISSUER, *files.flags]) == 0
    assert list(files.log.parent.iterdir()) == []
    files.log.write_text("{}\n")
    assert main(["check-config", *ISSUER, *files.flags]) == 0
    assert files.log.read_text() == "{}\n"
    assert main(["check-config", *ISSUER, files.flags[0], "--audit-log-path=-"]) == 0


def test_everything_that_is_wrong_is_said_at_once(
    files: Files, capsys: pytest.CaptureFixture[str]
) -> None:
    files.policy.write_text(json.dumps({**POLICY, "rules": [{"level": "Some"}, {}]}))
    files.webhook.write_text("{}")
    files.log.parent.rmdir()
    said = refused(capsys, files.flags)
    levels = '"Metadata", "None", "Request", "RequestResponse"'
    flag = f'--audit-policy-file "{files.policy}" (flag): '
    assert said[:2] == [
        f'{flag}rules[0].level: Unsupported value: "Some": supported values: {levels}',
        f"{flag}rules[1].level: Required value",
    ]
    assert said[2].startswith(f'--audit-webhook-config-file "{files.webhook}" (flag): ')
    problem = f"cannot be written to: there is no folder '{files.log.parent}'; make it"
    assert said[-1] == f'--audit-log-path "{files.log}" (flag): {problem}'


def test_a_file_that_is_missing_is_named(files: Files, capsys: pytest.CaptureFixture[str]) -> None:
    files.policy.unlink()
    files.webhook.unlink()
    assert refused(capsys, files.flags) == [
        f'{flag} "{path}" (flag): cannot be read: No such file or directory'
        for flag, path in (
            ("--audit-policy-file", files.policy),
            ("--audit-webhook-config-file", files.webhook),
        )
    ]


def test_a_log_that_is_a_folder_is_refused(
    files: Files, capsys: pytest.CaptureFixture[str]
) -> None:
    files.log.mkdir()
    assert "cannot be written to" in refused(capsys, files.flags)[0]


def test_pipes_without_a_partner_are_refused_and_not_waited_for(
    files: Files, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in files.policy, files.webhook:
        path.unlink()
    for path in files.policy, files.webhook, files.log:
        os.mkfifo(path)
    why = "it is not a regular file"
    instead = "for standard output, write -"
    assert refused(capsys, files.flags) == [
        f'--audit-policy-file "{files.policy}" (flag): cannot be read: {why}',
        f'--audit-webhook-config-file "{files.webhook}" (flag): cannot be read: {why}',
        f'--audit-log-path "{files.log}" (flag): cannot be written to: {why}; {instead}',
    ]


def test_the_log_may_be_a_device(files: Files) -> None:
    given = [*ISSUER, files.flags[0], "--audit-log-path=/dev/null"]
    assert main(["check-config", *given]) == 0


@pytest.mark.parametrize("below", ["", "/below"])
def test_recordings_need_a_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], below: str
) -> None:
    (tmp_path / "file").touch()
    place = f"{tmp_path / 'file'}{below}"
    assert refused(capsys, [f"--record-sessions={place}"]) == [
        f'--record-sessions "{place}" (flag): cannot be written to: it is not a directory'
    ]


def test_the_folder_of_recordings_need_not_be_there(tmp_path: Path) -> None:
    assert main(["check-config", *ISSUER, f"--record-sessions={tmp_path / 'a' / 'b'}"]) == 0
    assert list(tmp_path.iterdir()) == []


def test_recordings_that_go_nowhere_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    (said,) = refused(capsys, ["--record-sessions-failure=closed"])
    assert "records nothing without --record-sessions" in said


@pytest.mark.parametrize("content", [None, "user: [a]"])
def test_a_deny_file_that_cannot_be_used_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str | None
) -> None:
    path = tmp_path / "deny.yaml"
    if content:
        path.write_text(content)
    (said,) = refused(capsys, [f"--deny-file={path}"])
    assert said.startswith(f'--deny-file "{path}" (flag): ')


def test_what_serve_would_only_warn_of_is_said_as_well(
    files: Files, capsys: pytest.CaptureFixture[str]
) -> None:
    rule = {"level": "None", "verb": ["get"], "\x1b[2J": 1}
    files.policy.write_text(json.dumps({**POLICY, "rules": [rule]}))
    assert main(["check-config", *ISSUER, *files.flags]) == 0
    said = capsys.readouterr()
    assert said.err.startswith(f"warning: --audit-policy-file {files.policy}: ")
    assert 'unknown field "rules[0].verb"' in said.err
    assert "\x1b" not in said.err, "no name in it drives a terminal"
    assert said.out.startswith("serve can use these settings")


def test_a_policy_without_a_place_is_refused(
    files: Files, capsys: pytest.CaptureFixture[str]
) -> None:
    (said,) = refused(capsys, files.flags[:1])
    assert "has no effect without a place for the events" in said


def test_beforehand_the_folders_of_log_and_recordings_need_not_be_there(
    files: Files, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    files.log.parent.rmdir()
    (tmp_path / "file").touch()
    folders = [
        f"--cert-dir={tmp_path / 'cert'}",
        f"--trust-dir={tmp_path / 'trust'}",
        f"--record-sessions={tmp_path / 'file'}",
    ]
    given = [flag for flag in SOUND if flag != "--plaintext"]
    for folder in ("cert", "trust"):
        (tmp_path / folder).mkdir()
    assert main(["prepare", *given, *folders, *files.flags]) == 0, capsys.readouterr().err
