"""The round of questions about ourselves, and what follows from its answers."""

from __future__ import annotations

import asyncio
import logging
from http import HTTPStatus
from pathlib import Path

import pytest

from proxy.credentials.credential import Credential, from_files
from proxy.errors import ImpersonationBroken, ServiceAccountPrivileged
from proxy.impersonation import Policy
from proxy.reviews import self_check
from proxy.reviews.client import Reviewer
from proxy.reviews.privileges import CANARY
from proxy.reviews.self_check import SelfCheck, WithheldCredential
from proxy.rights import GIVEN_TO_ALL, TOKEN_PASSTHROUGH, Rule
from tests.reviews.conftest import OWN_TOKEN
from tests.scripted_reviews import Asked, ScriptedReviews

OWN = "headlamp-auth-proxy:authenticated"
NAMED = Rule(("impersonate",), ("",), ("users",), ("alice@example.com",))
EVERYTHING = ("*", "*", "")


@pytest.fixture
def check(api: ScriptedReviews, reviewer: Reviewer) -> SelfCheck:
    api.rights = [*GIVEN_TO_ALL, NAMED]
    return SelfCheck(reviewer, Policy(OWN))


async def test_before_the_first_answer_nothing_is_known_and_nothing_is_withheld(
    check: SelfCheck, credential: Credential
) -> None:
    assert (check.known, check.modest, check.unprivileged, check.problem()) == (
        False, True, True, None,
    )  # fmt: skip
    assert WithheldCredential(credential, check).header(0) == (
        f"Authorization: Bearer {OWN_TOKEN}\r\n".encode()
    )


async def test_an_account_as_it_should_be(check: SelfCheck, api: ScriptedReviews) -> None:
    await check.look()
    assert (check.known, check.modest, check.unprivileged, check.problem()) == (
        True, True, True, None,
    )  # fmt: skip
    assert [spec["namespace"] for spec in api.reviews("SelfSubjectRulesReview")] == [
        "headlamp",
        "kube-system",
    ]


async def test_the_canary_is_a_permitted_user_with_our_group(
    check: SelfCheck, api: ScriptedReviews
) -> None:
    await check.look()
    assert api.requests[-1].values("Impersonate-User") == ["alice@example.com"]
    assert api.requests[-1].values("Impersonate-Group") == [OWN]
    api.rights = []
    await check.look()
    assert api.requests[-1].values("Impersonate-User") == [CANARY]


async def test_rights_that_a_setting_needs_are_not_too_many(
    check: SelfCheck, api: ScriptedReviews, reviewer: Reviewer
) -> None:
    api.rights += TOKEN_PASSTHROUGH
    await check.look()
    assert check.found("beyond_impersonation")
    needing = SelfCheck(reviewer, Policy(OWN), needed=TOKEN_PASSTHROUGH)
    await needing.look()
    assert not needing.found("beyond_impersonation")


async def test_one_right_too_many_is_seen_and_nothing_is_withheld(
    check: SelfCheck, api: ScriptedReviews, caplog: pytest.LogCaptureFixture
) -> None:
    api.allowed = {("list", "secrets", "")}
    await check.look()
    assert (check.modest, check.unprivileged, check.problem()) == (False, True, None)
    (record,) = [r for r in caplog.records if r.name == self_check.__name__]
    assert record.levelno == logging.WARNING
    assert record.__dict__["beyond_impersonation"] == ["list secrets"]


async def test_an_account_that_may_do_everything_gets_no_credential(
    check: SelfCheck, api: ScriptedReviews, credential: Credential
) -> None:
    api.allowed = {EVERYTHING}
    await check.look()
    assert not check.unprivileged
    withheld = WithheldCredential(credential, check)
    credential.header(0)  # which needs no second thought now
    with pytest.raises(ServiceAccountPrivileged):
        withheld.header(0.5)
    api.allowed = set()
    await check.look()
    assert withheld.header(0) is not None


