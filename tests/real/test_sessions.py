"""Sessions through the proxy to a real kubelet's streams: what is known of them afterwards.

The facts are read from the access log, the recordings from the disk; kubectl and a browser's
terminal know nothing of either.
"""

from __future__ import annotations

import json
import stat
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest

from proxy.cli import main
from tests.leaks import hand_out
from tests.process import free_port
from tests.real.streaming import ALICE, CAROL, TRANSPORTS, Streams
from tests.real.test_streams import (
    ERROR,
    RESIZE,
    STDIN,
    STDOUT,
    counting_server,
    exchange,
    line,
    receive,
    say,
)
from tests.serving import Serve

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

each_transport = pytest.mark.parametrize("transport", TRANSPORTS)
ENDINGS = [("exit 0", 0), ("exit 3", 3), ("kill -9 $$", 137)]


@pytest.fixture
def streams(streams: Streams) -> Streams:
    streams.pod("web", "sleep", "1000")
    return streams


def logged(streams: Streams, subresource: str) -> dict[str, object]:
    """The one session of this test's namespace, once it has ended."""
    streams.wait_logged(subresource)
    (found,) = (
        line
        for line in streams.serve.requests()
        if (line.get("namespace"), line.get("subresource")) == (streams.namespace, subresource)
    )
    return found


def recording(
    streams: Streams, entry: dict[str, object]
) -> tuple[dict[str, object], list[list[object]]]:
    """Header and events of a session's file, once it has its name."""
    path = streams.serve.folder / "recordings" / str(entry["recording"])
    streams.serve.wait_until(path.exists, f"{path.name} whole")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    header, *events = map(json.loads, path.read_text().splitlines())
    return header, events


def printed(events: list[list[object]]) -> str:
    return "".join(str(data) for _, kind, data in events if kind == "o")


@each_transport
@pytest.mark.parametrize(("ending", "code"), ENDINGS)
def test_how_a_command_ended_is_known(
    streams: Streams, transport: str, ending: str, code: int
) -> None:
    command = ("exec", "web", "-c", "main", "--", "sh", "-c", f"echo out; echo err >&2; {ending}")
    run = streams.kubectl(ALICE, *command, transport=transport, check=False)
    assert run.returncode == code
    entry = logged(streams, "exec")
    assert entry["exit_status"] == code
    assert (entry["container"], entry["program"]) == ("main", "sh")
    assert "echo out" not in json.dumps(entry)
    if transport == "spdy":
        assert "recording" not in entry
        return
    header, events = recording(streams, entry)
    assert sorted(printed(events).splitlines()) == ["err", "out"]
    assert events[-1][1:] == ["m", f"exit status {code}"]
    assert header["version"] == 2
    session = header["headlamp-auth-proxy"]
    assert isinstance(session, dict)
    assert session["user"] == ALICE
    assert (session["namespace"], session["pod"]) == (streams.namespace, "web")
    assert session["command"][:2] == ["sh", "-c"]


@each_transport
def test_a_command_that_is_not_there_failed(streams: Streams, transport: str) -> None:
    streams.kubectl(ALICE, "exec", "web", "--", "no-such", transport=transport, check=False)
    assert logged(streams, "exec")["exit_status"] in {"failed", 127, 126}


@each_transport
def test_whoever_leaves_early_leaves_no_exit_status(streams: Streams, transport: str) -> None:
    command = ("exec", "web", "--", "sh", "-c", "echo ready; sleep 1000")
    with streams.started(ALICE, *command, transport=transport) as kubectl:
        assert line(kubectl) == "ready"
        kubectl.kill()
        entry = logged(streams, "exec")
    assert entry["exit_status"] == "unknown"


