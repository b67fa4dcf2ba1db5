"""What is remembered of a request is told of the same asker asking the same, and of nobody else."""

from __future__ import annotations

from typing import Any, cast

import pytest

from proxy.audit.memory import REMEMBERED, REMEMBERED_SIZE, Audited, Memory
from proxy.audit.policy import NO_STAGES, STAGES, Policy, Rule
from proxy.denial import Bearer
from proxy.http.service import Admission
from proxy.speaker import PassedThrough
from tests.audit.asking import PODS, Asking, Client, admitted
from tests.http.conftest import identity


def found(memory: Memory, asking: Asking) -> Audited:
    audited = memory.find(cast("Any", asking))
    assert audited is not None
    return audited


@pytest.fixture
def memory() -> Memory:
    left_out = Rule(NO_STAGES, users=frozenset({"carol"}))
    return Memory(Policy([left_out, Rule(frozenset(STAGES))]), ())


def test_the_same_is_found_and_not_made_again(memory: Memory) -> None:
    alice = admitted("alice")
    assert found(memory, Asking(alice)) is found(memory, Asking(alice))


def test_whatever_differs_is_told(memory: Memory) -> None:
    alice, bob, carol = map(admitted, ("alice", "bob", "carol"))
    found(memory, Asking(alice))
    assert '"username":"bob"' in found(memory, Asking(bob)).common
    assert memory.find(cast("Any", Asking(carol))) is None
    assert "/nodes" in found(memory, Asking(alice, b"/api/v1/nodes")).common
    assert '"curl"' in found(memory, Asking(alice, agent=b"curl")).common
    assert '"::1"' in found(memory, Asking(alice, client=Client("::1"))).common
    assert "6.6.6.6" in found(memory, Asking(alice, forwarded_for=[b"6.6.6.6"])).end
    again = found(memory, Asking(alice))
    assert '"username":"alice"' in again.common
    assert again.end == "}"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"target": PODS + b"/" + b"x" * 200}, {"target": PODS + b"/" + b"x" * 199 + b"y"}),
        ({"agent": b"x" * 200}, {"agent": b"x" * 199 + b"y"}),
        ({"agent": b"x" * 200}, {"agent": b"x" * 199}),
        ({"forwarded_for": [b"x" * 200]}, {"forwarded_for": [b"x" * 199 + b"y"]}),
        ({"forwarded_for": [b"x", b"y"]}, {"forwarded_for": [b"x, y "]}),
        ({"target": PODS, "agent": b"/x"}, {"target": PODS + b"/x", "agent": b""}),
        ({"method": b"GET"}, {"method": b"PUT"}),
        ({"client": Client("10.0.0.1")}, {"client": Client("10.0.0.11")}),
    ],
)
def test_whatever_differs_in_a_byte_is_another(
    memory: Memory, one: dict[str, Any], other: dict[str, Any]
) -> None:
    alice = admitted("alice")
    first, second = (found(memory, Asking(alice, **asking)) for asking in (one, other))
    assert first is not second
    assert found(memory, Asking(alice, **one)) is first


@pytest.mark.parametrize(
    "changed",
    [
        {"target": PODS + b"?" + b"x" * 256},
        {"agent": b"x" * 257},
        {"forwarded_for": [b"x" * 200, b"x" * 57]},
        {"kind": "upgrade"},
        {"impersonation": ((b"Impersonate-User", b"bob"),)},
    ],
)
def test_what_is_long_or_once_is_not_remembered(memory: Memory, changed: dict[str, Any]) -> None:
    asking = Asking(admitted("alice"), **changed)
    assert found(memory, asking) == found(memory, asking)
    assert found(memory, asking) is not found(memory, asking)


def test_a_client_that_brought_its_own_token_is_not_remembered(memory: Memory) -> None:
    robot = PassedThrough("robot", (), b"Authorization: Bearer secret\r\n")
    asking = Asking(Admission(robot, Bearer("robot")))
    assert '"username":"robot"' in found(memory, asking).common
    assert not memory._remembered


def test_it_is_bounded(memory: Memory) -> None:
    alice = admitted("alice")
    first = found(memory, Asking(alice, b"/first"))
    for n in range(REMEMBERED):
        found(memory, Asking(alice, b"/%d" % n))
    assert len(memory._remembered) <= REMEMBERED
    assert found(memory, Asking(alice, b"/first")) is not first


def test_it_is_bounded_in_length_too(memory: Memory) -> None:
    long = REMEMBERED_SIZE // 3
    users = [Admission(identity("u"), Bearer(f"u{n}", token_id="x" * long)) for n in range(2)]
    asked = [Asking(user, b"/%d" % n) for n, user in enumerate([*users, *users])]
    first = found(memory, asked[0])
    assert found(memory, asked[0]) is first
    for asking in asked[1:]:
        found(memory, asking)
        kept = [audited for audited in memory._remembered.values() if audited]
        assert sum(len(a.common) + len(a.facts) + len(a.end) for a in kept) <= REMEMBERED_SIZE
    assert found(memory, asked[0]) is not first
    alice = admitted("alice")
    short = [found(memory, Asking(alice, target)) for target in (b"/a", b"/b")]
    assert found(memory, Asking(alice, b"/a")) is short[0]
    larger = Asking(Admission(identity("u"), Bearer("u", token_id="x" * REMEMBERED_SIZE)))
    assert found(memory, larger) is not found(memory, larger)