async def test_unless_that_is_wanted(
    api: ScriptedReviews, reviewer: Reviewer, credential: Credential
) -> None:
    check = SelfCheck(reviewer, Policy(OWN), allow_privileged=True)
    api.allowed = {EVERYTHING}
    await check.look()
    assert (check.unprivileged, check.modest) == (True, False)
    assert WithheldCredential(credential, check).header(0) is not None


async def test_a_canary_that_is_seen_as_somebody_else_withholds_the_credential(
    check: SelfCheck, api: ScriptedReviews, credential: Credential
) -> None:
    api.sees["alice@example.com"] = "system:serviceaccount:headlamp:headlamp-auth-proxy"
    await check.look()
    assert check.found("seen_as_somebody_else")
    with pytest.raises(ImpersonationBroken):
        WithheldCredential(credential, check).header(0)


class Settled:
    """Our credential as it is between two looks."""

    line, looked_at, settled_until = b"settled", 10.0, 11.0

    def header(self, now: float) -> bytes:
        return b"asked at %d" % now

    async def renew(self) -> None: ...
    def reread(self) -> None: ...


def test_between_two_looks_the_line_needs_no_second_thought(check: SelfCheck) -> None:
    withheld = WithheldCredential(Settled(), check)
    assert (withheld.header(10), withheld.header(10.9)) == (b"settled", b"settled")
    assert withheld.header(11) == b"asked at 11"
    assert withheld.header(9) == b"asked at 9"  # the clock was set back


async def test_what_was_refused_is_not_sent_again(check: SelfCheck, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("first")
    withheld = WithheldCredential(from_files(tmp_path / "token", None), check)
    assert (withheld.header(0), withheld.header(0)) == (b"Authorization: Bearer first\r\n",) * 2
    (tmp_path / "token").write_text("second")
    withheld.reread()
    assert withheld.header(0) == b"Authorization: Bearer second\r\n"


@pytest.mark.parametrize(
    "kind", ["SelfSubjectReview", "SelfSubjectAccessReview", "SelfSubjectRulesReview"]
)
@pytest.mark.parametrize(
    "instead", [(HTTPStatus.FORBIDDEN, {}), (HTTPStatus.CREATED, {"kind": "Status"})]
)
async def test_without_an_answer_it_is_unknown_and_nothing_is_withheld(
    check: SelfCheck, api: ScriptedReviews, kind: str, instead: tuple[HTTPStatus, dict[str, str]]
) -> None:
    api.instead[kind] = instead
    await check.look()
    assert (check.known, check.found("unknown"), check.modest, check.problem()) == (
        False, True, True, None,
    )  # fmt: skip


async def test_a_cluster_that_cannot_list_rights_is_unknown(
    check: SelfCheck, api: ScriptedReviews
) -> None:
    api.incomplete = True
    await check.look()
    assert (check.known, check.modest, check.problem()) == (False, True, None)


@pytest.mark.parametrize(
    ("allowed", "incomplete", "expected"),
    [
        (set(), False, [300] * 3),
        (set(), True, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]),
        ({EVERYTHING}, False, [1, 2, 4, 8, 16, 30, 30]),
    ],
)
async def test_it_is_asked_again_and_again(
    check: SelfCheck,
    api: ScriptedReviews,
    monkeypatch: pytest.MonkeyPatch,
    allowed: set[Asked],
    incomplete: bool,
    expected: list[float],
) -> None:
    pauses: list[float] = []
    api.allowed, api.incomplete = allowed, incomplete

    async def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == len(expected):
            raise asyncio.CancelledError

    monkeypatch.setattr("proxy.reviews.self_check.asyncio.sleep", pause)
    with pytest.raises(asyncio.CancelledError):
        await check.run()
    assert pauses == expected


async def test_a_finding_is_logged_when_it_changes(
    check: SelfCheck, api: ScriptedReviews, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    await check.look()
    api.allowed = {EVERYTHING}
    await check.look()
    await check.look()
    api.allowed = set()
    await check.look()
    levels = [r.levelname for r in caplog.records if r.name == self_check.__name__]
    assert levels == ["CRITICAL", "INFO"]
