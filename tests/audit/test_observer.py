"""Which events an exchange leaves, on a running data plane."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from ipaddress import ip_network
from types import SimpleNamespace
from typing import Any, cast

import pytest

from proxy.audit.observer import AuditObserver
from proxy.audit.policy import NO_STAGES, STAGES, Policy, Rule
from proxy.denial import Bearer
from proxy.errors import ImpersonationNotAllowed, MalformedRequest
from proxy.http.exchange import Exchange
from proxy.http.head import RequestHead
from proxy.http.service import Admission
from proxy.impersonation import impersonate_requested
from proxy.observe.all_of import all_of
from proxy.observe.together import Together
from proxy.server.auditing import Audit
from proxy.userinfo import UserInfo
from tests.conftest import Tls
from tests.http.conftest import POLICY, Proxy, Recorder, identity, run_proxy
from tests.http.test_exchange import GET, OK
from tests.http.test_tunnel import EXEC, SWITCH
from tests.wire import Upstream

WATCH = GET.replace(b"pods", b"pods?watch=1")
NEVER = "alice-left-out"
ALL = Policy([Rule(NO_STAGES, users=frozenset({NEVER})), Rule(frozenset(STAGES))])
ALICE = {
    "username": "alice",
    "groups": ["developers", "headlamp-auth-proxy:authenticated", "system:authenticated"],
}


@dataclass
class Lines:
    """A sink that keeps what it is told."""

    lines: list[str]

    def write(self, *lines: str) -> None:
        self.lines += lines


class Audited:
    """A data plane that is audited, and the events so far."""

    def __init__(self, proxy: Proxy) -> None:
        self.proxy = proxy
        self.observer: AuditObserver
        self.together: Together
        self.lines: list[str] = []
        self.ended = Recorder()

    def write(self, *lines: str) -> None:
        self.lines += lines

    async def events(self) -> list[dict[str, Any]]:
        """All events, once an exchange has ended."""
        await self.ended.ended_exchanges(1)
        self.together.flush()
        return [json.loads(line) for line in self.lines]


@pytest.fixture
async def audited(tls: Tls) -> AsyncIterator[Audited]:
    async with Upstream.run(tls.server) as upstream, run_proxy(tls, upstream) as proxy:
        seen = Audited(proxy)
        observer = seen.observer = AuditObserver(ALL, [seen], [ip_network("127.0.0.0/8")])
        together = seen.together = Together([observer])
        watching = all_of([together, seen.ended])
        proxy.listener.service = replace(proxy.service, observer=watching)
        yield seen


def stages(events: list[dict[str, Any]]) -> list[tuple[str, int | None]]:
    return [(e["stage"], e.get("responseStatus", {}).get("code")) for e in events]


async def test_a_request_is_received_and_complete(audited: Audited) -> None:
    client, api = await audited.proxy.asked(GET)
    api.send(OK)
    answer = await client.answer()
    events = await audited.events()
    assert stages(events) == [("RequestReceived", None), ("ResponseComplete", 200)]
    assert {e["auditID"] for e in events} == {answer.headers["audit-id"]}
    assert all(e["user"] == ALICE and e["sourceIPs"] == ["127.0.0.1"] for e in events)
    assert "annotations" not in events[1]


async def test_of_a_watch_it_is_told_that_it_began(audited: Audited) -> None:
    client, api = await audited.proxy.asked(WATCH)
    api.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n")
    await client.read_until(b"{}")
    began = [json.loads(line) for line in audited.lines]
    assert stages(began) == [("RequestReceived", None), ("ResponseStarted", 200)]
    api.send(b"0\r\n\r\n")
    assert stages(await audited.events())[2:] == [("ResponseComplete", 200)]


async def test_a_session_is_a_101_and_says_how_it_ended(audited: Audited) -> None:
    client, api = await audited.proxy.asked(EXEC)
    api.send(SWITCH)
    await client.read_head()
    await client.gone()
    events = await audited.events()
    assert stages(events) == [
        ("RequestReceived", None),
        ("ResponseStarted", 101),
        ("ResponseComplete", 101),
    ]
    assert events[2]["annotations"] == {"headlamp-auth-proxy.dev/outcome": "client_left"}


@pytest.mark.parametrize(
    ("target", "words", "annotations"),
    [
        (
            b"/api/v1/namespaces/default/pods",
            b'pods is forbidden: User "alice" cannot list resource "pods" in API group ""',
            {"headlamp-auth-proxy.dev/missing-rule": "list pods in namespace default"},
        ),
        (b"/api/v1/namespaces/default/pods", b"pods is forbidden: exceeded quota", None),
        (
            b"/api/v1/namespaces/default/pods",
            b'users "alice" is forbidden: User "proxy" cannot impersonate resource "users"',
            {"headlamp-auth-proxy.dev/outcome": "impersonation_forbidden"},
        ),
        (  # where whoever listens there can say so
            b"/api/v1/namespaces/default/services/web/proxy/",
            b'pods is forbidden: User "alice" cannot list resource "pods" in API group ""',
            None,
        ),
    ],
)
async def test_what_rbac_has_refused_says_which_rule_is_missing(
    audited: Audited, target: bytes, words: bytes, annotations: dict[str, str] | None
) -> None:
    client, api = await audited.proxy.asked(GET.replace(b"/api/v1/pods", target))
    head = b"HTTP/1.1 403 Forbidden\r\nContent-Length: %d\r\n\r\n" % len(words)
    api.send(head + words)
    await client.answer()
    assert (await audited.events())[-1].get("annotations") == annotations


async def test_a_client_that_does_not_wait_for_its_answer_is_told_of(audited: Audited) -> None:
    client, _api = await audited.proxy.asked(GET)
    await client.gone()
    event = (await audited.events())[-1]
    assert event["responseStatus"]["message"] == "Connection closed early"
    assert event["annotations"] == {"headlamp-auth-proxy.dev/outcome": "client_left"}


class Annotating(Recorder):
    """Finds something out about each request."""

    def admitted(self, exchange: Exchange) -> None:
        exchange.annotations["example.com/found"] = "out"


async def test_what_others_find_out_is_said(audited: Audited) -> None:
    watching = all_of([Annotating(), audited.together, audited.ended])
    audited.proxy.listener.service = replace(audited.proxy.service, observer=watching)
    client, api = await audited.proxy.asked(GET)
    api.send(OK)
    await client.answer()
    assert (await audited.events())[-1]["annotations"] == {"example.com/found": "out"}


async def test_whoever_could_not_be_authenticated_has_one_event_with_the_reason(
    audited: Audited,
) -> None:
    client = await audited.proxy.client()
    client.send(b"GET /api/v1/pods HTTP/1.1\r\nHost: x\r\n\r\n")
    await client.answer()
    (event,) = await audited.events()
    assert (event["stage"], event["user"]) == ("ResponseStarted", {})
    assert event["responseStatus"]["message"] == "Authentication failed, no credentials provided"
    assert event["annotations"] == {"headlamp-auth-proxy.dev/reason": "token_missing"}


async def test_what_could_not_be_read_as_a_request_has_one_event_with_what_is_known(
    audited: Audited,
) -> None:
    client = await audited.proxy.client()
    client.send(b"GET /api/v1/pods\r\nHost: x\r\n\r\n")
    answer = await client.answer()
    (event,) = [json.loads(line) for line in audited.lines]
    assert event["auditID"] == answer.headers["audit-id"]
    assert (event["stage"], event["user"], event["sourceIPs"]) == (
        "ResponseComplete",
        {},
        ["127.0.0.1"],
    )
    assert (event["requestURI"], event["verb"], "objectRef" in event) == ("", "", False)
    status = event["responseStatus"]
    assert (status["code"], status["reason"]) == (answer.status, "BadRequest")
    assert event["annotations"]["headlamp-auth-proxy.dev/reason"] == "malformed_request"


@pytest.mark.parametrize(
    ("rule", "is_told"),
    [
        (Rule(frozenset(STAGES), verbs=frozenset({"get"})), False),
        (Rule(frozenset(STAGES), user_groups=frozenset({"system:unauthenticated"})), False),
        (Rule(frozenset(STAGES), non_resource_urls=("/api*",)), False),
        (Rule(frozenset({"RequestReceived"})), False),
        (Rule(NO_STAGES), False),
        (Rule(frozenset(STAGES), non_resource_urls=("*",)), True),
    ],
)
def test_a_rule_that_asks_for_what_is_not_known_does_not_match_it(
    rule: Rule, is_told: bool
) -> None:
    lines: list[str] = []
    observer = AuditObserver(Policy([rule]), [Lines(lines)])
    observer.unreadable(MalformedRequest("no"), "unix", "0f8fad5b")
    assert bool(lines) is is_told
    assert all("sourceIPs" not in json.loads(line) for line in lines)


async def test_another_policy_counts_from_the_next_request_on(audited: Audited) -> None:
    client, api = await audited.proxy.asked(GET)
    audited.together.flush()  # as a twentieth of a second would
    audited.observer.take(Policy([Rule(NO_STAGES)]))
    api.send(OK)
    await client.answer()
    assert stages(await audited.events()) == [("RequestReceived", None), ("ResponseComplete", 200)]
    client.send(GET)
    await api.read_head()
    api.send(OK)
    await client.answer()
    await audited.ended.ended_exchanges(2)
    audited.together.flush()
    assert len(audited.lines) == 2


AT_ITS_END = Policy([Rule(frozenset({"ResponseComplete"}))])


def test_beginnings_matter_where_the_policy_in_force_asks_for_them() -> None:
    observer = AuditObserver(ALL, [])
    assert observer.early
    observer.take(AT_ITS_END)
    assert not observer.early


async def test_where_nothing_is_told_before_the_end_all_is_told_then(audited: Audited) -> None:
    audited.observer.take(AT_ITS_END)
    _, api = await audited.proxy.asked(GET)
    api.send(OK)
    (event,) = await audited.events()
    assert stages([event]) == [("ResponseComplete", 200)]
    assert event["user"] == ALICE
    assert event["requestReceivedTimestamp"] < event["stageTimestamp"]


async def test_when_it_ended_is_told_and_not_when_that_was_told(audited: Audited) -> None:
    _, api = await audited.proxy.asked(GET)
    api.send(OK)
    await audited.ended.ended_exchanges(1)
    later = datetime.now(UTC)
    event = (await audited.events())[-1]
    assert datetime.fromisoformat(event["stageTimestamp"]) <= later


async def test_a_clock_that_is_set_during_a_stream_says_when_that_ended(
    audited: Audited, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, api = await audited.proxy.asked(WATCH)
    api.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n")
    await client.read_until(b"{}")
    now = time.time
    monkeypatch.setattr("proxy.http.exchange.time", lambda: now() + 3600)
    api.send(b"0\r\n\r\n")
    event = (await audited.events())[-1]
    came, ended = (event[name] for name in ("requestReceivedTimestamp", "stageTimestamp"))
    lasted = datetime.fromisoformat(ended) - datetime.fromisoformat(came)
    assert lasted.total_seconds() >= 3600


async def test_a_sink_that_fails_has_no_other_told_twice(audited: Audited) -> None:
    class Failing(Lines):
        def write(self, *lines: str) -> None:
            raise ValueError(lines)

    audited.together = Together([AuditObserver(ALL, [audited, Failing([])])])
    watching = all_of([audited.together, audited.ended])
    audited.proxy.listener.service = replace(audited.proxy.service, observer=watching)
    for number in (1, 2):
        client, api = await audited.proxy.asked(GET)
        api.send(OK)
        await client.answer()
        await audited.ended.ended_exchanges(number)
        await audited.events()
        await api.end("close")
    assert len(audited.lines) == 4


async def test_what_ended_before_another_policy_is_told_by_the_old(
    audited: Audited, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proxy.observe.together.COLLECTING", 3600.0)
    followed: Any = SimpleNamespace(on_change=None)
    Audit(audited.observer, followed).follow(audited.together.flush)
    _, api = await audited.proxy.asked(GET)
    api.send(OK)
    await audited.ended.ended_exchanges(1)
    followed.on_change(Policy([Rule(NO_STAGES)]))
    assert stages(await audited.events()) == [("RequestReceived", None), ("ResponseComplete", 200)]


async def test_one_that_cannot_be_told_keeps_no_other_from_it(
    audited: Audited, caplog: pytest.LogCaptureFixture
) -> None:
    _, api = await audited.proxy.asked(GET)
    audited.observer.ended([cast("Exchange", object())])
    api.send(OK)
    assert stages(await audited.events())[-1] == ("ResponseComplete", 200)
    assert "could not be audited" in caplog.text


async def test_a_refusal_is_audited_with_the_person_where_they_are_known(
    audited: Audited, monkeypatch: pytest.MonkeyPatch
) -> None:
    def admit(_head: RequestHead, _now: float) -> Admission:
        error = ImpersonationNotAllowed("as bob")
        error.bearer = Bearer("alice", ("developers",), "https://idp", "userid:1", "7", "laptop.")
        raise error

    monkeypatch.setattr(audited.proxy.gate, "admit", admit)
    client = await audited.proxy.client()
    client.send(WATCH)
    await client.answer()
    events = await audited.events()
    assert stages(events) == [
        ("RequestReceived", None),
        ("ResponseStarted", 403),
        ("ResponseComplete", 403),
    ]
    groups = ["developers", "system:authenticated"]
    assert events[2]["user"] == {"username": "alice", "groups": groups}
    assert events[2]["responseStatus"]["reason"] == "Forbidden"
    domain = "headlamp-auth-proxy.dev"
    assert events[2]["annotations"] == {
        f"{domain}/token-issuer": "https://idp",
        f"{domain}/token-subject": "userid:1",
        f"{domain}/token-id": "7",
        f"{domain}/token-node": "laptop.",
        f"{domain}/reason": "impersonation_not_allowed",
        f"{domain}/detail": "as bob",
    }


async def test_who_asked_to_be_somebody_else_is_the_user(
    audited: Audited, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = UserInfo("bob", groups=("ops",))

    def admit(_head: RequestHead, _now: float) -> Admission:
        acting = impersonate_requested(wanted, identity("alice"), POLICY)
        return Admission(acting, Bearer("alice", ("developers",)))

    monkeypatch.setattr(audited.proxy.gate, "admit", admit)
    client, api = await audited.proxy.asked(GET)
    api.send(OK)
    await client.answer()
    for event in await audited.events():
        assert event["user"]["username"] == "alice"
        assert event["impersonatedUser"]["username"] == "bob"
        assert event["impersonatedUser"]["extra"] == {
            "headlamp-auth-proxy.dev/original-user": ["alice"]
        }


async def test_whom_the_policy_leaves_out_has_no_event(audited: Audited) -> None:
    client, api = await audited.proxy.asked(WATCH.replace(b"alice", NEVER.encode()))
    api.send(OK)
    await client.answer()
    assert await audited.events() == []


async def test_the_api_server_that_fails_is_a_refusal_too(audited: Audited) -> None:
    client, api = await audited.proxy.asked(GET.replace(b"GET", b"DELETE"))
    await api.end("reset")
    await client.answer()
    events = await audited.events()
    assert stages(events)[1:] == [("ResponseComplete", 502)]
    assert events[1]["annotations"]["headlamp-auth-proxy.dev/reason"] == "upstream_reset"


async def test_an_answer_that_is_cut_keeps_its_code(audited: Audited) -> None:
    client, api = await audited.proxy.asked(GET)
    api.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n123")
    await client.read_until(b"123")
    await api.end("reset")
    events = await audited.events()
    assert stages(events)[1:] == [("ResponseComplete", 200)]
    assert events[1]["annotations"]["headlamp-auth-proxy.dev/outcome"] == "truncated"


async def test_what_a_client_claims_is_no_source_address(audited: Audited) -> None:
    claiming = b"\r\nX-Forwarded-For: 6.6.6.6, 100.64.1.2\r\n\r\n"
    client, api = await audited.proxy.asked(GET.replace(b"\r\n\r\n", claiming))
    api.send(OK)
    await client.answer()
    events = await audited.events()
    assert all(event["sourceIPs"] == ["100.64.1.2", "127.0.0.1"] for event in events)
    claimed = "headlamp-auth-proxy.dev/forwarded-for-unverified"
    assert events[1]["annotations"] == {claimed: "6.6.6.6"}


async def test_no_secret_of_a_request_is_in_an_event(audited: Audited) -> None:
    secret = b"s3cret"
    jwt = b"eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9.s3cret"
    asking = GET.replace(
        b"/pods HTTP/1.1\r\n",
        b"/pods?access_token=%s&x=%s HTTP/1.1\r\nCookie: a=%s\r\nX-Api-Key: %s\r\n"
        b"User-Agent: a %s\r\n" % (secret, jwt, secret, secret, jwt),
    ).replace(b"Bearer alice", b"Bearer s3cret-of-alice")
    client, api = await audited.proxy.asked(asking)
    api.send(OK.replace(b"\r\n\r\n", b"\r\nSet-Cookie: a=s3cret\r\n\r\n"))
    await client.answer()
    assert len(await audited.events()) == 2
    told = "\n".join(audited.lines).replace("s3cret-of-alice", "")  # the gate's word for the user
    assert "s3cret" not in told
