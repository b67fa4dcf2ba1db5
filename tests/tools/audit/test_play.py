"""``audit play``: a session as it was, on a terminal that stays its owner's."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from proxy.cli import main
from proxy.sessions.asciicast import Encoder

SESSION = {
    "user": "alice\x1b[2J",
    "namespace": "shop",
    "pod": "web",
    "container": "main",
    "command": ["sh", "-c", "a b"],
}


def recorded(path: Path, *output: bytes, seconds_apart: float = 0.0) -> Path:
    made = Encoder(0, "", (), SESSION)
    parts = [made.output(1, data, n * seconds_apart) for n, data in enumerate(output)]
    path.write_bytes(b"".join(parts) + made.end("exit status 0", len(output) * seconds_apart))
    return path


def play(*arguments: object) -> int:
    return main(["audit", "play", *map(str, arguments)])


def test_it_says_whose_it_was_and_prints_what_was_printed(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert play(recorded(tmp_path / "a.cast", b"\x1b[31mhello\r\n", "€".encode())) == 0
    out, err = capsys.readouterr()
    assert out == "\x1b[31mhello\r\n€"
    assert err.splitlines()[0] == "alice\\x1b[2J in shop/web main: sh -c 'a b' (80x24)"
    assert err.endswith("\r\nexit status 0\r\n")


def test_waiting_is_bounded_and_may_be_quicker(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[float] = []
    monkeypatch.setattr("proxy.tools.audit.play.time.sleep", waited.append)
    path = recorded(tmp_path / "a.cast", b"a", b"b", b"c", seconds_apart=10)
    play(path, "--speed", "4", "--idle-limit", "8s")
    assert waited == [0, 2, 2, 2]
    assert capsys.readouterr().out == "abc"


def test_what_would_ask_the_terminal_is_left_out(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    play(recorded(tmp_path / "a.cast", b"a\x1b[6", b"nb\x1b]52;c;cm0=", b"\x07c"))
    assert capsys.readouterr().out == "abc"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is no asciicast v2 recording"),
        (b"what?\n", ":1: is no line"),
        (b'{"version":3}\n', "is no asciicast v2 recording"),
        (b'{"version":2}\n[1,"o"]\n', ":2: is no event"),
        (b'{"version":2}\n[NaN,"o",""]\n', ":2: is no event"),
        (b'{"version":2}\n[0,"o","hi"]\n[0,"o","cut', ":3: is no line"),
    ],
)
def test_what_is_no_recording_says_so(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, content: bytes, words: str
) -> None:
    path = tmp_path / "a.cast"
    path.write_bytes(content)
    assert play(path) == 1
    assert words in capsys.readouterr().err


def test_a_file_that_is_not_there(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert play(tmp_path / "gone") == 1
    assert "no such file" in capsys.readouterr().err


def test_a_full_disk_is_not_the_recording_s_fault(tmp_path: Path) -> None:
    path = recorded(tmp_path / "a.cast", b"hello")
    command = [sys.executable, "-m", "proxy", "audit", "play", str(path)]
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, timeout=30)
    assert done.returncode == 1
    assert done.stderr.splitlines()[1:] == [b"standard output: no space left on device"]


def in_terminal(arguments: Sequence[str], typed: bytes) -> tuple[bytes, bytes]:
    """Run on a terminal where somebody types; return what it shows, and what is left to read."""
    ours, theirs = pty.openpty()
    program = [sys.executable, "-m", "proxy", "audit", "play", *arguments]
    with subprocess.Popen(
        [sys.executable, "-c", _THEN_READ, *program], stdin=theirs, stdout=theirs, stderr=theirs
    ) as process:
        os.close(theirs)
        shown = b""
        sent = False
        while b"left:" not in shown:
            shown += os.read(ours, 1024)
            if b"playing" in shown and not sent:
                os.write(ours, typed)
                sent = True
        os.write(ours, b"\n")
        while b"end." not in shown:
            shown += os.read(ours, 1024)
        process.wait()
    os.close(ours)
    before, _, after = shown.partition(b"left:")
    return before, after


# Runs a program as a shell would, and says what it finds typed afterwards.
_THEN_READ = """
import subprocess, sys
subprocess.run(sys.argv[1:])
print("left:", flush=True)
print(repr(sys.stdin.readline()), "end.", flush=True)
"""


def test_nothing_that_is_typed_meanwhile_reaches_the_shell(tmp_path: Path) -> None:
    path = recorded(tmp_path / "a.cast", b"playing", b"more", b"done", seconds_apart=0.3)
    shown, left = in_terminal([str(path)], b"rm -rf /\n")
    assert json.dumps("rm") not in shown.decode()
    assert b"rm -rf" not in shown + left
    assert b"\x1b[0m" in shown
    assert b"'\\n' end." in left
