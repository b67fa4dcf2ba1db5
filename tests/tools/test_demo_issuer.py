"""The demo's issuer, over real sockets: tsidp's answers, claims and refusals."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import ssl
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import aiohttp
import jwt
import pytest

from proxy.tools.demo.issuer.claims import id_token_claims
from proxy.tools.demo.issuer.protocol import AuthorizationRequest, Client, Login
from proxy.tools.demo.issuer.server import DISCOVERY, JWKS, Issuer
from proxy.tools.demo.issuer.sessions import s256
from proxy.tools.demo.issuer.signing import go_json
from proxy.tools.demo.listening import HOST, free_port, make_certificates, serving
from proxy.tools.demo.people import ALICE

CLIENT = Client("4f1c0d9be27a4c5f8a36b1d2e3f40516", "5e" * 32)
REDIRECT_URI = CLIENT.redirect_uris[0]
VERIFIER = "v" * 43
SCOPE = "openid email profile"
Changes = Mapping[str, str | None]  # None: leave it out


def changed(usual: Mapping[str, str], changes: Changes) -> dict[str, str]:
    return {name: value for name, value in {**usual, **changes}.items() if value is not None}


@dataclass
class Visitor:
    """A browser and a client in one, which trusts the issuer's CA and follows no redirect."""

    url: str
    session: aiohttp.ClientSession

    async def get(self, path: str, **options: Any) -> aiohttp.ClientResponse:
        answer = await self.session.get(self.url + path, allow_redirects=False, **options)
        await answer.read()
        return answer

    async def authorize(self, changes: Changes) -> aiohttp.ClientResponse:
        usual = {
            "client_id": CLIENT.id,
            "redirect_uri": REDIRECT_URI,
            "response_type": "code",
            "scope": SCOPE,
            "state": "s",
            "nonce": "n-0S6_WzA2Mj",
            "user": "alice",
        }
        return await self.get("/authorize", params=changed(usual, changes))

    async def code(self, **changes: str | None) -> str:
        answer = await self.authorize(changes)
        assert answer.status == 302
        return sent_back(answer)["code"]

    async def token(
        self, form: Changes, headers: Mapping[str, str] | None = None
    ) -> aiohttp.ClientResponse:
        usual = {
            "grant_type": "authorization_code",
            "redirect_uri": REDIRECT_URI,
            "client_id": CLIENT.id,
            "client_secret": CLIENT.secret,
        }
        answer = await self.session.post(
            f"{self.url}/token", data=changed(usual, form), headers=headers
        )
        await answer.read()
        return answer

    async def tokens(self, **changes: str | None) -> dict[str, Any]:
        answer = await self.token({"code": await self.code(**changes)})
        assert answer.status == 200
        return dict(await answer.json())

    async def claims(self, id_token: str) -> dict[str, Any]:
        """Verify a token by the published keys and return its claims."""
        (key,) = jwt.PyJWKSet.from_dict(await (await self.get(JWKS)).json()).keys
        claims = jwt.decode(id_token, key, ["RS256"], audience=CLIENT.id, issuer=self.url)
        return dict(claims)


@pytest.fixture
async def visitor(tmp_path: Path) -> AsyncIterator[Visitor]:
    port, ca_file = free_port(), make_certificates(tmp_path)
    issuer = Issuer(f"https://{HOST}:{port}", CLIENT)
    tls = aiohttp.TCPConnector(ssl=ssl.create_default_context(cafile=ca_file))
    async with (
        serving(issuer.app(), port, tmp_path),
        aiohttp.ClientSession(connector=tls) as session,
    ):
        yield Visitor(issuer.url, session)


def sent_back(answer: aiohttp.ClientResponse) -> dict[str, str]:
    location = answer.headers["Location"]
    assert location.startswith(f"{REDIRECT_URI}?")
    return {name: values[0] for name, values in parse_qs(urlsplit(location).query).items()}


# --- What is published ---------------------------------------------------------------------------


async def test_discovery_names_the_issuer_and_only_what_tsidp_has(visitor: Visitor) -> None:
    answer = await visitor.get(DISCOVERY)
    document = await answer.json()
    assert document["issuer"] == visitor.url
    assert document["jwks_uri"] == visitor.url + JWKS
    assert document["scopes_supported"] == ["openid", "email", "profile"]
    assert document["grant_types_supported"] == ["authorization_code", "refresh_token"]
    assert await answer.text() == json.dumps(document, indent=2) + "\n"


@pytest.mark.parametrize("path", [DISCOVERY, JWKS])
async def test_nothing_says_how_long_a_document_may_be_kept(visitor: Visitor, path: str) -> None:
    answer = await visitor.get(path)
    assert answer.content_type == "application/json"
    assert not {"Cache-Control", "ETag", "Expires", "Last-Modified"} & set(answer.headers)


