"""What is kept of refusals: a little, for a while, and each user's apart."""

from __future__ import annotations

from proxy.denial import Bearer
from proxy.missing_rule import MissingRule
from proxy.refusals import KEPT_FOR, MAX_RULES, MAX_USERS, Refusals

AL = Bearer("al", issuer="https://idp", subject="1")
PODS = MissingRule("list", "", "pods")


def rule(number: int) -> MissingRule:
    return MissingRule("get", "", "pods", name=f"pod-{number}")


def test_the_latest_is_first_and_the_same_is_counted() -> None:
    kept = Refusals()
    kept.add(AL, PODS, 1.0)
    kept.add(AL, rule(1), 2.0)
    kept.add(AL, PODS, 3.0)
    assert [(r.rule, r.at, r.count) for r in kept.of(AL, 4.0)] == [
        (PODS, 3.0, 2),
        (rule(1), 2.0, 1),
    ]


def test_nobody_is_told_of_another_not_even_of_the_same_name() -> None:
    kept = Refusals()
    kept.add(AL, PODS, 1.0)
    for other in (
        Bearer("bo", issuer="https://idp", subject="1"),
        Bearer("al", issuer="https://other", subject="1"),
        Bearer("al", issuer="https://idp", subject="2"),
        Bearer("al"),
    ):
        assert kept.of(other, 1.0) == []


def test_only_the_last_few_are_kept() -> None:
    kept = Refusals()
    for number in range(3 * MAX_RULES):
        kept.add(AL, rule(number), float(number))
    last = 3 * MAX_RULES - 1
    assert [r.rule for r in kept.of(AL, last)] == [rule(last - n) for n in range(MAX_RULES)]


def test_nothing_is_told_after_a_while() -> None:
    kept = Refusals()
    kept.add(AL, PODS, 1.0)
    assert kept.of(AL, 1.0 + KEPT_FOR)
    assert not kept.of(AL, 1.1 + KEPT_FOR)


def test_of_too_many_users_those_who_were_refused_longest_ago_are_forgotten() -> None:
    kept = Refusals()
    for number in range(MAX_USERS):
        kept.add(Bearer(f"user-{number}"), PODS, 1.0)
    kept.add(Bearer("user-0"), PODS, 2.0)
    kept.add(Bearer("one more"), PODS, 3.0)
    assert len(kept) == MAX_USERS
    assert kept.of(Bearer("user-0"), 3.0)
    assert not kept.of(Bearer("user-1"), 3.0)
