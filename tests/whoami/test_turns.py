"""Some pages at once and then some a second, for each user alone."""

from __future__ import annotations

import pytest

from proxy.whoami import turns
from proxy.whoami.turns import AT_ONCE, EVERY, Turns

NOW = 100.0


def taken(turns_of: Turns, user: str, now: float) -> int:
    """Take all turns that a user has, and return how many they were."""
    count = 0
    while turns_of.take(user, now):
        count += 1
    return count


def test_there_are_some_at_once_and_one_more_each_while() -> None:
    turns_of = Turns()
    assert taken(turns_of, "alice", NOW) == AT_ONCE
    assert taken(turns_of, "alice", NOW + 0.9 * EVERY) == 0
    assert taken(turns_of, "alice", NOW + 1.1 * EVERY) == 1
    assert taken(turns_of, "alice", NOW + 3.1 * EVERY) == 2


def test_later_there_are_as_many_again_and_no_more() -> None:
    turns_of = Turns()
    assert taken(turns_of, "alice", NOW) == taken(turns_of, "alice", NOW + 1000) == AT_ONCE


def test_nobody_takes_another_one_s() -> None:
    turns_of = Turns()
    assert taken(turns_of, "alice", NOW) == taken(turns_of, "bob", NOW) == AT_ONCE


def test_only_so_many_users_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "MAX_USERS", 2)
    turns_of = Turns()
    for user in ("alice", "bob", "carol"):
        assert turns_of.take(user, NOW)
    assert len(turns_of._free_at) == 2