async def test_a_browsers_terminal(streams: Streams) -> None:
    """Its output is recorded with its sizes, a character that came in two halves whole."""
    script = (
        "read -r go; trap 'stty size' WINCH; echo ready; "
        'while ! read -r -t 0.1 line; do :; done; printf "\\303"; sleep 0.1; printf "\\244\\n"; '
        "exit 7"
    )
    query = "container=main&stdin=1&stdout=1&tty=1&command=bash&command=-c"
    async with streams.websocket(ALICE, f"web/exec?{query}&command={quote(script)}") as terminal:
        await terminal.send_bytes(bytes([RESIZE]) + b'{"Width":100,"Height":30}')
        await terminal.send_bytes(bytes([STDIN]) + b"go\r")
        await receive(terminal, STDOUT, b"ready")
        await terminal.send_bytes(bytes([RESIZE]) + b'{"Width":132,"Height":50}')
        await receive(terminal, STDOUT, b"50 132")
        await terminal.send_bytes(bytes([STDIN]) + b"hello\r")
        await receive(terminal, ERROR, b"}")
    entry = logged(streams, "exec")
    assert (entry["exit_status"], entry["tty"]) == (7, True)
    header, events = recording(streams, entry)
    assert (header["width"], header["height"]) == (100, 30)
    assert [data for _, kind, data in events if kind == "r"] == ["132x50"]
    assert "ä\r\n" in printed(events)


async def test_a_password_that_is_typed_is_nowhere(streams: Streams) -> None:
    """Not in the recording, as the terminal shows none; nor anywhere else, see tests/sinks.py."""
    hand_out(password := "typed-at-a-prompt")
    script = 'stty -echo; printf "Password: "; read -r it; printf "\\n%s characters\\n" "${#it}"'
    query = "container=main&stdin=1&stdout=1&tty=1&command=bash&command=-c"
    async with streams.websocket(ALICE, f"web/exec?{query}&command={quote(script)}") as terminal:
        await receive(terminal, STDOUT, b"Password: ")
        for letter in f"{password}\r":
            await terminal.send_bytes(bytes([STDIN]) + letter.encode())
        await receive(terminal, ERROR, b"}")
    _, events = recording(streams, logged(streams, "exec"))
    assert printed(events) == f"Password: \r\n{len(password)} characters\r\n"
    assert {kind for _, kind, _ in events} == {"o", "m"}


@each_transport
def test_attach(streams: Streams, transport: str) -> None:
    streams.pod("talk", "sh", "-c", 'read -r line; echo "heard $line"; exit 3')
    with streams.started(ALICE, "attach", "--stdin", "talk", transport=transport) as kubectl:
        say(kubectl, "one")
        assert line(kubectl) == "heard one"
        kubectl.wait()
    entry = logged(streams, "attach")
    assert entry["exit_status"] == 0  # attach itself went well; what it was attached to is a pod's
    if transport == "websocket":
        assert printed(recording(streams, entry)[1]) == "heard one\n"


@each_transport
def test_the_ports_of_a_port_forward(streams: Streams, transport: str) -> None:
    local = free_port()
    with (
        counting_server() as port,
        streams.started(ALICE, "port-forward", "web", f"{local}:{port}", transport=transport) as it,
    ):
        assert line(it).startswith("Forwarding from 127.0.0.1")
        exchange(local, b"hello")
    entry = logged(streams, "portforward")
    assert entry["ports"] == [port]
    assert "exit_status" not in entry
    assert "recording" not in entry


@contextmanager
def where_all_are_recorded(streams: Streams, folder: Path) -> Iterator[Streams]:
    """The same cluster and people behind a proxy of its own, which lets nothing go unrecorded."""
    cluster, issuer = streams.cluster, streams.issuer
    policy = folder / "policy.yaml"
    policy.write_text("{apiVersion: audit.k8s.io/v1, kind: Policy, rules: [{level: Metadata}]}")
    with Serve(
        folder,
        f"--oidc-issuer-url={issuer.url}",
        f"--oidc-client-id={issuer.client_id}",
        f"--oidc-ca-file={issuer.ca_file}",
        f"--upstream={cluster.url}",
        f"--upstream-ca-file={cluster.ca_file}",
        f"--upstream-token-file={streams.serve.folder / 'token'}",
        f"--record-sessions={folder / 'recordings'}",
        "--record-sessions-failure=closed",
        f"--audit-policy-file={policy}",
        f"--audit-log-path={folder / 'audit.log'}",
    ) as serve:
        serve.wait_ready()
        yield Streams(cluster, streams.node, issuer, serve, streams.namespace)


