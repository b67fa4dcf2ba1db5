from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from proxy import errors
from proxy.denial import Bearer
from proxy.http.service import Admission
from proxy.impersonation import Impersonation
from proxy.missing_rule import MissingRule
from proxy.observe.access_log import AccessLog
from proxy.observe.log_writer import LogWriter
from proxy.speaker import PassedThrough
from tests.observe.conftest import Reader
from tests.observed import Observed

TARGET = b"/api/v1/namespaces/n%61/pods/p/exec?command=cat&command=/secret&token=abc"


def acting(username: str, *groups: str, original: str = "") -> Impersonation:
    return Impersonation(username, groups, b"", 0, original=original)


def by(identity: Impersonation | PassedThrough) -> Admission:
    return Admission(identity, Bearer("alice@example.com"))


ALICE = acting("alice@example.com", "dev", "ops")
EXCHANGE = Observed(
    by(ALICE), b"POST", TARGET, b"kubectl/v1.36", "upgrade", address="127.0.0.1:50000"
)


def write(log: AccessLog, observed: Observed) -> None:
    log.write([observed.exchange()])


class Lines:
    def __init__(self, writer: LogWriter, reader: Reader) -> None:
        self._log = AccessLog(writer)
        self._reader = reader

    def of(self, **changes: Any) -> dict[str, Any]:
        """The one line that the exchange above, so changed, leaves."""
        write(self._log, replace(EXCHANGE, **changes))
        (line,) = self._reader.finish()
        fields = json.loads(line)
        assert isinstance(fields, dict)
        return fields


@pytest.fixture
def lines(writer: LogWriter, reader: Reader) -> Lines:
    return Lines(writer, reader)


def test_a_request_is_one_line(lines: Lines) -> None:
    fields = lines.of()
    assert fields.pop("ts") == "2026-01-01T00:00:00.500Z"
    assert fields == {
        "level": "info",
        "event": "request",
        "audit_id": "0f8fad5b-d9cb-469f-a165-70867728950e",
        "method": "POST",
        "path": "/api/v1/namespaces/n%61/pods/p/exec",
        "verb": "create",
        "resource": "pods",
        "subresource": "exec",
        "namespace": "na",
        "user": "alice@example.com",
        "groups": ["dev", "ops"],
        "code": 200,
        "kind": "upgrade",
        "duration_ms": 1500.0,
        "upstream_ms": 12.346,
        "bytes_in": 10,
        "bytes_out": 20,
        "client": "127.0.0.1:50000",
        "user_agent": "kubectl/v1.36",
    }


def test_a_refusal_names_its_reason_and_what_the_operator_may_know(lines: Lines) -> None:
    fields = lines.of(
        target=b"/version",
        status=401,
        admission=None,
        answered_at=0.0,
        user_agent=b"",
        error=errors.AudienceMismatch("aud is 'other'"),
    )
    del fields["ts"], fields["duration_ms"]
    assert fields == {
        "level": "info",
        "event": "request",
        "audit_id": "0f8fad5b-d9cb-469f-a165-70867728950e",
        "method": "POST",
        "path": "/version",
        "verb": "post",
        "code": 401,
        "reason": "audience_mismatch",
        "detail": "aud is 'other'",
        "kind": "upgrade",
        "bytes_in": 10,
        "bytes_out": 20,
        "client": "127.0.0.1:50000",
    }


def test_a_refusal_without_detail_has_none(lines: Lines) -> None:
    fields = lines.of(error=errors.TokenMissing())
    assert fields["reason"] == "token_missing"
    assert "detail" not in fields


@pytest.mark.parametrize(
    ("change", "outcome"),
    [
        ({"error": errors.UpstreamReset(), "truncated": True}, "truncated"),
        ({"impersonation_forbidden": True}, "impersonation_forbidden"),
        ({"client_left": True}, "client_left"),
        ({"status": 101}, "upstream_ended"),
    ],
)
def test_what_the_status_does_not_say_is_the_outcome(
    lines: Lines, change: dict[str, Any], outcome: str
) -> None:
    assert lines.of(**change)["outcome"] == outcome


def test_long_fields_are_cut(lines: Lines) -> None:
    fields = lines.of(
        target=b"/" + b"p" * 5000,
        user_agent=b"u" * 5000,
        admission=by(acting("alice", *(f"g{number}" for number in range(100)))),
    )
    assert fields["path"] == "/" + "p" * 1023
    assert fields["user_agent"] == "u" * 256
    assert fields["groups"] == [f"g{number}" for number in range(32)]


def test_bytes_that_are_no_text_do_not_stop_a_line(lines: Lines) -> None:
    fields = lines.of(target=b"/\xff", user_agent=b"\xfe\r\n", method=b"\xff")
    assert fields["path"] == "/\ufffd"
    assert fields["user_agent"] == "\ufffd\r\n"


def test_a_token_in_the_path_is_masked(lines: Lines) -> None:
    token = b"eyJhbGciOiJSUzI1NiJ9.eyJlbWFpbCI6ImFsaWNlIn0.c2lnbmF0dXJl"
    assert lines.of(target=b"/login/" + token)["path"] == "/login/[redacted]"


@pytest.mark.parametrize(
    "change",
    [
        {"method": b"GET"}, {"target": b"/other"},
        {"target": TARGET.replace(b"n%61", b"other")},
        {"admission": None},
        {"admission": by(acting("bob@example.com", "dev", "ops"))},
        {"admission": by(acting("alice@example.com", "dev"))},
        {"admission": by(acting("alice@example.com", "dev", "ops", original="bob"))},
        {"admission": by(PassedThrough("alice@example.com", ("dev", "ops"), b""))},
        {"address": "unix"}, {"user_agent": b"other"}, {"forwarded_for": (b"10.0.0.1",)},
        {"status": 403}, {"client_left": True}, {"missing": MissingRule("list")},
        {"audit_id": "other"}, {"kind": "unary"}, {"bytes_received": 11}, {"bytes_sent": 21},
        {"ended_at": 3.0}, {"answered_at": 1.5},
    ],
    ids=str,
)  # fmt: skip
def test_no_line_says_what_only_another_was_to_say(
    writer: LogWriter, reader: Reader, change: dict[str, Any]
) -> None:
    log = AccessLog(writer)
    for exchange in (EXCHANGE, replace(EXCHANGE, **change), EXCHANGE):
        write(log, exchange)
    first, other, again = (json.loads(line) for line in reader.finish())
    for fields in (first, other, again):
        del fields["ts"]
    assert first == again != other
