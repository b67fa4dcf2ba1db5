"""The page as the program serves it: byte by byte, before everything that needs a token.

The API server is scripted (see tests/scripted_reviews.py); no request for the page may reach it.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from proxy.reviews.privileges import CANARY
from proxy.rights import Rule
from tests.issuer import CLIENT_ID, jwks_document, rsa_key, tsidp_claims
from tests.scripted_reviews import ScriptedReviews
from tests.serving import Serve
from tests.wire import Client

ISSUER = "https://idp.tail1234.ts.net"
PATH = "/.auth-proxy/whoami"


def token(**claims: Any) -> str:
    return rsa_key().token(tsidp_claims(ISSUER, groups=["dev"]) | claims)


class Stage:
    def __init__(self, serve: Serve, api: ScriptedReviews) -> None:
        self.serve, self.api = serve, api
        self.clients: list[Client] = []

    async def client(self) -> Client:
        tls = ssl.create_default_context(cafile=str(self.serve.ca_file))
        client = await Client.connect(self.serve.port, tls)
        self.clients.append(client)
        return client

    def forwarded(self) -> list[str]:
        """The paths of what has reached the API server and is no question of the proxy's own."""
        return [r.path for r in self.api.requests if not r.path.endswith("reviews")]


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("whoami")
    with ScriptedReviews(folder) as api:
        api.rights = [Rule(("list",), ("",), ("pods",))]
        with Serve(folder, *flags(folder, api)) as serve:
            serve.wait_ready()
            yield Stage(serve, api)


@pytest.fixture
async def stage(started: Stage) -> AsyncIterator[Stage]:
    yield started
    clients, started.clients = started.clients, []
    for client in clients:
        await client.gone()


def flags(folder: Path, api: ScriptedReviews) -> list[str]:
    (folder / "jwks.json").write_bytes(jwks_document(rsa_key()))
    (folder / "token").write_text("the-proxys-own-token")
    return [
        f"--oidc-issuer-url={ISSUER}",
        f"--oidc-client-id={CLIENT_ID}",
        f"--oidc-jwks-file={folder / 'jwks.json'}",
        f"--upstream={api.url}",
        f"--upstream-ca-file={api.ca_file}",
        f"--upstream-token-file={folder / 'token'}",
        "--max-requests-per-user=1",
    ]


def ask(method: str = "GET", target: str = PATH, *lines: str, jwt: str | None = "") -> bytes:
    """A request; ``jwt`` empty for a good token, None for none."""
    sent = [] if jwt is None else [f"Authorization: Bearer {jwt or token()}"]
    return "\r\n".join([f"{method} {target} HTTP/1.1", "Host: x", *sent, *lines, "", ""]).encode()


async def test_it_needs_no_token_and_says_why_one_is_bad(stage: Stage) -> None:
    client = await stage.client()
    for jwt, reason in ((None, "token_missing"), ("x", "token_malformed"), ("", "")):
        answer = await client.send(ask(jwt=jwt)).answer()
        assert answer.status == 200
        assert answer.headers["content-type"] == "application/json"
        assert json.loads(answer.body)["reason"] == reason
    assert PATH not in stage.forwarded()


async def test_a_head_has_the_head_of_the_page_and_no_body(stage: Stage) -> None:
    client = await stage.client()
    jwt = token()
    whole = await client.send(ask(jwt=jwt)).answer()
    client.send(ask("HEAD", jwt=jwt))
    head = await client.read_head()
    assert f"Content-Length: {len(whole.body)}\r\n".encode() in head
    client.send(ask(jwt=jwt))  # right behind the head: there was no body
    assert (await client.read_head()).startswith(b"HTTP/1.1 200 OK\r\n")


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
async def test_another_method_is_refused_with_those_that_are_not(stage: Stage, method: str) -> None:
    client = await stage.client()
    answer = await client.send(ask(method)).answer()
    assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD")
    assert PATH not in stage.forwarded()


@pytest.mark.parametrize(
    "target",
    [
        f"{PATH}/",
        f"/{PATH}",
        "/.auth-proxy//whoami",
        "/%2eauth-proxy/whoami",
        "/.auth-proxy/who%61mi",
        f"/x/..{PATH}",
        f"{PATH}%3f",
        f"{PATH};x",
        "/.auth-proxy/",
    ],
)
async def test_a_path_that_is_nearly_this_one_is_like_any_other(stage: Stage, target: str) -> None:
    """It needs a token, and passes as it came; so nobody can have it mean one thing here only."""
    client = await stage.client()
    answer = await client.send(ask(target=target, jwt=None)).answer()
    assert answer.status == 401
    answer = await client.send(ask(target=target)).answer()
    assert answer.status == 200
    assert json.loads(answer.body)["Impersonate-User"] == "alice@example.com"
    if not target.startswith("//"):  # which the scripted server itself takes for "/"
        assert stage.forwarded()[-1] == target