def test_where_all_must_be_recorded_kubectl_is_told_what_cannot_be(
    streams: Streams, tmp_path: Path
) -> None:
    with where_all_are_recorded(streams, tmp_path) as closed:
        ran = closed.kubectl(ALICE, "exec", "web", "--", "echo", "recorded")
        assert ran.stdout == "recorded\n"
        assert "recorded" in printed(recording(closed, logged(closed, "exec"))[1])

        spdy = closed.kubectl(ALICE, "exec", "web", "--", "true", transport="spdy", check=False)
        assert spdy.returncode == 1
        assert "Sessions are recorded here, and this one cannot be" in spdy.stderr

        (tmp_path / "recordings").rename(tmp_path / "moved")
        gone = closed.kubectl(ALICE, "exec", "web", "--", "true", check=False)
        assert gone.returncode == 1
        assert "the recording cannot be written now" in gone.stderr


def test_the_audit_event_says_how_it_ended_and_what_was_refused(
    streams: Streams, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with where_all_are_recorded(streams, tmp_path) as closed:
        closed.kubectl(ALICE, "exec", "web", "--", "sh", "-c", "exit 3", check=False)
        closed.kubectl(ALICE, "exec", "web", "--", "true", transport="spdy", check=False)
        entry = closed.serve.requests()

    main(["audit", str(tmp_path / "audit.log"), "--resource=pods/exec", "--user", ALICE])
    events = [json.loads(text) for text in capsys.readouterr().out.splitlines()]
    ran, refused = (event["annotations"] for event in events)
    prefix = "headlamp-auth-proxy.dev/session-"
    assert ran[f"{prefix}exit-status"] == "3"
    assert json.loads(ran[f"{prefix}command"]) == ["sh", "-c", "exit 3"]
    assert ran[f"{prefix}recording"] in {line.get("recording") for line in entry}
    assert refused["headlamp-auth-proxy.dev/reason"] == "session_not_recordable"
    main(["audit", str(tmp_path / "audit.log"), "--denied", "-o", "table"])
    assert "denied by proxy (session_not_recordable)" in capsys.readouterr().out


def test_a_session_ends_with_the_last_byte_that_can_be_recorded(
    streams: Streams, tmp_path: Path
) -> None:
    """At full speed: the file grows too large, or the recorder does not keep up."""
    with where_all_are_recorded(streams, tmp_path) as closed:
        command = ("exec", "web", "--", "sh", "-c", "while :; do seq 1 100000; done")
        with closed.started(ALICE, *command, stdout=subprocess.DEVNULL) as kubectl:
            assert kubectl.wait() != 0
        entry = logged(closed, "exec")
        assert (entry["reason"], entry["outcome"]) == ("recording_failed", "truncated")
        assert str(entry["recording_truncated"]).startswith(("it has reached", "the recorder"))
        assert recording(closed, entry)[1][-1][1] == "m"


def test_who_did_what_is_read_back_from_the_api_servers_own_log(
    streams: Streams, capsys: pytest.CaptureFixture[str]
) -> None:
    streams.kubectl(ALICE, "get", "pods")
    streams.kubectl(CAROL, "exec", "web", "--", "true", check=False)
    log = str(streams.cluster._audit_log)

    def asked(*arguments: str) -> list[dict[str, Any]]:
        assert main(["audit", log, "-n", streams.namespace, *arguments]) == 0
        return [json.loads(text) for text in capsys.readouterr().out.splitlines()]

    def denied() -> list[dict[str, Any]]:
        return asked("--user", CAROL, "--denied")

    streams.serve.wait_until(lambda: bool(denied()), "in the log")
    assert {event["objectRef"]["subresource"] for event in denied()} == {"exec"}
    listed = asked("--user", ALICE, "--verb=list", "--resource=pods", "--since=10m")
    assert {event["impersonatedUser"]["username"] for event in listed} == {ALICE}
    assert {event["stage"] for event in listed} == {"ResponseComplete"}
    assert main(["audit", log, "--user", CAROL, "--denied", "-o", "table"]) == 0
    assert "denied by RBAC" in capsys.readouterr().out
