"""Audit events: who, what, since when, and by whom it was denied."""

from __future__ import annotations

import json
from typing import Any

import pytest

from proxy.tools.audit.events import Event, Filter, NoEvent, Requests, parse
from tests.tools.audit.records import line

DOMAIN = "headlamp-auth-proxy.dev"
OWN_RIGHTS = "RBAC (of the proxy's own account)"


def made(audit_id: str = "1", **fields: Any) -> Event:
    return parse(line(audit_id, **fields))


def test_who_did_what() -> None:
    event = made(
        objectRef={"resource": "pods", "subresource": "exec", "namespace": "a", "name": "b"}
    )
    assert (event.user, event.verb, event.resource) == ("alice@example.com", "list", "pods/exec")
    assert (event.namespace, event.name, event.code) == ("a", "b", 200)
    assert event.at == 1795845600.0


def test_in_the_api_servers_own_log_it_is_whom_we_impersonate() -> None:
    event = made(
        user={"username": "system:serviceaccount:headlamp:headlamp", "groups": ["system:masters"]},
        impersonatedUser={"username": "alice@example.com", "groups": ["developers"]},
    )
    assert event.user == "alice@example.com"
    assert Filter(users=frozenset({"alice@example.com"})).takes(event)
    assert Filter(users=frozenset({"system:serviceaccount:headlamp:headlamp"})).takes(event)
    assert Filter(groups=frozenset({"developers"})).takes(event)


@pytest.mark.parametrize(
    ("code", "annotations", "by"),
    [
        (200, {}, ""),
        (404, {}, ""),
        (403, {f"{DOMAIN}/reason": "username_reserved"}, "proxy (username_reserved)"),
        (401, {f"{DOMAIN}/reason": "token_expired"}, "proxy (token_expired)"),
        (503, {f"{DOMAIN}/reason": "keys_unavailable"}, ""),
        (403, {"authorization.k8s.io/decision": "forbid"}, "RBAC"),
        (403, {f"{DOMAIN}/missing-rule": "list pods in namespace default"}, "RBAC"),
        (200, {f"{DOMAIN}/missing-rule": "list pods in namespace default"}, ""),
        (200, {"authorization.k8s.io/decision": "allow"}, ""),
        (403, {}, "API server"),
        (401, {}, "nobody known"),
        (
            403,
            {f"{DOMAIN}/outcome": "impersonation_forbidden"},
            "RBAC (of the proxy's own account)",
        ),
    ],
)
def test_by_whom_it_was_denied(code: int, annotations: dict[str, str], by: str) -> None:
    event = made(responseStatus={"code": code}, annotations=annotations)
    assert event.denied_by == by
    assert Filter(denied=True).takes(event) is bool(by)


@pytest.mark.parametrize(
    ("wanted", "taken"),
    [
        (Filter(), True),
        (Filter(since=1795845600.0), True),
        (Filter(since=1795845600.1), False),
        (Filter(verbs=frozenset({"list", "watch"})), True),
        (Filter(verbs=frozenset({"watch"})), False),
        (Filter(namespaces=frozenset({"shop"})), True),
        (Filter(namespaces=frozenset({"shop-2"})), False),
        (Filter(resources=frozenset({"pods"})), True),
        (Filter(resources=frozenset({"pods/exec"})), False),
        (Filter(groups=frozenset({"developer"})), False),
        (Filter(users=frozenset({"bob@example.com"})), False),
        (Filter(users=frozenset({"alice@example.com"}), denied=True), False),
    ],
)
def test_what_is_asked_for(wanted: Filter, taken: bool) -> None:
    assert wanted.takes(made()) is taken


def test_a_resource_means_its_subresources_too() -> None:
    event = made(objectRef={"resource": "pods", "subresource": "exec"})
    assert Filter(resources=frozenset({"pods"})).takes(event)
    assert Filter(resources=frozenset({"pods/exec"})).takes(event)
    assert not Filter(resources=frozenset({"pods/attach"})).takes(event)


def test_of_the_stages_of_a_request_the_last_is_shown_and_others_where_it_is_missing() -> None:
    requests = Requests()
    assert requests.add(made("1", stage="RequestReceived")) is None
    assert requests.add(made("2", stage="RequestReceived")) is None
    assert requests.add(made("2", stage="ResponseStarted")) is None
    assert requests.add(last := made("1")) is last
    assert [(event.audit_id, event.stage) for event in requests.under_way()] == [
        ("2", "ResponseStarted")
    ]


def test_of_whom_nobody_knows_there_is_one_event_only() -> None:
    nobody = made(stage="ResponseStarted", user={}, responseStatus={"code": 401})
    assert Requests().add(nobody) is nobody


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"", "no JSON"),
        (b"{", "no JSON"),
        (b"\xff", "no JSON"),
        (b"[" * 100_000, "no JSON"),
        (b"[]", "kind"),
        (b'{"kind":"Pod"}', "kind"),
        (b'{"kind":"Event","apiVersion":"v1"}', "apiVersion"),
        (b'{"kind":"Event","apiVersion":"audit.k8s.io/v1"}', "requestReceivedTimestamp"),
        (None, "too long"),
    ],
)
def test_what_is_no_event_says_why(text: bytes | None, why: str) -> None:
    with pytest.raises(NoEvent, match=why):
        parse(text)


def test_fields_of_other_types_than_they_should_have_are_empty() -> None:
    names = ("user", "objectRef", "annotations", "verb", "auditID")
    wrong: dict[str, Any] = {name: [1] for name in names}
    event = made(**wrong, responseStatus={"code": "x"}, impersonatedUser={"groups": "a"})
    assert (event.user, event.verb, event.resource, event.code) == ("", "", "", 0)
    json.dumps(event.document)