async def test_a_query_changes_nothing_but_the_namespace(stage: Stage) -> None:
    client = await stage.client()
    jwt = token(email="asks-about@example.com")
    answer = await client.send(ask(target=f"{PATH}?namespace=shop&x=<b>", jwt=jwt)).answer()
    assert json.loads(answer.body)["rbac"]["namespace"] == "shop"


async def test_requests_behind_it_are_answered_in_their_order(stage: Stage) -> None:
    client = await stage.client()
    client.send(ask() + ask(jwt=None) + ask(target="/api/v1/pods") + ask("HEAD") + ask("POST"))
    bodies = [json.loads((await client.answer()).body) for _ in range(3)]
    assert [body.get("reason") for body in bodies[:2]] == ["", "token_missing"]
    assert bodies[2]["Impersonate-User"] == "alice@example.com"
    assert (await client.read_head()).startswith(b"HTTP/1.1 200")
    assert (await client.answer()).status == 405


@pytest.mark.parametrize("framing", ["Content-Length: 5", "Transfer-Encoding: chunked"])
async def test_a_body_is_not_waited_for_and_never_becomes_a_request(
    stage: Stage, framing: str
) -> None:
    client = await stage.client()
    answer = await client.send(ask("GET", PATH, framing)).answer()
    assert (answer.status, answer.headers["connection"]) == (200, "close")
    before = len(stage.forwarded())
    client.send(ask(target="/smuggled"))
    await client.read_to_end()
    assert len(stage.forwarded()) == before


async def test_a_body_that_came_along_ends_where_it_says(stage: Stage) -> None:
    client = await stage.client()
    client.send(ask("GET", PATH, "Content-Length: 5") + b"hello" + ask(target="/after"))
    assert (await client.answer()).status == 200
    assert json.loads((await client.answer()).body)["Impersonate-User"] == "alice@example.com"


@pytest.mark.parametrize("protocol", ["websocket", "SPDY/3.1"])
async def test_it_does_not_switch_protocols(stage: Stage, protocol: str) -> None:
    client = await stage.client()
    upgrade = ("Connection: Upgrade", f"Upgrade: {protocol}")
    client.send(ask("GET", PATH, *upgrade) + ask(target="/smuggled"))
    answer = await client.answer()
    assert (answer.status, answer.headers["connection"]) == (200, "close")
    assert await client.ended()
    assert "/smuggled" not in stage.forwarded()


async def test_the_limits_of_a_user_do_not_keep_it_from_them(stage: Stage) -> None:
    """Who is told 429 wants to know who has all the requests under way."""
    jwt = token(email="busy@example.com")
    clients = [await stage.client() for _ in range(8)]
    for client in clients:
        client.send(ask(jwt=jwt))
    answers = await asyncio.gather(*(client.answer() for client in clients))
    assert {answer.status for answer in answers} == {200}
    asked = [
        request
        for request in stage.api.requests
        if request.path.endswith("selfsubjectrulesreviews")
        and request.values("Impersonate-User") == ["busy@example.com"]
    ]
    assert len(asked) == 1


async def test_impersonation_that_the_client_asks_for_is_refused_as_ever(stage: Stage) -> None:
    client = await stage.client()
    answer = await client.send(ask("GET", PATH, "Impersonate-User: bob")).answer()
    account = json.loads(answer.body)
    assert account["reason"] == "impersonation_not_allowed"
    assert account["speaks_of"] == "alice@example.com"


async def test_a_stranger_has_the_api_server_asked_nothing(stage: Stage) -> None:
    """Nothing in anybody's name; what the proxy asks about itself, at its start, is no matter."""

    def named() -> list[str]:
        users = [request.values("Impersonate-User") for request in stage.api.requests]
        return [user for names in users for user in names if user != CANARY]

    client = await stage.client()
    before = named()
    for jwt in (None, "x", token(exp=1), token(iss="https://elsewhere"), token(aud="other")):
        assert (await client.send(ask(jwt=jwt)).answer()).status == 200
    assert named() == before


async def test_its_line_in_the_log_is_there_and_has_neither_token_nor_query(stage: Stage) -> None:
    client = await stage.client()
    jwt = token()
    await client.send(ask(target=f"{PATH}?namespace=of-the-query", jwt=jwt)).answer()
    await asyncio.to_thread(
        stage.serve.wait_until,
        lambda: any(line["path"] == PATH for line in stage.serve.requests()),
        "logged",
    )
    log = stage.serve.log.read_text()
    assert jwt not in log
    assert "of-the-query" not in log


def test_off_the_path_is_like_any_other(tmp_path: Path) -> None:
    with (
        ScriptedReviews(tmp_path) as api,
        Serve(tmp_path, *flags(tmp_path, api), "--whoami=off") as serve,
    ):
        serve.wait_ready()
        status, body = serve.get(PATH)
        assert status == 401
        assert PATH not in body["message"]
        status, body = serve.get(PATH, token())
        assert body["Impersonate-User"] == "alice@example.com"
        assert PATH in [request.path for request in api.requests]
        expired = token(exp=int(time.time()) - 3600)
        assert PATH not in serve.get("/api", expired)[1]["message"]
