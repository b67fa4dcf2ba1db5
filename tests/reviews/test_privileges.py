"""What is found of the proxy's own rights, as tables of rules and answers."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from proxy.errors import ImpersonationBroken, ServiceAccountPrivileged
from proxy.impersonation import Policy, impersonate
from proxy.reviews.documents import Access, Question, Rules, Unknown
from proxy.reviews.privileges import (
    BEYOND,
    CANARY,
    EVERYTHING,
    QUESTIONS,
    UNRESTRICTED,
    Answers,
    Canary,
    Verdict,
    beyond,
    canary,
    forbids,
    judge,
)
from proxy.rights import ALLOW_IMPERSONATION, GIVEN_TO_ALL, ORIGINAL_USER, TOKEN_PASSTHROUGH, Rule
from proxy.userinfo import UserInfo

OWN = "headlamp-auth-proxy:authenticated"
POLICY = Policy(OWN)
ASSERTED = impersonate(UserInfo(CANARY), POLICY)
SEEN = UserInfo(CANARY, groups=(OWN, "system:authenticated"))
AUTHN, AUTHZ = "authentication.k8s.io", "authorization.k8s.io"

IMPERSONATION = (
    Rule(("impersonate",), ("",), ("users",), ("alice@example.com",)),
    Rule(("impersonate",), ("",), ("groups", "serviceaccounts"), (OWN,)),
    Rule(("impersonate",), (AUTHN,), ("uids", "userextras/scopes")),
    Rule(("impersonate:user-info",), (AUTHN,), ("users", "groups")),
    Rule(("impersonate-on:user-info:get", "impersonate-on:user-info:*"), ("*",), ("*",)),
)


@pytest.mark.parametrize("rule", [*IMPERSONATION, *GIVEN_TO_ALL], ids=str)
def test_impersonation_and_what_everybody_has_is_not_more(rule: Rule) -> None:
    assert not beyond(rule, ())


@pytest.mark.parametrize(
    "rule",
    [
        Rule(("*",), ("*",), ("*",)),
        Rule(("*",), ("",), ("users",)),
        Rule(("impersonate", "get"), ("",), ("users",)),
        Rule(("impersonates",), ("",), ("users",)),
        Rule(("get",), ("",), ("secrets",), ("one",)),
        Rule(("create",), (AUTHN,), ("tokenreviews",)),
        Rule(("create",), (AUTHN, ""), ("selfsubjectreviews",)),
        Rule(("create",), (AUTHN,), ("selfsubjectreviews", "pods")),
        Rule(("create", "delete"), (AUTHN,), ("selfsubjectreviews",)),
        Rule(("get",), paths=("/version", "/metrics")),
        Rule(("get",), paths=("*",)),
        Rule(("post",), paths=("/version",)),
    ],
    ids=str,
)
def test_whatever_else_there_is_is_more(rule: Rule) -> None:
    assert beyond(rule, ())


def test_what_a_setting_needs_is_not_more_where_it_is_in_force() -> None:
    for needed in (TOKEN_PASSTHROUGH, ALLOW_IMPERSONATION):
        assert any(beyond(rule, ()) for rule in needed)
        assert not any(beyond(rule, needed) for rule in needed)


def test_the_original_users_key_is_one_that_constrained_impersonation_takes() -> None:
    domain, slash, path = ORIGINAL_USER.partition("/")
    assert (slash, ORIGINAL_USER) == ("/", ORIGINAL_USER.lower())
    assert "." in domain
    assert path
    assert not domain.endswith(("k8s.io", "kubernetes.io"))


def answers(
    *rules: Rule,
    allowed: tuple[Question, ...] = (),
    other: Mapping[Question, Access | Unknown] | None = None,
    seen: UserInfo | Unknown = SEEN,
    complete: bool = True,
) -> Answers:
    accesses: dict[Question, Access | Unknown] = {q: Access(q in allowed) for q in QUESTIONS}
    return Answers(
        [Rules((*GIVEN_TO_ALL, *IMPERSONATION, *rules), complete)],
        {**accesses, **(other or {})},
        Canary(ASSERTED, seen),
    )


def verdict(given: Answers, before: Verdict | None = None) -> Verdict:
    return judge(given, (), before or Verdict())


def test_an_account_that_may_impersonate_and_nothing_else_is_as_it_should_be() -> None:
    assert verdict(answers()) == Verdict()
    assert verdict(answers()).modest


@pytest.mark.parametrize("question", BEYOND, ids=str)
def test_one_right_too_many_is_named(question: Question) -> None:
    found = verdict(answers(allowed=(question,)))
    assert found == Verdict(beyond_impersonation=(str(question),))
    assert not found.modest
    assert forbids(found, allow_privileged=False) is None


def test_a_right_that_only_the_rules_show_is_named_as_well() -> None:
    found = verdict(answers(Rule(("get",), ("",), ("secrets",), ("one",))))
    assert found == Verdict(beyond_impersonation=("get on secrets (one)",))


@pytest.mark.parametrize("question", UNRESTRICTED, ids=str)
def test_impersonation_without_names_is_not_more_but_is_found(question: Question) -> None:
    found = verdict(answers(allowed=(question,)))
    assert found == Verdict(unrestricted_impersonation=(str(question),))
    assert found.modest


def test_everything_forbids_unless_it_is_allowed() -> None:
    found = verdict(answers(Rule(("*",), ("*",), ("*",)), allowed=QUESTIONS))
    assert found == Verdict(everything=("* *.*",))
    assert not found.modest
    assert forbids(found, allow_privileged=False) is ServiceAccountPrivileged
    assert forbids(found, allow_privileged=True) is None


def test_everything_in_one_namespace_is_more_and_forbids_nothing() -> None:
    found = verdict(answers(Rule(("*",), ("*",), ("*",))))
    assert found == Verdict(beyond_impersonation=("* on *.*",))


@pytest.mark.parametrize(
    ("seen", "words"),
    [
        (UserInfo("system:serviceaccount:h:p"), f"{CANARY} as system:serviceaccount:h:p"),
        (UserInfo("alice@example.com", groups=(OWN,)), f"{CANARY} as alice@example.com"),
        (UserInfo(CANARY, groups=("system:authenticated",)), f"{CANARY} without group {OWN}"),
    ],
)
def test_a_canary_that_comes_back_changed_forbids_always(seen: UserInfo, words: str) -> None:
    found = verdict(answers(seen=seen))
    assert found == Verdict(seen_as_somebody_else=(words,))
    for allow in (True, False):
        assert forbids(found, allow_privileged=allow) is ImpersonationBroken


AWAY = Unknown("SelfSubjectReview: status 403")


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (answers(complete=False), "the list of rules is not complete"),
        (answers(seen=AWAY), f"impersonation is not confirmed: {AWAY.why}"),
        (answers(other={EVERYTHING: AWAY}), AWAY.why),
        (
            answers(other={BEYOND[0]: Access(allowed=False, error="webhook is away")}),
            "list secrets: webhook is away",
        ),
        (Answers([AWAY], {EVERYTHING: AWAY}, Canary(ASSERTED, SEEN)), AWAY.why),
    ],
)
def test_what_is_not_answered_is_unknown_and_forbids_nothing(given: Answers, why: str) -> None:
    found = verdict(given)
    assert found == Verdict(unknown=(why,))
    assert forbids(found, allow_privileged=False) is None


def test_an_incomplete_list_still_shows_what_it_shows() -> None:
    found = verdict(answers(Rule(("get",), ("",), ("secrets",)), complete=False))
    assert found.beyond_impersonation == ("get on secrets",)
    assert found.found("unknown")


def test_a_yes_counts_whatever_an_authorizer_could_not_evaluate() -> None:
    found = verdict(answers(other={EVERYTHING: Access(allowed=True, error="e")}))
    assert found == Verdict(everything=("* *.*",))


def test_what_was_dangerous_stays_so_until_an_answer_says_otherwise() -> None:
    bad = Verdict(everything=("* *.*",), seen_as_somebody_else=("a as b",))
    unanswered = answers(other={EVERYTHING: AWAY}, seen=AWAY)
    kept = verdict(unanswered, bad)
    assert (kept.everything, kept.seen_as_somebody_else) == (("* *.*",), ("a as b",))
    assert verdict(answers(), kept) == Verdict()


def test_words_for_the_log_are_bounded() -> None:
    many = answers(*(Rule(("get",), ("",), (f"r{i}" * 200,)) for i in range(100)))
    words = verdict(many).words()["beyond_impersonation"]
    assert len(words) == 20
    assert max(map(len, words)) == 200


USERS = ("",), ("users",)


@pytest.mark.parametrize(
    ("rules", "name"),
    [
        ([], CANARY),
        ([Rule(("impersonate",), *USERS)], CANARY),
        ([Rule(("impersonate",), *USERS, names=("alice", CANARY))], CANARY),
        ([Rule(("impersonate",), *USERS, names=("alice", "bob"))], "alice"),
        ([Rule(("impersonate",), *USERS, names=("system:admin", " x", "bob"))], "bob"),
        ([Rule(("impersonate:user-info",), (AUTHN,), ("users",), ("carol",))], "carol"),
        ([Rule(("get",), *USERS, names=("alice",))], CANARY),
        ([Rule(("impersonate",), ("",), ("groups",), ("alice",))], CANARY),
    ],
)
def test_the_canary_is_somebody_whom_we_may_impersonate(rules: list[Rule], name: str) -> None:
    chosen = canary([Unknown("away"), Rules(tuple(rules), complete=True)], POLICY)
    assert (chosen.username, chosen.groups) == (name, (OWN,))


def test_there_is_a_canary_even_where_its_name_is_reserved() -> None:
    policy = Policy(OWN, reserved_prefixes=("headlamp",))
    assert canary([], policy).username == CANARY
