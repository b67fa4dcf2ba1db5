"""What RBAC grants somebody: asked as them, seldom, and told to nobody else."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from proxy.impersonation import Impersonation, Policy, impersonate
from proxy.reviews.client import Reviewer
from proxy.reviews.documents import Rules, Unknown
from proxy.reviews.grants import Header, UserGrants
from proxy.rights import Rule
from proxy.speaker import PassedThrough
from proxy.userinfo import UserInfo
from tests.reviews.conftest import OWN_TOKEN
from tests.scripted_reviews import ScriptedReviews

OWN = "headlamp-auth-proxy:authenticated"
PODS = Rule(("list",), ("",), ("pods",))


def as_user(name: str, *groups: str) -> Impersonation:
    return impersonate(UserInfo(name, groups=groups), Policy(OWN))


class ApiServer:
    """Stands for the API server: what it answers, and as whom it was asked."""

    def __init__(self) -> None:
        self.answer: Rules | Unknown = Rules((PODS,), complete=True)
        self.asked: list[tuple[str, list[Header], Header | None]] = []

    async def rules_of(
        self, namespace: str, impersonating: Sequence[Header] = (), credential: Header | None = None
    ) -> Rules | Unknown:
        self.asked.append((namespace, list(impersonating), credential))
        await asyncio.sleep(0)
        return self.answer


@pytest.fixture
def server() -> ApiServer:
    return ApiServer()


async def test_it_is_asked_as_the_user_with_every_group(server: ApiServer) -> None:
    found = await UserGrants(server).of(as_user("al", "dev", "ops"), "shop")
    assert found.grants == ("list on pods",)
    groups = [("Impersonate-Group", name) for name in ("dev", "ops", OWN)]
    assert server.asked == [("shop", [("Impersonate-User", "al"), *groups], None)]


async def test_one_question_serves_all_who_ask_at_once_and_for_ten_seconds(
    server: ApiServer,
) -> None:
    grants = UserGrants(server)
    asked = await asyncio.gather(*(grants.of(as_user("al"), "default") for _ in range(20)))
    assert {found.grants for found in asked} == {("list on pods",)}
    assert len(server.asked) == 1


async def test_another_namespace_waits_for_its_turn(server: ApiServer) -> None:
    grants = UserGrants(server)
    await grants.of(as_user("al"), "default")
    found = await grants.of(as_user("al"), "shop")
    assert (found.missing, found.grants, found.nothing) == ("turn", (), False)
    assert len(server.asked) == 1


@pytest.mark.parametrize("other", [as_user("al", "dev"), PassedThrough("al", (), b"Auth: x\r\n")])
async def test_the_same_name_with_other_groups_or_another_token_is_told_nothing(
    server: ApiServer, other: Impersonation | PassedThrough
) -> None:
    grants = UserGrants(server)
    await grants.of(as_user("al"), "default")
    found = await grants.of(other, "default")
    assert (found.missing, found.grants) == ("turn", ())
    assert len(server.asked) == 1


async def test_that_there_is_no_answer_is_remembered_too(server: ApiServer) -> None:
    server.answer = Unknown("SelfSubjectRulesReview: no answer within 5 s")
    grants = UserGrants(server)
    found = [await grants.of(as_user("al"), "default") for _ in range(3)]
    assert {(one.missing, one.nothing) for one in found} == {("answer", False)}
    assert len(server.asked) == 1


async def test_who_may_not_be_impersonated_is_told_just_that(server: ApiServer) -> None:
    server.answer = Unknown(
        'SelfSubjectRulesReview: status 403: users "al" is forbidden: User "sa" cannot impersonate'
    )
    assert (await UserGrants(server).of(as_user("al"), "default")).missing == "impersonation"


async def test_what_is_kept_of_an_answer_is_short(server: ApiServer) -> None:
    names = tuple(f"name-{number}" for number in range(10_000))
    server.answer = Rules((Rule(("get",), ("",), ("pods",), names),), complete=True)
    (grant,) = (await UserGrants(server).of(as_user("al"), "default")).grants
    assert len(grant) == 400


async def test_a_client_that_is_passed_through_asks_with_its_own_token_and_nothing_of_ours(
    api: ScriptedReviews, reviewer: Reviewer
) -> None:
    api.rights = [PODS]
    robot = PassedThrough("robot", (), b"Authorization: Bearer the-robots\r\n")
    found = await UserGrants(reviewer).of(robot, "default")
    assert found.grants == ("list on pods",)
    (request,) = api.requests
    assert request.values("Authorization") == ["Bearer the-robots"]
    assert request.values("Impersonate-User") == []


async def test_as_a_user_it_asks_with_ours_and_the_users_headers(
    api: ScriptedReviews, reviewer: Reviewer
) -> None:
    await UserGrants(reviewer).of(as_user("ål", "dev"), "default")
    (request,) = api.requests
    assert request.values("Authorization") == [f"Bearer {OWN_TOKEN}"]
    assert [v.encode("latin-1").decode() for v in request.values("Impersonate-User")] == ["ål"]
    assert request.values("Impersonate-Group") == ["dev", OWN]
