"""The command: results on standard output, everything else on standard error, never a traceback."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import proxy
from proxy.cli import COMMANDS, main
from proxy.config import Config
from proxy.config.model import SETTINGS
from proxy.version import is_compiled

SERVE = [
    "serve",
    "--oidc-issuer-url=https://idp.example",
    "--oidc-client-id=headlamp",
    "--upstream=https://10.0.0.1",
    "--plaintext",
]
DOCTOR = [
    "doctor",
    "--oidc-issuer-url=https://127.0.0.1:1",
    "--oidc-client-id=headlamp",
    "--upstream=https://127.0.0.1:1",
]


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[Config]:
    """What the server was asked to serve; it exits with 7 at once."""
    configs: list[Config] = []

    def serve(config: Config) -> int:
        configs.append(config)
        return 7

    server = ModuleType("proxy.server")
    server.serve = serve  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "proxy.server", server)
    monkeypatch.setattr(proxy, "server", server, raising=False)  # it is there once it was imported
    return configs


def test_serve_hands_the_configuration_to_the_server_and_exits_as_it_does(
    served: list[Config], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(SERVE) == 7
    (config,) = served
    assert config.oidc_issuer_url == "https://idp.example"
    assert capsys.readouterr() == ("", "")


def test_serve_reads_the_process_environment(
    served: list[Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADLAMP_AUTH_PROXY_OIDC_CLOCK_SKEW", "5s")
    main(SERVE)
    assert served[0].oidc_clock_skew == 5


def test_a_wrong_configuration_is_told_in_whole_and_nothing_is_served(
    served: list[Config], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*SERVE, "--listen=x", "--oidc-clock-skew=5", "--lissten"]) == 2
    out, err = capsys.readouterr()
    assert not served
    assert out == ""
    assert err.splitlines() == [
        "--lissten: unknown flag; did you mean --listen?",
        '--oidc-clock-skew "5" (flag): has no unit; write 5s for seconds',
        '--listen "x" (flag): is not an address; write host:port, [ipv6]:port, :port or unix:/path',
    ]


def test_without_arguments_the_help_goes_to_standard_error(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main([]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    for name, command in COMMANDS.items():
        assert f"  {name}" in err
        assert command.summary in err


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help_that_was_asked_for_goes_to_standard_output(
    flag: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([flag]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("Usage: headlamp-auth-proxy COMMAND")
    assert err == ""


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_every_command_has_its_help(
    name: str, flag: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([name, "--listen=x", flag]) == 0
    out, err = capsys.readouterr()
    assert out.startswith(f"Usage: headlamp-auth-proxy {name}")
    assert COMMANDS[name].summary in out
    assert err == ""


def test_the_help_of_serve_mentions_every_setting(capsys: pytest.CaptureFixture[str]) -> None:
    main(["serve", "--help"])
    out = capsys.readouterr().out
    for setting in SETTINGS.values():
        assert f"  {setting.flag}" in out
        assert setting.variable in out


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("sevre", "did you mean serve? "),
        ("serv", "did you mean serve? "),
        ("--listen=:1", ""),
        ("", ""),
        ("\udcff\n", ""),
    ],
)
def test_an_unknown_command_is_named_beside_the_known_ones(
    name: str, hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([name]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err == f"unknown command {name!a}; {hint}the commands are {', '.join(COMMANDS)}\n"


@pytest.mark.parametrize("command", ["version", "--version"])
def test_version_prints_one_line(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command]) == 0
    out, err = capsys.readouterr()
    name, version, *form = out.rstrip("\n").split(" ")
    assert name == "headlamp-auth-proxy"
    assert form == (["(compiled)"] if is_compiled() else [])
    assert version[0].isdigit()
    assert err == ""


def test_version_takes_no_arguments(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["version", "--short"]) == 2
    assert capsys.readouterr() == ("", "version takes no arguments, but got '--short'\n")


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["version"], 0),
        (["serve", "--help"], 0),
        ([], 2),
        (["serve", b"--listen=\xff\n", b"--\xff=1", b"\xff"], 2),
    ],
)
def test_the_module_is_the_command_and_never_shows_a_traceback(
    arguments: list[str | bytes], status: int
) -> None:
    command: list[str | bytes] = [sys.executable, "-m", "proxy", *arguments]
    done = subprocess.run(command, capture_output=True, timeout=30)
    assert done.returncode == status
    assert b"Traceback" not in done.stderr
    assert bool(done.stdout) is (status == 0)
    assert bool(done.stderr) is (status != 0)


@pytest.mark.parametrize("arguments", [["--help"], ["doctor"], ["rbac", "--mode=wide"]])
def test_a_reader_who_has_seen_enough_ends_it_without_a_word(arguments: list[str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "proxy", *arguments]
    try:
        done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, timeout=30)
    finally:
        os.close(writing)
    assert done.returncode == 128 + signal.SIGPIPE
    assert b"Traceback" not in done.stderr
    assert b"Broken" not in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["serve", "--help"],  # longer than any buffer
        ["doctor", "-o", "json"],
        ["explain", "--token-file=/dev/null", *DOCTOR[1:3]],
        ["audit", "-o", "table", "/dev/null"],
        ["rbac", "--mode=wide"],
    ],
)
def test_a_full_disk_is_named_with_standard_output(arguments: list[str]) -> None:
    command = [sys.executable, "-m", "proxy", *arguments]
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, timeout=30)
    assert done.returncode == 1
    assert b"Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1] == b"standard output: no space left on device"


def test_ctrl_c_ends_doctor_without_a_traceback() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(30)
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with subprocess.Popen(
            [sys.executable, "-m", "proxy", *DOCTOR, f"--headlamp-url={url}"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as doctor:
            connection, _ = silent.accept()
            with connection:
                doctor.send_signal(signal.SIGINT)
                _, err = doctor.communicate(timeout=30)
    assert (doctor.returncode, err) == (128 + signal.SIGINT, b"")


def test_ctrl_c_ends_a_recording_that_plays_without_a_traceback(tmp_path: Path) -> None:
    lines = [{"version": 2, "width": 80, "height": 24, "title": "a"}, [0, "o", "x"], [60, "o", "y"]]
    recording = tmp_path / "a.cast"
    recording.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    with subprocess.Popen(
        [sys.executable, "-m", "proxy", "audit", "play", "--idle-limit=60s", str(recording)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as player:
        assert player.stdout is not None
        assert player.stdout.read(1) == b"x"
        player.send_signal(signal.SIGINT)
        _, err = player.communicate(timeout=30)
    assert (player.returncode, err) == (128 + signal.SIGINT, b"a\n")
