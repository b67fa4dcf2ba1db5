"""Reviews over real TLS: as whom they are put, and that every failure is a value."""

from __future__ import annotations

import asyncio
import logging
import socket
from http import HTTPStatus
from pathlib import Path

import pytest

from proxy.credentials.credential import Credential, from_files
from proxy.credentials.endpoint import Upstream as Endpoint
from proxy.credentials.endpoint import parse_upstream
from proxy.impersonation import Policy, impersonate
from proxy.reviews import client
from proxy.reviews.client import Reviewer, asserting
from proxy.reviews.documents import Access, Question, TokenStatus, Unknown
from proxy.userinfo import UserInfo
from tests.conftest import Tls
from tests.process import free_port
from tests.reviews.conftest import OWN_TOKEN, Told
from tests.scripted_reviews import OURSELVES, ScriptedReviews
from tests.wire import Upstream


def rewrite(path: Path, content: str) -> None:
    path.write_text(content)


SECRETS = Question("list", resource="secrets")


async def test_a_review_is_put_as_ourselves_and_says_so(
    api: ScriptedReviews, reviewer: Reviewer
) -> None:
    answer = await reviewer.who_am_i()
    assert isinstance(answer, UserInfo)
    assert answer.username == OURSELVES
    (request,) = api.requests
    assert request.values("Authorization") == [f"Bearer {OWN_TOKEN}"]
    assert request.values("User-Agent")[0].startswith("headlamp-auth-proxy/")
    assert request.values("Host") == [api.url.removeprefix("https://")]
    assert not [name for name, _ in request.fields if name.lower().startswith("impersonate")]


async def test_an_identity_may_be_asserted_for_a_question_about_oneself(
    reviewer: Reviewer,
) -> None:
    headers = [("Impersonate-User", "jörg"), ("Impersonate-Group", "a")]
    answer = await reviewer.who_am_i(headers)
    assert answer == UserInfo("jörg".encode().decode("latin-1"), "", ("a", "system:authenticated"))


async def test_access(api: ScriptedReviews, reviewer: Reviewer, told: Told) -> None:
    assert await reviewer.may_i(SECRETS) == Access(allowed=False)
    api.allowed = {("list", "secrets", "")}
    assert await reviewer.may_i(SECRETS) == Access(allowed=True)
    api.allowed, api.allowed_to = set(), {"bob": {("list", "secrets", "")}}
    assert await reviewer.may(UserInfo("bob"), SECRETS) == Access(allowed=True)
    assert await reviewer.may(UserInfo("eve"), SECRETS) == Access(allowed=False)
    assert (
        told
        == [("SelfSubjectAccessReview", "answered")] * 2 + [("SubjectAccessReview", "answered")] * 2
    )


async def test_whose_token_it_is(api: ScriptedReviews, reviewer: Reviewer) -> None:
    api.tokens["t"] = {"username": "robot", "groups": ["robots"]}
    robot = UserInfo("robot", "", ("robots",))
    assert await reviewer.token(b"t") == TokenStatus(robot)
    nobodys = TokenStatus(None, error="[invalid bearer token]")
    assert await reviewer.token(b"u") == nobodys
    api.audiences = ["here"]
    assert await reviewer.token(b"t", ["here", "there"]) == TokenStatus(robot, ("here",))