async def test_the_one_key_has_a_decimal_name_and_go_joses_order(visitor: Visitor) -> None:
    (key,) = (await (await visitor.get(JWKS)).json())["keys"]
    assert list(key) == ["use", "kty", "kid", "alg", "n", "e"]
    assert int(key["kid"]) < 2**64
    assert (key["alg"], key["e"]) == ("RS256", "AQAB")


# --- Signing in ----------------------------------------------------------------------------------


BASIC = base64.b64encode(f"{CLIENT.id}:{CLIENT.secret}".encode()).decode()


@pytest.mark.parametrize(
    ("form", "headers"),
    [
        ({}, {}),
        ({"client_id": None, "client_secret": None}, {"Authorization": f"Basic {BASIC}"}),
        ({"client_secret": "the header counts"}, {"Authorization": f"Basic {BASIC}"}),
    ],
    ids=["client_secret_post", "client_secret_basic", "both"],
)
@pytest.mark.parametrize(
    ("challenge", "verifier"),
    [
        ({}, None),
        ({"code_challenge": s256(VERIFIER), "code_challenge_method": "S256"}, VERIFIER),
        ({"code_challenge": VERIFIER, "code_challenge_method": "plain"}, VERIFIER),
        ({"code_challenge": VERIFIER}, VERIFIER),
    ],
    ids=["no PKCE", "S256", "plain", "plain by default"],
)
async def test_a_code_becomes_tokens(
    visitor: Visitor,
    form: Changes,
    headers: dict[str, str],
    challenge: dict[str, str],
    verifier: str | None,
) -> None:
    code = await visitor.code(**challenge)
    answer = await visitor.token({**form, "code": code, "code_verifier": verifier}, headers)
    tokens = await answer.json()
    assert list(tokens) == [
        *("id_token", "token_type", "access_token", "refresh_token", "expires_in")
    ]
    assert (tokens["token_type"], tokens["expires_in"]) == ("Bearer", 300)
    assert re.fullmatch("[0-9a-f]{32}", tokens["access_token"])
    assert re.fullmatch("[0-9a-f]{32}", tokens["refresh_token"])
    assert (await visitor.claims(tokens["id_token"]))["email"] == "alice@example.com"
    assert "Cache-Control" not in answer.headers


async def test_a_token_has_exactly_the_claims_of_tsidp(visitor: Visitor) -> None:
    token = (await visitor.tokens())["id_token"]
    assert jwt.get_unverified_header(token).keys() == {"alg", "kid", "typ"}
    claims = await visitor.claims(token)
    now = time.time()
    assert now - 5 < claims["iat"] <= now
    assert claims["exp"] == claims["iat"] + 300
    assert claims["nbf"] == claims["iat"] - 300
    assert {name: claims[name] for name in claims.keys() - {"exp", "iat", "nbf", "jti", "key"}} == {
        "addresses": claims["addresses"],
        "aud": CLIENT.id,
        "email": "alice@example.com",
        "groups": claims["groups"],
        "iss": visitor.url,
        "nid": claims["nid"],
        "node": "alice-laptop.tail1234.ts.net.",
        "nonce": "n-0S6_WzA2Mj",
        "picture": "https://pictures.example.com/alice?size=96&shape=round",
        "preferred_username": "alice",
        "sub": f"userid:{ALICE.uid}",
        "tailnet": "tail1234.ts.net.",
        "uid": ALICE.uid,
    }
    assert set(claims["groups"]) == {"k8s-admins", "k8s-viewers"}
    assert re.fullmatch("[0-9a-f]{32}", claims["jti"])
    assert re.fullmatch("nodekey:[0-9a-f]{64}", claims["key"])


async def test_the_payload_is_written_as_go_writes_it(visitor: Visitor) -> None:
    payload = (await visitor.tokens())["id_token"].split(".")[1]
    text = base64.urlsafe_b64decode(payload + "==").decode()
    assert r"?size=96\u0026shape=round" in text
    assert text == go_json(json.loads(text))
    names = list(json.loads(text))
    assert names == sorted(names)


@pytest.mark.parametrize(
    ("scope", "present"),
    [
        (None, set()),
        ("openid", set()),
        ("email", {"email"}),
        ("openid profile", {"preferred_username", "picture"}),
    ],
)
async def test_a_claim_hangs_on_its_scope(
    visitor: Visitor, scope: str | None, present: set[str]
) -> None:
    claims = await visitor.claims((await visitor.tokens(scope=scope))["id_token"])
    assert claims.keys() & {"email", "preferred_username", "picture"} == present


async def test_who_has_no_groups_has_no_such_claim(visitor: Visitor) -> None:
    claims = await visitor.claims((await visitor.tokens(user="carol"))["id_token"])
    assert claims["email"] == "carol@example.com"
    assert "groups" not in claims


