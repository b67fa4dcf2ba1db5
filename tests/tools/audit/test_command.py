"""``headlamp-auth-proxy audit``, as it is called."""

from __future__ import annotations

import gzip
import io
import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from proxy.cli import main
from proxy.sessions.asciicast import Encoder
from tests.tools.audit.records import event, line
from tests.wire import PATIENCE

REASON = {"headlamp-auth-proxy.dev/reason": "username_reserved"}
SESSION = {
    "headlamp-auth-proxy.dev/session-command": '["sh"]',
    "headlamp-auth-proxy.dev/session-exit-status": "3",
    "headlamp-auth-proxy.dev/session-duration": "1.500s",
}


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "audit.log"
    path.write_bytes(
        line("1", stage="RequestReceived")
        + line("1")
        + line("2", responseStatus={"code": 403}, annotations=REASON, verb="delete")
        + line("3", user={"username": "bob@example.com"}, annotations=SESSION, verb="create")
    )
    return path


def ids(output: str) -> list[str]:
    return [json.loads(text)["auditID"] for text in output.splitlines()]


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    status = main(["audit", *map(str, arguments)])
    output = capsys.readouterr()
    return status, output.out, output.err


def test_in_a_pipe_it_is_the_whole_event_a_line(
    capsys: pytest.CaptureFixture[str], log: Path
) -> None:
    status, out, err = run(capsys, log)
    assert (status, ids(out), err) == (0, ["1", "2", "3"], "")
    assert json.loads(out.splitlines()[0]) == event("1")


def test_a_table_says_by_whom_and_how_it_ended(
    capsys: pytest.CaptureFixture[str], log: Path
) -> None:
    _, out, _ = run(capsys, log, "-o", "table")
    title, first, second, third = out.splitlines()
    assert title.split() == ["TIME", "USER", "VERB", "RESOURCE", "OBJECT", "CODE"]
    assert first.split() == [
        *("2026-11-28T06:00:00Z", "alice@example.com", "list", "pods", "shop/", "200"),
    ]
    assert second.endswith("403   denied by proxy (username_reserved)")
    assert third.endswith('["sh"], exit 3, for 1.500s')


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        (["--user", "bob@example.com"], ["3"]),
        (["--user=alice@example.com", "--user=bob@example.com"], ["1", "2", "3"]),
        (["--group", "developers", "--verb", "list"], ["1"]),
        (["--denied"], ["2"]),
        (["-n", "shop"], ["1", "2", "3"]),
        (["--namespace=other"], []),
        (["--resource", "pods/exec"], []),
        (["--since", "2026-11-28T06:00:00Z"], ["1", "2", "3"]),
        (["--since", "2026-11-28T07:00:00+00:30"], []),
        (["--since", "876000h"], ["1", "2", "3"]),
        (["--since", "2026-11-28"], ["1", "2", "3"]),
        (["--since", "2026-11-29"], []),
    ],
)
def test_filters(
    capsys: pytest.CaptureFixture[str], log: Path, arguments: list[str], found: list[str]
) -> None:
    status, out, _ = run(capsys, *arguments, log)
    assert (status, ids(out)) == (0, found)


def test_what_was_rotated_away_is_read_before_it_oldest_first(
    capsys: pytest.CaptureFixture[str], log: Path
) -> None:
    folder = log.parent
    (folder / "audit-2026-11-27T00-00-00.000.log").write_bytes(line("b"))
    packed = folder / "audit-2026-11-26T00-00-00.000.log.gz"
    packed.write_bytes(gzip.compress(line("a")))
    (folder / "audit-other.log").write_bytes(line("not this"))
    _, out, _ = run(capsys, log)
    assert ids(out) == ["a", "b", "1", "2", "3"]
    _, out, _ = run(capsys, packed)
    assert ids(out) == ["a"]


@pytest.mark.parametrize("arguments", [[], ["-"]])
def test_standard_input(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    log: Path,
    arguments: list[str],
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(log.read_bytes())))
    _, out, _ = run(capsys, *arguments)
    assert ids(out) == ["1", "2", "3"]


