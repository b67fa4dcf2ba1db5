"""Whom the API server knows by their token, and what becomes of everybody else."""

from __future__ import annotations

import asyncio
from http import HTTPStatus

import pytest

from proxy.errors import TokenReviewUnavailable, TokenUnknown
from proxy.reviews.client import Reviewer
from proxy.reviews.tokens import TokenReviews
from proxy.speaker import PassedThrough
from tests.reviews.conftest import OWN_TOKEN
from tests.scripted_reviews import ScriptedReviews

ROBOT = "system:serviceaccount:shop:robot"


@pytest.fixture
def tokens(api: ScriptedReviews, reviewer: Reviewer) -> TokenReviews:
    api.tokens["robots"] = {"username": ROBOT, "groups": ["system:serviceaccounts"]}
    return TokenReviews(reviewer, ())


async def test_a_known_client_goes_on_with_its_own_token(tokens: TokenReviews) -> None:
    assert await tokens.identify(b"robots") == PassedThrough(
        ROBOT, ("system:serviceaccounts",), b"Authorization: Bearer robots\r\n"
    )


async def test_a_token_is_reviewed_once_whatever_the_answer(
    tokens: TokenReviews, api: ScriptedReviews
) -> None:
    await asyncio.gather(*(tokens.identify(b"robots") for _ in range(5)))
    for _ in range(3):
        with pytest.raises(TokenUnknown):
            await tokens.identify(b"nobodys")
    assert api.reviews("TokenReview") == [{"token": "robots"}, {"token": "nobodys"}]


async def test_without_an_answer_nobody_is_refused_or_let_in(
    tokens: TokenReviews, api: ScriptedReviews
) -> None:
    api.instead["TokenReview"] = HTTPStatus.FORBIDDEN, {"message": "no"}
    with pytest.raises(TokenReviewUnavailable) as refused:
        await tokens.identify(b"robots")
    assert (refused.value.code, refused.value.retry_after) == (503, 5)
    del api.instead["TokenReview"]
    await tokens.identify(b"robots")


async def test_audiences_are_asked_for_and_must_be_met(
    tokens: TokenReviews, api: ScriptedReviews, reviewer: Reviewer
) -> None:
    bound = TokenReviews(reviewer, ["here", "there"])
    with pytest.raises(TokenUnknown):
        await bound.identify(b"robots")
    assert api.reviews("TokenReview")[-1]["audiences"] == ["here", "there"]
    api.audiences = ["there"]
    await TokenReviews(reviewer, ["here", "there"]).identify(b"robots")


async def test_our_own_token_is_nobodys_and_is_not_even_asked_about(
    tokens: TokenReviews, api: ScriptedReviews
) -> None:
    api.tokens[OWN_TOKEN] = {"username": "system:serviceaccount:headlamp:headlamp-auth-proxy"}
    with pytest.raises(TokenUnknown):
        await tokens.identify(OWN_TOKEN.encode())
    assert api.reviews("TokenReview") == []
