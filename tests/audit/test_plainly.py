"""Whatever is remembered, an event is byte for byte what it would be if nothing were.

Here each is written the plain way: a dictionary, encoded whole, and then searched for tokens.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from ipaddress import ip_network
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from proxy.audit import memory
from proxy.audit.event import MAX_USER_AGENT, request_uri, status_of
from proxy.audit.observer import AuditObserver
from proxy.audit.policy import NO_STAGES, Policy, Rule, Stages
from proxy.denial import Bearer
from proxy.errors import ImpersonationNotAllowed, UpstreamReset
from proxy.forwarded import chain
from proxy.http.exchange import Exchange
from proxy.http.service import Admission
from proxy.impersonation import Impersonation
from proxy.observe.access_log import outcome_of
from proxy.observe.redaction import redact
from proxy.rights import DOMAIN
from proxy.speaker import PassedThrough
from tests.audit.asking import PODS, asking
from tests.observed import Observed

NETWORKS = [ip_network("10.0.0.0/24")]
JWT = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9.c2VjcmV0"
BOTH: Stages = frozenset({"RequestReceived", "ResponseComplete"})
POLICIES = [
    Policy([Rule(NO_STAGES, users=frozenset({"carol"})), Rule(BOTH)]),
    Policy([Rule(frozenset({"ResponseComplete"}), verbs=frozenset({"list"})), Rule(BOTH)]),
]


def someone(
    name: str, *groups: str, uid: str = "", original: str = "", token: str = ""
) -> Admission:
    extra = (("example.com/x", "1"), ("example.com/x", "2")) if uid else ()
    acting = Impersonation(name, groups, b"", 0, uid, extra, original)
    return Admission(acting, Bearer(original or name, groups, "https://idp", token_id=token))


# Some differ from each other in little, and what asks is the same object or an equal one.
ASKERS = [
    someone("alice", "a"),
    someone("alice", "a"),
    someone("alice", "a", "b"),
    someone("alice", "a", uid="7"),
    someone("alice", "a", token="8"),
    someone("alice", "a", original="bob"),
    someone('alicé\x7f"\\', "Bearer " + JWT),
    someone("carol"),
    Admission(PassedThrough("robot", ("a",), b"Authorization: Bearer x\r\n"), Bearer("robot")),
]
TARGETS = st.sampled_from(
    [
        PODS,
        PODS + b"/",
        PODS + b"?limit=1",
        PODS + b"?access_token=s3cret&x=1",
        PODS + b"?x=" + JWT.encode(),
        b"/apis/apps/v1/namespaces/default/deployments/web/scale",
        b"/apis/apps/v1/namespaces/default/deployments/web/scalf",
        b'/api/v1/namespaces/\xc3\xa9"/pods',
        b"/version",
        PODS + b"?" + b"x" * 300,
    ]
)
AGENTS = st.sampled_from([b"", b"kubectl", b"kubectm", b'a\xff"', b"x" * 300, b"x" * 1025]) | (
    st.just(b"Bearer " + JWT.encode())
)
CLAIMS = st.sampled_from(
    [(), (b"6.6.6.6",), (b"6.6.6.6, 100.64.1.2",), (b"6.6.6.6", b"100.64.1.2")]
)
FATES: list[dict[str, Any]] = [
    {},
    {"status": 404},
    {"status": 0, "client_left": True},
    {"status": 502, "error": UpstreamReset(f"Bearer {JWT}")},
    {"status": 403, "error": ImpersonationNotAllowed("as bob")},
    {"annotations": {"example.com/found": "out"}},
]


@st.composite
def askings(draw: st.DrawFn) -> Observed:
    received = draw(st.floats(1_790_000_000, 1_790_000_003))
    return asking(
        draw(st.sampled_from(ASKERS)),
        draw(TARGETS),
        user_agent=draw(AGENTS),
        forwarded_for=draw(CLAIMS),
        address=draw(st.sampled_from(["10.0.0.1", "10.0.1.1", "::1", "unix"])),
        method=draw(st.sampled_from([b"GET", b"PUT"])),
        audit_id=str(draw(st.uuids())),
        received_at=received,
        completed_at=received + draw(st.floats(0, 0.01) | st.floats(0, 5)),
        **draw(st.sampled_from(FATES)),
    )


@given(
    st.sampled_from([2, memory.REMEMBERED]),
    st.sampled_from(POLICIES),
    st.lists(st.lists(st.tuples(askings(), st.booleans()), max_size=8), max_size=6),
)
@example(memory.REMEMBERED, POLICIES[0], [[(asking(asker), True)] for asker in ASKERS])
@example(memory.REMEMBERED, POLICIES[1], [[(asking(asker), False)] for asker in ASKERS])
def test_events_are_those_that_are_written_plainly(
    remembered: int, policy: Policy, batches: list[list[tuple[Observed, bool]]]
) -> None:
    lines: list[str] = []
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(memory, "REMEMBERED", remembered)
        sink: Any = Sink(lines)
        observer = AuditObserver(policy, [sink], NETWORKS)
        plain: list[str] = []
        for batch in batches:
            asked = [(observed.exchange(), early) for observed, early in batch]
            told_early = [exchange for exchange, early in asked if early]
            observer.admitted(told_early)
            if observer.early:
                plain += [line for exchange in told_early for line in received(policy, exchange)]
            for exchange, _ in asked:
                exchange.ended_at = 2.0
            observer.ended([exchange for exchange, _ in asked])
            for exchange, early in asked:
                plain += () if early and observer.early else received(policy, exchange)
                plain += complete(policy, exchange)
    assert lines == plain


class Sink:
    def __init__(self, lines: list[str]) -> None:
        self.lines = lines

    def write(self, *lines: str) -> None:
        self.lines += lines


def received(policy: Policy, exchange: Exchange) -> Iterator[str]:
    if "RequestReceived" in stages(policy, exchange):
        yield written(exchange, "RequestReceived", exchange.received_at)


def complete(policy: Policy, exchange: Exchange) -> Iterator[str]:
    if "ResponseComplete" in stages(policy, exchange):
        status = status_of(exchange.status, exchange.error)
        yield written(exchange, "ResponseComplete", exchange.completed_at, status, noted(exchange))


def person(exchange: Exchange) -> tuple[str, Sequence[str]]:
    """Who is audited as the user: whoever asked to be somebody else is themselves."""
    assert exchange.admission is not None
    identity, bearer = exchange.admission.identity, exchange.admission.bearer
    if isinstance(identity, PassedThrough):
        return identity.username, identity.groups
    asker = bearer if identity.original else identity
    return asker.username, (*asker.groups, "system:authenticated")


def stages(policy: Policy, exchange: Exchange) -> frozenset[Any]:
    return policy.stages(*person(exchange), exchange.info)


def users(exchange: Exchange) -> dict[str, Any]:
    username, groups = person(exchange)
    user: dict[str, Any] = {"username": username, "uid": "", "groups": groups, "extra": {}}
    said = {"user": user}
    assert exchange.admission is not None
    identity = exchange.admission.identity
    if isinstance(identity, Impersonation):
        extra: dict[str, list[str]] = {}
        for key, value in identity.extra:
            extra.setdefault(key, []).append(value)
        more = {"uid": identity.uid, "extra": extra}
        if identity.original:
            acting = (*identity.groups, "system:authenticated")
            said["impersonatedUser"] = {"username": identity.username, "groups": acting} | more
        else:
            user |= more
    order = ("username", "uid", "groups", "extra")
    return {name: {key: who[key] for key in order if who.get(key)} for name, who in said.items()}


def noted(exchange: Exchange) -> dict[str, str]:
    assert exchange.admission is not None
    facts = exchange.admission.bearer.facts
    said = {key: ", ".join(values) for key, values in facts.items()}
    came = chain(exchange.head.forwarded_for, exchange.client.address, NETWORKS)
    said[f"{DOMAIN}/forwarded-for-unverified"] = came.unverified
    said |= exchange.annotations
    if exchange.error:
        said[f"{DOMAIN}/reason"] = exchange.error.label
        said[f"{DOMAIN}/detail"] = exchange.error.detail
    said[f"{DOMAIN}/outcome"] = outcome_of(exchange)
    return {key: value for key, value in said.items() if value}


def written(
    exchange: Exchange,
    stage: str,
    reached: float,
    status: Any = None,
    annotated: dict[str, str] | None = None,
) -> str:
    head, info = exchange.head, exchange.info
    agent = head.user_agent[:MAX_USER_AGENT].decode("utf-8", "replace")
    if len(head.user_agent) > MAX_USER_AGENT:
        agent += "...TRUNCATED"
    came = chain(head.forwarded_for, exchange.client.address, NETWORKS)
    peer = () if exchange.client.address == "unix" else (exchange.client.address,)
    reference = {
        "resource": info.resource,
        "namespace": info.namespace,
        "name": info.name,
        "apiGroup": info.api_group,
        "apiVersion": info.api_version,
        "subresource": info.subresource,
    }
    fields = {
        "kind": "Event",
        "apiVersion": "audit.k8s.io/v1",
        "level": "Metadata",
        "auditID": exchange.audit_id,
        "stage": stage,
        "requestURI": request_uri(head.target),
        "verb": info.verb,
        **users(exchange),
        "sourceIPs": (*came.verified, *peer),
        "userAgent": agent,
        "objectRef": {k: v for k, v in reference.items() if v and info.is_resource_request},
        "responseStatus": status,
        "requestReceivedTimestamp": moment(exchange.received_at),
        "stageTimestamp": moment(reached),
        "annotations": annotated,
    }
    said = {name: value for name, value in fields.items() if value}
    return redact(json.dumps(said, separators=(",", ":")))


def moment(at: float) -> str:
    second = int(at)
    down_to_it = datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{down_to_it}.{int((at - second) * 1_000_000):06d}Z"
