"""Why RBAC gives nothing, from bindings alone; the rest is on a real API server (tests/real)."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.rights import Rule
from proxy.tools.doctor.bindings import Bindings, read
from proxy.tools.doctor.grants import Sought, reasons
from proxy.userinfo import UserInfo

ALICE = "alice@example.com"
OWN = "headlamp-auth-proxy:authenticated"
SOUGHT = Sought(UserInfo(ALICE, groups=("admins", OWN, "system:authenticated")))


def binding(name: str, kind: str, subject: str, **metadata: Any) -> Any:
    return {
        "metadata": {"name": name} | metadata,
        "roleRef": {"kind": "ClusterRole", "name": "reader"},
        "subjects": [{"kind": kind, "name": subject}],
    }


def bound(*bindings: Any) -> Bindings:
    role = {"metadata": {"name": "reader"}, "rules": [{"verbs": ["get"], "resources": ["pods"]}]}
    return read({"ClusterRoleBinding": bindings, "ClusterRole": [role]})


def test_nobody_comes_near() -> None:
    others = [binding("b", "User", "bob@example.com"), binding("c", "Group", "developers")]
    assert not list(reasons(SOUGHT, bound(*others)))


def test_what_kubernetes_made_itself_is_nobodys_mistake() -> None:
    labels = {"kubernetes.io/bootstrapping": "rbac-defaults"}
    assert not list(reasons(SOUGHT, bound(binding("b", "Group", "Admins", labels=labels))))


def test_the_surest_comes_first() -> None:
    found = reasons(
        SOUGHT,
        bound(
            binding("spelling", "User", "alcie@example.com"),
            binding("case", "User", "ALICE@example.com"),
            binding("kind", "Group", ALICE),
        ),
    )
    assert [verdict.saw.split()[1] for verdict in found] == ["kind", "case", "spelling"]


@pytest.mark.parametrize("other", ["alice@example.org", "alcie@example.com", "alice"])
def test_from_whoever_may_be_somebody_else_nothing_is_taken(other: str) -> None:
    (verdict,) = reasons(SOUGHT, bound(binding("b", "User", other)))
    assert '"op":"add"' in verdict.mend
    assert "simply not bound" in verdict.saw


def test_objects_of_another_shape_are_left_out() -> None:
    odd: list[Any] = [None, {}, {"roleRef": "x"}, {"metadata": 1, "subjects": [1, {"name": 2}]}]
    found = read({"ClusterRoleBinding": odd, "ClusterRole": [{"rules": [1, {"verbs": "get"}]}]})
    assert not found.bindings
    assert found.roles == {("ClusterRole", "", ""): (Rule(()),)}
