"""What an event says, and what it never does."""

from __future__ import annotations

import json
from typing import Any

import pytest

from proxy.audit.event import (
    COMPLETE,
    User,
    asked,
    client,
    ending,
    event,
    members,
    request_status,
    request_uri,
    status_of,
    unauthenticated,
    users,
)
from proxy.audit.timestamps import Timestamps
from proxy.errors import TooManyRequests

TARGET = b"/apis/apps/v1/namespaces/default/deployments/web/scale?x=1"
ALICE = User(
    "alice@example.com", ("team", "system:authenticated"), "7", (("a/b", "1"), ("a/b", "2"))
)


def event_of(
    target: bytes = TARGET,
    user: User | None = ALICE,
    impersonated: User | None = None,
    source_ips: tuple[str, ...] = ("10.0.0.1",),
    user_agent: bytes = b"kubectl",
) -> dict[str, Any]:
    wanted, reference = asked(b"PUT", target)
    line = event(
        COMPLETE,
        "0f8fad5b-d9cb-469f-a165-70867728950e",
        wanted + users(user, impersonated) + client(source_ips, user_agent) + reference,
        Timestamps().members(1_790_000_000.0000015, 1_790_000_001.5),
        request_status(200, None),
        ending(members({"k": "v"}), members({})),
    )
    assert line.isascii()
    assert "\n" not in line
    said: dict[str, Any] = json.loads(line)
    return said


def test_it_is_what_kube_apiserver_would_write() -> None:
    assert list(event_of().items()) == [
        ("kind", "Event"),
        ("apiVersion", "audit.k8s.io/v1"),
        ("level", "Metadata"),
        ("auditID", "0f8fad5b-d9cb-469f-a165-70867728950e"),
        ("stage", "ResponseComplete"),
        ("requestURI", "/apis/apps/v1/namespaces/default/deployments/web/scale?x=1"),
        ("verb", "update"),
        (
            "user",
            {
                "username": "alice@example.com",
                "uid": "7",
                "groups": ["team", "system:authenticated"],
                "extra": {"a/b": ["1", "2"]},
            },
        ),
        ("sourceIPs", ["10.0.0.1"]),
        ("userAgent", "kubectl"),
        (
            "objectRef",
            {
                "resource": "deployments",
                "namespace": "default",
                "name": "web",
                "apiGroup": "apps",
                "apiVersion": "v1",
                "subresource": "scale",
            },
        ),
        ("responseStatus", {"metadata": {}, "code": 200}),
        ("requestReceivedTimestamp", "2026-09-21T14:13:20.000001Z"),
        ("stageTimestamp", "2026-09-21T14:13:21.500000Z"),
        ("annotations", {"k": "v"}),
    ]


def test_what_does_not_apply_is_absent() -> None:
    said = event_of(target=b"/version", user=None, source_ips=(), user_agent=b"")
    assert said["user"] == {}
    assert not {"objectRef", "sourceIPs", "userAgent", "impersonatedUser"} & said.keys()
    assert event_of(impersonated=User("bob"))["impersonatedUser"] == {"username": "bob"}


def test_a_client_cannot_fill_or_forge_a_line() -> None:
    said = event_of(user_agent=b'"\n\xff' + b"a" * 2000, target=b'/a"\x1b\xff?\xff')
    assert said["userAgent"].startswith('"\n\ufffd')
    assert said["userAgent"].endswith("a...TRUNCATED")
    assert len(said["userAgent"]) < 1100
    assert said["requestURI"] == '/a"%1B%FF?%FF'


@pytest.mark.parametrize(
    ("target", "uri"),
    [
        (b"/a?access_token=s3cret", "/a?access_token=[redacted]"),
        (b"/a?x=1&token=s3cret&y=2", "/a?x=1&token=[redacted]&y=2"),
        (b"/a?X-Amz-Security-Token=s3cret", "/a?X-Amz-Security-Token=[redacted]"),
        (b"/a?clientSecret=s3cret&api_key=s3cret", "/a?clientSecret=[redacted]&api_key=[redacted]"),
        (b"/a?Password=s3cret", "/a?Password=[redacted]"),
        (b"/token=1/a?command=sh&command=-c", "/token=1/a?command=sh&command=-c"),
        (b"/a?fieldSelector=metadata.name%3Dtoken", "/a?fieldSelector=metadata.name%3Dtoken"),
        (b"/a?", "/a?"),
        (b"//a/%2F/../?", "//a/%2F/../?"),
    ],
)  # fmt: skip
def test_a_secret_in_a_query_is_masked_and_the_rest_is_as_it_came(target: bytes, uri: str) -> None:
    assert request_uri(target) == uri


def test_a_refusal_has_its_reason_and_message() -> None:
    assert status_of(429, TooManyRequests("for the log")) == {
        "metadata": {},
        "status": "Failure",
        "message": TooManyRequests.message,
        "reason": "TooManyRequests",
        "code": 429,
    }
    assert status_of(200, TooManyRequests()) == {"metadata": {}, "code": 200}  # it was cut later
    assert status_of(0, None)["message"] == "Connection closed early"


@pytest.mark.parametrize("code", [0, 200, 429])
@pytest.mark.parametrize("error", [None, TooManyRequests()])
def test_a_status_is_written_as_it_is(code: int, error: TooManyRequests | None) -> None:
    said = json.loads(f"{{{request_status(code, error)[1:]}}}")
    assert said == {"responseStatus": status_of(code, error)}


def test_without_annotations_there_is_no_word_of_them() -> None:
    assert ending("", members({})) == "}"


@pytest.mark.parametrize(
    ("authorization", "how"),
    [
        ([], "no credentials provided"),
        ([b"Bearer"], "no credentials provided"),
        ([b"Bearer x"], "attempted: bearer"),
        ([b"bearer x"], "attempted: bearer"),
        ([b"Basic x"], "attempted: basic"),
        ([b"Digest x"], "no credentials provided"),
    ],
)
def test_of_whom_nobody_knows_it_says_what_was_tried(authorization: list[bytes], how: str) -> None:
    status = unauthenticated(authorization)
    assert status == {"metadata": {}, "message": f"Authentication failed, {how}", "code": 401}
