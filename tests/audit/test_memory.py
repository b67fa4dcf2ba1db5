"""What is remembered of a request is told of the same asker asking the same, and of nobody else."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.audit.memory import REMEMBERED, REMEMBERED_SIZE, Audited, Memory
from proxy.audit.policy import NO_STAGES, STAGES, Policy, Rule
from proxy.denial import Bearer
from proxy.http.service import Admission
from proxy.speaker import PassedThrough
from tests.audit.asking import PODS, admitted, asking
from tests.http.conftest import identity
from tests.observed import Observed


def found(memory: Memory, asked: Observed) -> Audited:
    audited = memory.find(asked.exchange())
    assert audited is not None
    return audited


@pytest.fixture
def memory() -> Memory:
    left_out = Rule(NO_STAGES, users=frozenset({"carol"}))
    return Memory(Policy([left_out, Rule(frozenset(STAGES))]), ())


def test_the_same_is_found_and_not_made_again(memory: Memory) -> None:
    alice = admitted("alice")
    assert found(memory, asking(alice)) is found(memory, asking(alice))


def test_whatever_differs_is_told(memory: Memory) -> None:
    alice, bob, carol = map(admitted, ("alice", "bob", "carol"))
    found(memory, asking(alice))
    assert '"username":"bob"' in found(memory, asking(bob)).common
    assert memory.find(asking(carol).exchange()) is None
    assert "/nodes" in found(memory, asking(alice, b"/api/v1/nodes")).common
    assert '"curl"' in found(memory, asking(alice, user_agent=b"curl")).common
    assert '"::1"' in found(memory, asking(alice, address="::1")).common
    assert "6.6.6.6" in found(memory, asking(alice, forwarded_for=(b"6.6.6.6",))).end
    again = found(memory, asking(alice))
    assert '"username":"alice"' in again.common
    assert again.end == "}"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"target": PODS + b"/" + b"x" * 200}, {"target": PODS + b"/" + b"x" * 199 + b"y"}),
        ({"user_agent": b"x" * 200}, {"user_agent": b"x" * 199 + b"y"}),
        ({"user_agent": b"x" * 200}, {"user_agent": b"x" * 199}),
        ({"forwarded_for": (b"x" * 200,)}, {"forwarded_for": (b"x" * 199 + b"y",)}),
        ({"forwarded_for": (b"x", b"y")}, {"forwarded_for": (b"x, y ",)}),
        ({"target": PODS, "user_agent": b"/x"}, {"target": PODS + b"/x", "user_agent": b""}),
        ({"method": b"GET"}, {"method": b"PUT"}),
        ({"address": "10.0.0.1"}, {"address": "10.0.0.11"}),
    ],
)
def test_whatever_differs_in_a_byte_is_another(
    memory: Memory, one: dict[str, Any], other: dict[str, Any]
) -> None:
    alice = admitted("alice")
    first, second = (found(memory, asking(alice, **said)) for said in (one, other))
    assert first is not second
    assert found(memory, asking(alice, **one)) is first


@pytest.mark.parametrize(
    "changed",
    [
        {"target": PODS + b"?" + b"x" * 256},
        {"user_agent": b"x" * 257},
        {"forwarded_for": (b"x" * 200, b"x" * 57)},
        {"kind": "upgrade"},
        {"impersonation": ((b"Impersonate-User", b"bob"),)},
    ],
)
def test_what_is_long_or_once_is_not_remembered(memory: Memory, changed: dict[str, Any]) -> None:
    asked = asking(admitted("alice"), **changed)
    assert found(memory, asked) == found(memory, asked)
    assert found(memory, asked) is not found(memory, asked)


def test_a_client_that_brought_its_own_token_is_not_remembered(memory: Memory) -> None:
    robot = PassedThrough("robot", (), b"Authorization: Bearer secret\r\n")
    asked = asking(Admission(robot, Bearer("robot")))
    assert '"username":"robot"' in found(memory, asked).common
    assert not memory._remembered


def test_it_is_bounded(memory: Memory) -> None:
    alice = admitted("alice")
    first = found(memory, asking(alice, b"/first"))
    for n in range(REMEMBERED):
        found(memory, asking(alice, b"/%d" % n))
    assert len(memory._remembered) <= REMEMBERED
    assert found(memory, asking(alice, b"/first")) is not first


def test_it_is_bounded_in_length_too(memory: Memory) -> None:
    long = REMEMBERED_SIZE // 3
    users = [Admission(identity("u"), Bearer(f"u{n}", token_id="x" * long)) for n in range(2)]
    asked = [asking(user, b"/%d" % n) for n, user in enumerate([*users, *users])]
    first = found(memory, asked[0])
    assert found(memory, asked[0]) is first
    for other in asked[1:]:
        found(memory, other)
        kept = [audited for audited in memory._remembered.values() if audited]
        assert sum(len(a.common) + len(a.facts) + len(a.end) for a in kept) <= REMEMBERED_SIZE
    assert found(memory, asked[0]) is not first
    alice = admitted("alice")
    short = [found(memory, asking(alice, target)) for target in (b"/a", b"/b")]
    assert found(memory, asking(alice, b"/a")) is short[0]
    larger = asking(Admission(identity("u"), Bearer("u", token_id="x" * REMEMBERED_SIZE)))
    assert found(memory, larger) is not found(memory, larger)
