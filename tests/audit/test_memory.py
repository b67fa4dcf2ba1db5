"""What is remembered of a request is told of the same asker asking the same, and of nobody else."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from proxy.audit.memory import REMEMBERED, Audited, Memory
from proxy.audit.policy import NO_STAGES, STAGES, Policy, Rule
from proxy.denial import Bearer
from proxy.http.head import RequestHead
from proxy.http.service import Admission
from proxy.speaker import PassedThrough
from tests.http.conftest import identity

PODS = b"/api/v1/pods"


def admitted(name: str) -> Admission:
    return Admission(identity(name), Bearer(name))


@dataclass
class Client:
    address: str = "10.0.0.1"


@dataclass
class Asking:
    """As much of an exchange as is looked at."""

    admission: Admission
    target: bytes = PODS
    agent: bytes = b"kubectl"
    forwarded_for: list[bytes] = field(default_factory=list)
    client: Client = field(default_factory=Client)
    kind: str = "unary"
    error: None = None

    @property
    def head(self) -> RequestHead:
        return RequestHead(
            b"GET",
            self.target,
            True,
            forwarded_for=tuple(self.forwarded_for),
            user_agent=self.agent,
        )


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
    assert '"username":"bob"' in found(memory, Asking(bob)).common.users
    assert memory.find(cast("Any", Asking(carol))) is None
    assert "/nodes" in found(memory, Asking(alice, b"/api/v1/nodes")).common.asked
    assert '"curl"' in found(memory, Asking(alice, agent=b"curl")).common.rest
    assert '"::1"' in found(memory, Asking(alice, client=Client("::1"))).common.rest
    assert "6.6.6.6" in found(memory, Asking(alice, forwarded_for=[b"6.6.6.6"])).annotations
    again = found(memory, Asking(alice))
    assert '"username":"alice"' in again.common.users
    assert not again.annotations


@pytest.mark.parametrize(
    "changed",
    [
        {"target": PODS + b"?" + b"x" * 256},
        {"agent": b"x" * 257},
        {"forwarded_for": [b"x" * 200, b"x" * 57]},
        {"kind": "upgrade"},
    ],
)
def test_what_is_long_or_once_is_not_remembered(memory: Memory, changed: dict[str, Any]) -> None:
    asking = Asking(admitted("alice"), **changed)
    assert found(memory, asking) == found(memory, asking)
    assert found(memory, asking) is not found(memory, asking)


def test_a_client_that_brought_its_own_token_is_not_remembered(memory: Memory) -> None:
    robot = PassedThrough("robot", (), b"Authorization: Bearer secret\r\n")
    asking = Asking(Admission(robot, Bearer("robot")))
    assert '"username":"robot"' in found(memory, asking).common.users
    assert memory._of_admitted.cache_info().currsize == 0


def test_it_is_bounded(memory: Memory) -> None:
    alice = admitted("alice")
    first = found(memory, Asking(alice, b"/first"))
    for n in range(REMEMBERED):
        found(memory, Asking(alice, b"/%d" % n))
    assert memory._of_admitted.cache_info().currsize == REMEMBERED
    assert found(memory, Asking(alice, b"/first")) is not first