def test_groups_come_in_any_order() -> None:
    request = AuthorizationRequest(CLIENT.id, REDIRECT_URI, ("openid",), "", "", "", "plain")
    login = Login(ALICE, request)
    orders = {tuple(id_token_claims(login, "https://idp", 0.0)["groups"]) for _ in range(100)}
    assert orders == {("k8s-admins", "k8s-viewers"), ("k8s-viewers", "k8s-admins")}


async def test_user_info_asks_for_no_scope(visitor: Visitor) -> None:
    tokens = await visitor.tokens(scope="openid", user="bob")
    bearer = {"Authorization": f"Bearer {tokens['access_token']}"}
    assert await (await visitor.get("/userinfo", headers=bearer)).json() == {
        "sub": "userid:5738291046173830",
        "name": "Bob",
        "email": "bob@example.com",
        "picture": "https://pictures.example.com/bob?size=96&shape=round",
        "username": "bob",
        "groups": ["k8s-viewers"],
    }
    bearer = {"Authorization": f"Bearer {tokens['id_token']}"}
    assert (await visitor.get("/userinfo", headers=bearer)).status == 400


# --- Refreshing ----------------------------------------------------------------------------------


async def test_a_refreshed_token_says_what_the_login_said(visitor: Visitor) -> None:
    first = await visitor.tokens()
    refresh = {"grant_type": "refresh_token", "refresh_token": first["refresh_token"]}
    second = await (await visitor.token(refresh)).json()
    before, after = [await visitor.claims(tokens["id_token"]) for tokens in (first, second)]
    assert before["jti"] != after["jti"]
    assert second["refresh_token"] != first["refresh_token"]
    for claims in (before, after):
        claims["groups"].sort()
        for name in ("exp", "iat", "jti", "nbf"):
            del claims[name]
    assert before == after


@pytest.mark.parametrize("first_try", [{}, {"client_secret": "wrong"}], ids=["used", "burnt"])
async def test_a_refresh_token_can_be_shown_once(visitor: Visitor, first_try: Changes) -> None:
    token = (await visitor.tokens())["refresh_token"]
    refresh: Changes = {"grant_type": "refresh_token", "refresh_token": token}
    await visitor.token({**refresh, **first_try})
    answer = await visitor.token(refresh)
    assert answer.status == 400
    assert await answer.text() == "Error 400: invalid_grant - invalid refresh token\n"


@pytest.mark.parametrize("first_try", [{}, {"client_secret": "wrong"}], ids=["used", "burnt"])
async def test_a_code_can_be_shown_once(visitor: Visitor, first_try: Changes) -> None:
    code = await visitor.code()
    await visitor.token({"code": code, **first_try})
    answer = await visitor.token({"code": code})
    assert answer.status == 400
    assert await answer.text() == "Error 400: invalid_grant - code not found\n"


# --- Refusals ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"redirect_uri": None}, "invalid_request - must specify redirect_uri"),
        ({"client_id": None}, "invalid_request - must specify client_id"),
        ({"client_id": "other"}, "invalid_client - invalid client ID"),
        ({"redirect_uri": f"{REDIRECT_URI}/"}, "invalid_request - redirect_uri mismatch"),
        ({"redirect_uri": "https://evil.example"}, "invalid_request - redirect_uri mismatch"),
    ],
)
async def test_a_client_that_cannot_be_trusted_is_not_sent_anything(
    visitor: Visitor, changes: Changes, text: str
) -> None:
    answer = await visitor.authorize(changes)
    assert (answer.status, await answer.text()) == (400, f"Error 400: {text}\n")
    assert "Location" not in answer.headers


@pytest.mark.parametrize(
    ("changes", "error", "description"),
    [
        ({"scope": "openid groups"}, "invalid_scope", 'invalid scope: unsupported scope: "groups"'),
        (
            {"scope": "offline_access"},
            "invalid_scope",
            'invalid scope: unsupported scope: "offline_access"',
        ),
        (
            {"code_challenge": "c", "code_challenge_method": "S512"},
            "invalid_request",
            "unsupported code_challenge_method",
        ),
        (
            {"user": "ci-runner"},
            "access_denied",
            "tagged node doesn't have a user identity",
        ),
    ],
)
async def test_other_refusals_are_told_to_the_client(
    visitor: Visitor, changes: Changes, error: str, description: str
) -> None:
    answer = await visitor.authorize(changes)
    assert answer.status == 302
    expected = {"error": error, "error_description": description, "state": "s"}
    assert sent_back(answer) == expected


CHALLENGE = {"code_challenge": s256(VERIFIER), "code_challenge_method": "S256"}


