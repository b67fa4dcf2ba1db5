"""What a request says of its session, and how a session ended."""

from __future__ import annotations

import json

import pytest

from proxy import requestinfo
from proxy.sessions.facts import (
    MAX_COMMAND,
    Facts,
    exit_status,
    is_session,
    reaches_kubelet,
    requested,
)
from tests.sessions.frames import status

POD = b"/api/v1/namespaces/a/pods/web/"


def facts(target: bytes) -> Facts:
    return requested(requestinfo.resolve(b"GET", target), target)


@pytest.mark.parametrize(
    ("target", "session", "kubelet"),
    [
        (POD + b"exec?command=sh", True, False),
        (POD + b"attach", True, False),
        (POD + b"portforward", True, False),
        (POD + b"log", False, False),
        (POD + b"proxy/exec", False, False),
        (b"/apis/example.com/v1/namespaces/a/pods/web/exec", False, False),
        (b"/api/v1/nodes/n/proxy/exec/a/web/main", False, True),
        (b"/api/v1/nodes/https:n:10250/proxy/run/a/web/main", False, True),
        (b"/api/v1/%6eodes/n/%70roxy/exec/a/web/main", False, True),
        (b"/apis/metrics.k8s.io/v1/nodes/n/proxy", False, False),
    ],
)
def test_which_requests_are_sessions(target: bytes, session: bool, kubelet: bool) -> None:
    info = requestinfo.resolve(b"GET", target)
    assert (is_session(info), reaches_kubelet(info)) == (session, kubelet)


def test_what_was_asked_for_is_read_as_go_reads_it() -> None:
    query = b"container=main&command=sh&command=-c&command=echo+%22a%26b%22&stdin=1&tty=true"
    assert facts(POD + b"exec?" + query) == Facts(
        "exec",
        container="main",
        command=("sh", "-c", 'echo "a&b"'),
        stdin=True,
        tty=True,
        exit_status="unknown",
    )
    assert not facts(POD + b"exec?tty=0&stdin=FALSE&command=a;b").tty
    assert facts(POD + b"exec?tty=").tty
    assert facts(POD + b"portforward?ports=80,443&ports=80&ports=x&ports=99999999").ports == (
        80,
        443,
    )


def test_a_long_command_is_cut_and_says_so() -> None:
    command = facts(POD + b"exec?command=sh&command=" + b"a" * 9000).command
    assert (command[0], command[1][-2:], len(command[1])) == ("sh", "a…", MAX_COMMAND - 1)
    assert facts(POD + b"exec?" + b"command=a&" * 1000).command[-1] == "…"


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        (status(0), 0),
        (status(3), 3),
        (status(137), 137),
        (b'{"status":"Failure","reason":"InternalError","message":"no such program"}', "failed"),
        (b'{"status":"Failure","reason":"NonZeroExitCode"}', "unknown"),
        (status(3).replace(b'"3"', b'"three"'), "unknown"),
        (status(3).replace(b'"3"', b"3"), "unknown"),
        (status(3)[:-1], "unknown"),
        (b"command terminated with non-zero exit code: exit status 3", "unknown"),  # v1 to v3
        (b"[" * 50_000, "unknown"),
        (b"null", "unknown"),
        (b"\xff", "unknown"),
        (b"", "unknown"),
    ],
)
def test_how_it_ended(document: bytes, expected: object) -> None:
    assert exit_status(document) == expected


def test_a_log_has_the_program_and_only_the_audit_has_its_arguments() -> None:
    asked = facts(POD + b"exec?command=mysql&command=-psecret&tty=1")
    asked.duration, asked.exit_status = 1.5, 0
    assert asked.fields() == {"program": "mysql", "tty": True, "exit_status": 0}
    prefix = "headlamp-auth-proxy.dev/session-"
    assert asked.annotations() == {
        f"{prefix}command": json.dumps(["mysql", "-psecret"]),
        f"{prefix}tty": "true",
        f"{prefix}duration": "1.500s",
        f"{prefix}bytes-in": "0",
        f"{prefix}bytes-out": "0",
        f"{prefix}exit-status": "0",
    }


def test_of_a_session_that_did_not_come_about_there_is_only_what_was_asked() -> None:
    asked = facts(POD + b"exec?command=ls&container=main")
    assert asked.fields() == {"container": "main", "program": "ls"}
    assert len(asked.annotations()) == 2