async def test_what_somebody_else_asks_goes_without_anything_of_ours(
    api: ScriptedReviews,
    reviewer: Reviewer,
    credential: Credential,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The API server takes a client certificate for who is asking before it looks at a token."""
    monkeypatch.setattr(credential, "ssl_context", lambda: pytest.fail("it shows what is ours"))
    await reviewer.rules_of("default", credential=("Authorization", "Bearer robots"))
    (request,) = api.requests
    assert request.values("Authorization") == ["Bearer robots"]


@pytest.mark.parametrize("audiences", [[], ["elsewhere"]])
async def test_a_token_for_another_audience_is_nobodys(
    api: ScriptedReviews, reviewer: Reviewer, audiences: list[str]
) -> None:
    api.tokens["t"] = {"username": "robot"}
    api.audiences = audiences
    assert await reviewer.token(b"t", ["here"]) == TokenStatus(None)


async def test_a_credential_that_is_refused_is_looked_at_again(
    api: ScriptedReviews, reviewer: Reviewer, token_file: Path
) -> None:
    await reviewer.who_am_i()
    api.instead["SelfSubjectReview"] = HTTPStatus.UNAUTHORIZED, {"message": "Unauthorized"}
    rewrite(token_file, "rotated")
    answer = await reviewer.who_am_i()
    assert isinstance(answer, Unknown)
    assert "401" in answer.why
    sent = [request.values("Authorization")[0] for request in api.requests[1:]]
    assert sent == [f"Bearer {OWN_TOKEN}", "Bearer rotated"]


async def test_without_a_credential_nothing_is_asked(
    api: ScriptedReviews, reviewer: Reviewer, token_file: Path
) -> None:
    rewrite(token_file, "")
    answer = await reviewer.who_am_i()
    assert isinstance(answer, Unknown)
    assert str(token_file) in answer.why
    assert api.requests == []


async def test_an_answer_that_is_too_large_is_unknown(
    api: ScriptedReviews, reviewer: Reviewer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "MAX_ANSWER_BYTES", 1000)
    api.instead["SelfSubjectReview"] = HTTPStatus.OK, {"kind": "x" * 2000}
    answer = await reviewer.who_am_i()
    assert isinstance(answer, Unknown)
    assert "larger than 1000 bytes" in answer.why


async def test_a_redirect_is_no_answer_and_is_not_followed(
    api: ScriptedReviews, reviewer: Reviewer
) -> None:
    api.moved = "/elsewhere/selfsubjectreviews"
    answer = await reviewer.who_am_i()
    assert isinstance(answer, Unknown)
    assert "status 307" in answer.why
    assert len(api.requests) == 1


async def asked(upstream: Endpoint, credential: Credential, told: Told) -> Unknown:
    reviewer = Reviewer(upstream, credential, lambda kind, result, _: told.append((kind, result)))
    try:
        answer = await reviewer.who_am_i()
    finally:
        await reviewer.close()
    assert isinstance(answer, Unknown)
    assert told == [("SelfSubjectReview", "unknown")]
    return answer


async def test_an_api_server_that_is_away_is_unknown(credential: Credential, told: Told) -> None:
    await asked(parse_upstream(f"https://127.0.0.1:{free_port()}"), credential, told)


async def test_one_that_does_not_answer_is_unknown_in_time(
    credential: Credential, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "TIMEOUT", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        upstream = parse_upstream(f"https://127.0.0.1:{silent.getsockname()[1]}")
        answer = await asked(upstream, credential, told)
    assert "no answer within 0.05 s" in answer.why


async def test_one_that_shows_another_certificate_is_not_asked(
    api: ScriptedReviews, token_file: Path, told: Told
) -> None:
    await asked(parse_upstream(api.url), from_files(token_file, None), told)
    await asked_for_another_name(api, from_files(token_file, api.ca_file))
    assert api.requests == []


async def asked_for_another_name(api: ScriptedReviews, credential: Credential) -> None:
    upstream = parse_upstream(api.url, server_name="another.example")
    answer = await asked(upstream, credential, [])
    assert "certificate is refused" in answer.why


async def test_only_so_many_are_under_way_and_the_others_wait(
    tls: Tls, token_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "CONCURRENT", 2)
    async with Upstream.run(tls.server) as upstream:
        reviewer = Reviewer(
            parse_upstream(f"https://127.0.0.1:{upstream.port}"),
            from_files(token_file, tls.ca_file),
            lambda *_: None,
        )
        asking = [asyncio.create_task(reviewer.who_am_i()) for _ in range(5)]
        for _ in range(2):
            await (await upstream.connection()).read_head()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await upstream.connections.get()
        for task in asking:
            task.cancel()
        await asyncio.wait(asking)
        await reviewer.close()


async def test_a_failure_is_logged_once_and_so_is_its_end(
    api: ScriptedReviews, reviewer: Reviewer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    api.instead["TokenReview"] = HTTPStatus.FORBIDDEN, {"message": "cannot create tokenreviews"}
    for _ in range(3):
        await reviewer.token(b"the-clients-token")
    del api.instead["TokenReview"]
    for _ in range(2):
        await reviewer.token(b"the-clients-token")
    assert [record.getMessage() for record in caplog.records if record.name == client.__name__] == [
        "a review has no answer: TokenReview: status 403: cannot create tokenreviews",
        "reviews are answered again",
    ]
    assert "the-clients-token" not in caplog.text


async def test_all_of_an_identity_goes_along_with_a_question_put_as_somebody_else(
    api: ScriptedReviews, reviewer: Reviewer
) -> None:
    policy = Policy("ours", send_credential_id=True)
    extra = {"example.com/a_b": ("x", "y")}
    identity = impersonate(UserInfo("jörg", "7", ("a",), extra), policy)
    await reviewer.may_i(SECRETS, asserting(identity))
    await reviewer.my_rules("default", asserting(identity))
    for request in api.requests:
        sent = [(n, v) for n, v in request.fields if n.lower().startswith("impersonate")]
        assert [(name, value.encode("latin-1").decode()) for name, value in sent] == [
            ("Impersonate-User", "jörg"),
            ("Impersonate-Group", "a"),
            ("Impersonate-Group", "ours"),
            ("Impersonate-Uid", "7"),
            ("Impersonate-Extra-example.com%2Fa%5Fb", "x"),
            ("Impersonate-Extra-example.com%2Fa%5Fb", "y"),
        ]
    assert len(api.requests) == 2
