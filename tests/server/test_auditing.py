"""What audits follows its policy, and tells of each request by the one that it ended under."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from proxy.server.auditing import Audit


def test_what_ended_under_a_policy_is_told_before_another_is_taken() -> None:
    happened: list[Any] = []
    observer: Any = SimpleNamespace(take=happened.append)
    followed: Any = SimpleNamespace(on_change=None)
    Audit(observer, followed).follow(lambda: happened.append("flushed"))
    followed.on_change("another policy")
    assert happened == ["flushed", "another policy"]
