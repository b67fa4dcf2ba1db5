"""Who may impersonate whom: every value is asked about, and only a plain yes is one."""

from __future__ import annotations

import asyncio
from http import HTTPStatus

import pytest

from proxy.errors import AccessReviewUnavailable, ImpersonationDenied
from proxy.impersonation import Policy, impersonate
from proxy.reviews import impersonators
from proxy.reviews.client import Reviewer
from proxy.reviews.documents import Access, Question, Unknown
from proxy.reviews.impersonators import Impersonators
from proxy.userinfo import UserInfo
from tests.scripted_reviews import Asked, ScriptedReviews

POLICY = Policy("own")
ALICE = impersonate(UserInfo("alice", groups=("dev",)), POLICY)
EVE = impersonate(UserInfo("eve", groups=("dev",)), POLICY)
BOB = UserInfo("bob", "uid-7", ("team-a",), {"example.com/s": ("val-v",)})
ALL: set[Asked] = {
    ("impersonate", "users", "bob"),
    ("impersonate", "groups", "team-a"),
    ("impersonate", "userextras/example.com/s", "val-v"),
    ("impersonate", "uids", "uid-7"),
}


@pytest.fixture
def checked(reviewer: Reviewer) -> Impersonators:
    return Impersonators(reviewer)


async def test_the_question_is_about_all_that_the_api_server_would_see(
    checked: Impersonators, api: ScriptedReviews
) -> None:
    api.allowed_to["alice"] = ALL
    await checked.check(ALICE, UserInfo("bob"))
    (spec,) = api.reviews("SubjectAccessReview")
    assert spec["user"] == "alice"
    assert spec["groups"] == ["dev", "own", "system:authenticated"]
    assert spec["resourceAttributes"] == {
        "verb": "impersonate",
        "resource": "users",
        "name": "bob",
    }


@pytest.mark.parametrize("missing", sorted(ALL))
async def test_every_value_must_be_allowed(
    checked: Impersonators, api: ScriptedReviews, missing: Asked
) -> None:
    api.allowed_to["alice"] = ALL - {missing}
    with pytest.raises(ImpersonationDenied) as refused:
        await checked.check(ALICE, BOB)
    assert refused.value.code == 403
    assert missing[2] in refused.value.detail
    assert missing[2] not in refused.value.message


async def test_an_answer_is_for_one_identity_and_one_value(
    checked: Impersonators, api: ScriptedReviews
) -> None:
    api.allowed_to["alice"] = ALL
    for _ in range(3):
        await checked.check(ALICE, BOB)
    assert len(api.reviews("SubjectAccessReview")) == 4
    with pytest.raises(ImpersonationDenied):
        await checked.check(EVE, BOB)
    with pytest.raises(ImpersonationDenied):
        await checked.check(ALICE, UserInfo("bob", groups=("b",)))
    assert len(api.reviews("SubjectAccessReview")) == 9


@pytest.mark.parametrize("kind", ["users", "groups"])
async def test_a_name_is_of_its_kind(
    checked: Impersonators, api: ScriptedReviews, kind: str
) -> None:
    """Neither the question nor what is remembered mixes up a user and a group of one name."""
    api.allowed = {("impersonate", kind, "x")}
    with pytest.raises(ImpersonationDenied):
        await checked.check(ALICE, UserInfo("x", groups=("x",)))


async def test_without_an_answer_the_request_goes_nowhere(
    checked: Impersonators, api: ScriptedReviews
) -> None:
    api.allowed = ALL
    api.instead["SubjectAccessReview"] = HTTPStatus.INTERNAL_SERVER_ERROR, {}
    with pytest.raises(AccessReviewUnavailable):
        await checked.check(ALICE, BOB)
    del api.instead["SubjectAccessReview"]
    await checked.check(ALICE, BOB)


class Slow:
    """Never answers."""

    async def may(self, user: UserInfo, question: Question) -> Access | Unknown:
        await asyncio.Event().wait()
        raise AssertionError


class Doubtful:
    """Says yes, and that it could not evaluate all: kube-apiserver takes that for a no."""

    async def may(self, user: UserInfo, question: Question) -> Access | Unknown:
        return Access(allowed=True, error="a webhook is away")


async def test_all_questions_share_one_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(impersonators, "DEADLINE", 0.05)
    with pytest.raises(AccessReviewUnavailable):
        await Impersonators(Slow()).check(ALICE, BOB)


async def test_a_yes_with_an_error_is_a_no() -> None:
    with pytest.raises(ImpersonationDenied):
        await Impersonators(Doubtful()).check(ALICE, BOB)