def test_that_it_waits_for_somebody_to_type_is_said(log: Path) -> None:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "proxy", "audit", "--verb", str(log)]
    with subprocess.Popen(
        command, stdin=theirs, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    ) as process:
        os.close(theirs)
        assert process.stderr is not None
        assert process.stderr.readline() == b"reading standard input; Ctrl-D ends it\n"
        os.write(ours, b"\x04")
        assert process.wait(PATIENCE) == 0
    os.close(ours)


def test_a_recording_says_what_plays_it(
    capsys: pytest.CaptureFixture[str], log: Path, tmp_path: Path
) -> None:
    recording = tmp_path / "a.cast"
    recording.write_bytes(Encoder(0, "", (), {}).output(1, b"hello", 0))
    status, out, err = run(capsys, recording, log)
    assert (status, ids(out)) == (1, ["1", "2", "3"])
    assert err == f"{recording}:1: begins a recording; see: audit play FILE\n"


def test_lines_that_are_no_events_are_named_and_skipped(
    capsys: pytest.CaptureFixture[str], log: Path
) -> None:
    log.write_bytes(b"what\x1b[2J?\n" + log.read_bytes() + b'{"kind":"Event"')
    status, out, err = run(capsys, log)
    assert (status, ids(out)) == (1, ["1", "2", "3"])
    assert err.splitlines() == [
        f"{log}:1: is no audit event, and is skipped: it is no JSON",
        f"{log}:6: is no audit event, and is skipped: it is no JSON",
    ]


def test_of_very_many_that_are_no_events_there_is_a_number(
    capsys: pytest.CaptureFixture[str], log: Path
) -> None:
    log.write_bytes(b"\n" * 1000)
    status, _, err = run(capsys, log)
    assert (status, len(err.splitlines())) == (1, 11)
    assert err.endswith("990 more lines are no audit events, and were skipped\n")


def test_a_log_that_is_not_whole_or_not_there_is_named_and_the_rest_is_read(
    capsys: pytest.CaptureFixture[str], log: Path
) -> None:
    cut = log.with_name("cut.gz")
    cut.write_bytes(gzip.compress(line("4") * 10)[:-12])
    gone = log.with_name("gone")
    status, out, err = run(capsys, gone, cut, log)
    assert (status, ids(out)[-3:]) == (1, ["1", "2", "3"])
    assert err.startswith(f"{gone}: cannot be read: there is no such file or directory\n{cut}: ")


def test_names_cannot_drive_the_terminal(capsys: pytest.CaptureFixture[str], log: Path) -> None:
    log.write_bytes(line("1", user={"username": "a\x1b]0;x\x07\n\u202eb"}, verb="\x1b[2J"))
    _, out, _ = run(capsys, log, "--output=table")
    assert out.count("\n") == 2
    assert "\x1b" not in out
    assert "a\\x1b]0;x\\x07\\n\\u202eb" in out


def test_what_is_still_under_way_says_so(capsys: pytest.CaptureFixture[str], log: Path) -> None:
    log.write_bytes(line("1", stage="ResponseStarted", verb="watch"))
    _, out, _ = run(capsys, log, "-o=table")
    assert out.splitlines()[1].endswith("200   end not in the log")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--since"], "--since: needs a value"),
        (["--since", "yesterday"], "is not a duration"),
        (["--since", "yesterday"], "or write a date or a time, 2026-01-31 or 2026-01-31T09:00:00Z"),
        (["--since", "2026-13-01T00:00:00Z"], "is no time"),
        (["-o", "yaml"], "is not an output"),
        (["--sinse=1h"], "'--sinse': is not known; did you mean --since?"),
        (["--what"], "'--what': is not known; the flags are --since, "),
        (["--what"], ", -o, --denied"),
        (["--denied=yes"], "--denied: takes no value"),
        (["play"], "give one FILE"),
        (["play", "a", "--speed", "0"], "out of range"),
        (
            ["play", "a", "--speed", "fast"],
            "--speed 'fast': is not a number; write one from 0.01 to 1000",
        ),
        (["play", "a", "--denied"], "is not known"),
    ],
)
def test_wrong_use(capsys: pytest.CaptureFixture[str], arguments: list[str], words: str) -> None:
    status, out, err = run(capsys, *arguments)
    assert (status, out, len(err.splitlines())) == (2, "", 1)
    assert words in err