@pytest.mark.parametrize(
    ("asked", "form", "status", "text"),
    [
        ({}, {"code": ""}, 400, "invalid_request - code is required"),
        ({}, {"code": "00"}, 400, "invalid_grant - code not found"),
        ({}, {"client_secret": None}, 401, "invalid_client - client authentication failed"),
        ({}, {"client_secret": "no"}, 401, "invalid_client - client authentication failed"),
        ({}, {"client_id": "other"}, 400, "invalid_client - client authentication failed"),
        ({}, {"redirect_uri": None}, 400, "invalid_request - redirect_uri mismatch"),
        ({}, {"grant_type": None}, 400, "unsupported_grant_type - unsupported grant type"),
        (
            {},
            {"grant_type": "client_credentials"},
            400,
            "unsupported_grant_type - unsupported grant type",
        ),
        (
            {},
            {"grant_type": "urn:ietf:params:oauth:grant-type:token-exchange"},
            400,
            "unsupported_grant_type - token exchange not enabled",
        ),
        ({}, {"grant_type": "refresh_token"}, 400, "invalid_request - refresh_token is required"),
        (CHALLENGE, {}, 400, "invalid_request - code_verifier is required"),
        (
            CHALLENGE,
            {"code_verifier": "w" * 43},
            400,
            "invalid_grant - code verification failed",
        ),
        (
            {"code_challenge": "short"},
            {"code_verifier": "short"},
            400,
            "invalid_grant - code verification failed",
        ),
    ],
)
async def test_the_token_endpoint_says_what_is_wrong(
    visitor: Visitor, asked: dict[str, str], form: Changes, status: int, text: str
) -> None:
    answer = await visitor.token({"code": await visitor.code(**asked), **form})
    assert (answer.status, await answer.text()) == (status, f"Error {status}: {text}\n")
    assert answer.content_type == "text/plain"
    assert answer.headers["Cache-Control"] == "no-store"


async def test_an_error_is_json_for_those_who_accept_it_and_text_by_name(visitor: Visitor) -> None:
    answer = await visitor.token({"code": "00"}, {"Accept": "application/json"})
    assert json.loads(await answer.text()) == {
        "error": "invalid_grant",
        "error_description": "code not found",
    }
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"


async def test_tokens_are_asked_for_by_post(visitor: Visitor) -> None:
    answer = await visitor.get("/token")
    assert answer.status == 405


# --- The page ------------------------------------------------------------------------------------


class Page(HTMLParser):
    """What is on a page: the elements with their attributes, and the style sheet."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.style = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.elements and self.elements[-1][0] == "style" and not self.style:
            self.style = data

    def links(self) -> list[str]:
        return [attrs["href"] or "" for tag, attrs in self.elements if tag == "a"]


async def page(visitor: Visitor, **changes: str | None) -> tuple[aiohttp.ClientResponse, Page]:
    answer = await visitor.authorize({"user": None, **changes})
    assert answer.status == 200
    return answer, Page(await answer.text())


async def test_whoever_is_chosen_on_the_page_signs_in(visitor: Visitor) -> None:
    _, shown = await page(visitor)
    chosen = dict(zip(("alice", "bob", "carol", "ci-runner"), shown.links(), strict=True))
    answer = await visitor.get(chosen["bob"])
    back = sent_back(answer)
    assert back["state"] == "s"
    tokens = await (await visitor.token({"code": back["code"]})).json()
    assert (await visitor.claims(tokens["id_token"]))["email"] == "bob@example.com"
    assert sent_back(await visitor.get(chosen["ci-runner"]))["error"] == "access_denied"


async def test_what_came_with_the_request_is_escaped(visitor: Visitor) -> None:
    plain = [tag for tag, _ in (await page(visitor))[1].elements]
    answer, shown = await page(visitor, state="\"><script>alert('x')</script>&amp;")
    assert [tag for tag, _ in shown.elements] == plain
    assert "<script" not in await answer.text()
    back = sent_back(await visitor.get(shown.links()[0]))
    assert back["state"] == "\"><script>alert('x')</script>&amp;"


async def test_the_page_may_load_and_run_nothing_but_its_own_style(visitor: Visitor) -> None:
    answer, shown = await page(visitor)
    digest = base64.b64encode(hashlib.sha256(shown.style.encode()).digest()).decode()
    policy = answer.headers["Content-Security-Policy"].split("; ")
    assert "default-src 'none'" in policy
    assert f"style-src 'sha256-{digest}'" in policy
    assert "frame-ancestors 'none'" in policy
    assert not [attrs for _, attrs in shown.elements if attrs.keys() & {"src", "style", "onclick"}]
    assert "prefers-color-scheme: dark" in shown.style
    assert "http" not in shown.style


async def test_the_page_says_its_language_title_and_heading(visitor: Visitor) -> None:
    _, shown = await page(visitor)
    tags = [tag for tag, _ in shown.elements]
    assert ("html", {"lang": "en"}) in shown.elements
    assert [tag for tag in tags if tag in ("title", "main", "h1")] == ["title", "main", "h1"]
