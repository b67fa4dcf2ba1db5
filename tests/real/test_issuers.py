"""Where our two stand-ins for tsidp agree with the genuine one, and where they do not.

``FakeIssuer`` (tests/issuer.py) and the demo's issuer (proxy/tools/demo/issuer) are shaped like the
newer tsidp, which was read and not run. The one of tailscale.com can be run. Whatever both
generations have is compared here, and each difference is written down: it lies between the
generations, or it is a mistake of ours.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from proxy.tools.demo.issuer.server import DISCOVERY, JWKS
from tests.issuer import FakeIssuer
from tests.real.provider import NONCE, Provider, demo_provider
from tests.real.tailnet import Tailnet, ask
from tests.real.tailscaled import Device
from tests.serving import issuer_in_thread

REDIRECT_URI = "http://127.0.0.1:4466/oidc-callback"
ALICE = Device(
    "100.101.102.103",
    "alice@example.com",
    5738291046173829,
    "alice-laptop.tail1234.ts.net.",
    ({"extraClaims": {"groups": ["k8s-admins", "k8s-viewers"]}, "includeInUserInfo": True},),
)


@pytest.fixture(scope="module")
def tsidp(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Provider]:
    with Tailnet(tmp_path_factory.mktemp("tsidp")) as tailnet:
        tailnet.devices[ALICE.address] = ALICE
        client = tailnet.register(REDIRECT_URI)
        headers = {"X-Forwarded-For": ALICE.address}
        yield Provider(tailnet.url, tailnet.ca_file, client, headers, {})


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Provider]:
    with demo_provider(tmp_path_factory.mktemp("demo"), REDIRECT_URI) as provider:
        yield provider


@pytest.fixture(scope="module")
def fake() -> Iterator[FakeIssuer]:
    with issuer_in_thread() as (issuer, _):
        yield issuer


# --- Documents -----------------------------------------------------------------------------------

NEWER_IN_DISCOVERY = {
    "introspection_endpoint",
    "registration_endpoint",
    "grant_types_supported",
    "token_endpoint_auth_methods_supported",
    "code_challenge_methods_supported",
}


def test_the_discovery_document_has_the_older_ones_members_in_their_order(
    tsidp: Provider, demo: Provider
) -> None:
    older, newer = (without_url(p.get(DISCOVERY).text, p.url) for p in (tsidp, demo))
    assert newer.keys() - older.keys() == NEWER_IN_DISCOVERY
    kept = [(name, value) for name, value in newer.items() if name not in NEWER_IN_DISCOVERY]
    assert kept == [*older.items()]


def test_the_key_set_has_the_same_members_in_the_same_order(
    tsidp: Provider, demo: Provider
) -> None:
    sets = [json.loads(p.get(JWKS).text) for p in (tsidp, demo)]
    for key_set in sets:
        (key,) = key_set["keys"]
        assert list(key) == ["use", "kty", "kid", "alg", "n", "e"]
        assert (key["use"], key["kty"], key["alg"], key["e"]) == ("sig", "RSA", "RS256", "AQAB")
        assert 0 < int(key["kid"]) < 2**64
        assert len(base64.urlsafe_b64decode(key["n"] + "==")) == 256


@pytest.mark.parametrize("path", [DISCOVERY, JWKS])
def test_documents_look_the_same_and_say_nothing_of_how_long_they_hold(
    tsidp: Provider, demo: Provider, path: str
) -> None:
    for provider in (tsidp, demo):
        answer = provider.get(path)
        assert (answer.status, answer.headers["Content-Type"].partition(";")[0]) == (
            200,
            "application/json",
        )
        assert not {"Cache-Control", "ETag", "Expires", "Last-Modified"} & answer.headers.keys()
        assert answer.text == json.dumps(json.loads(answer.text), indent=2) + "\n"


@pytest.mark.parametrize("path", [DISCOVERY, JWKS])
def test_the_tests_issuer_publishes_what_the_demos_does(
    demo: Provider, fake: FakeIssuer, path: str
) -> None:
    of_the_tests = ask(fake.url, fake.ca_file, "GET", path)
    of_the_demo = demo.get(path)
    documents = [
        re.sub(r'"(kid|n)": ".*"', "", of_the_tests.text.replace(fake.url, "URL")),
        re.sub(r'"(kid|n)": ".*"', "", of_the_demo.text.replace(demo.url, "URL")),
    ]
    assert documents[0] == documents[1]


def without_url(document: str, url: str) -> dict[str, Any]:
    return dict(json.loads(document.replace(url, "URL")))


# --- Tokens --------------------------------------------------------------------------------------

OLDER_CLAIMS = {"username"}
NEWER_CLAIMS = {"preferred_username", "picture"}  # with the scope `profile`
NUMBERS = {"exp", "iat", "nbf", "nid", "uid"}  # the older writes 1.795833101e+09


def parts(token: str) -> tuple[str, str]:
    header, payload, _ = token.split(".")
    return decoded(header), decoded(payload)


def decoded(part: str) -> str:
    return base64.urlsafe_b64decode(part + "==").decode()


def types(payload: str) -> dict[str, type]:
    return {name: type(value) for name, value in json.loads(payload).items()}


@pytest.fixture(params=["demo", "fake"])
def imitation(request: pytest.FixtureRequest, demo: Provider, fake: FakeIssuer) -> str:
    """A token of one of the two stand-ins."""
    if request.param == "demo":
        return demo.id_token()
    return fake.token("alice@example.com", ["k8s-admins", "k8s-viewers"])


def test_a_tokens_header_is_the_same_but_for_the_key(tsidp: Provider, imitation: str) -> None:
    headers = [
        re.sub(r'"kid":"\d+"', "KID", parts(token)[0]) for token in (tsidp.id_token(), imitation)
    ]
    assert headers == ['{"alg":"RS256",KID,"typ":"JWT"}'] * 2


def test_a_token_has_the_same_claims_of_the_same_types(tsidp: Provider, imitation: str) -> None:
    older, newer = types(parts(tsidp.id_token())[1]), types(parts(imitation)[1])
    assert older.keys() - newer.keys() == OLDER_CLAIMS
    assert newer.keys() - older.keys() == NEWER_CLAIMS
    differing = {name for name in older.keys() & newer.keys() if older[name] is not newer[name]}
    assert differing == NUMBERS | {"aud"}
    assert {(older[name], newer[name]) for name in NUMBERS} == {(float, int)}
    assert (older["aud"], newer["aud"]) == (list, str)  # go-jose 4 writes a single audience bare


def test_a_payload_is_in_the_same_order_and_escapes_as_go_does(
    tsidp: Provider, imitation: str
) -> None:
    for token in (tsidp.id_token(), imitation):
        names = list(json.loads(parts(token)[1]))
        assert names == sorted(names)
        assert " " not in parts(token)[1]


def test_what_the_claims_say_has_the_same_form(tsidp: Provider, imitation: str) -> None:
    forms = {
        "addresses": r"\['100\.101\.\d+\.\d+/32', 'fd7a:115c:a1e0::[0-9a-f:]+/128'\]",
        "email": "alice@example.com",
        "iss": r"https://[a-z0-9.]+:\d+",
        "jti": "[0-9a-f]{32}",
        "key": "nodekey:[0-9a-f]{64}",
        "node": r"alice-laptop\.tail1234\.ts\.net\.",
        "nonce": NONCE,
        "sub": r"userid:\d+",
        "tailnet": r"tail1234\.ts\.net\.",
    }
    for token in (tsidp.id_token(), imitation):
        claims = json.loads(parts(token)[1])
        for name, form in forms.items():
            assert re.fullmatch(form, str(claims[name])), (name, claims[name])
        assert claims["exp"] - claims["iat"] == 300
        assert claims["sub"] == f"userid:{int(claims['uid'])}"
        assert sorted(claims["groups"]) == ["k8s-admins", "k8s-viewers"]


def test_a_token_begins_when_it_is_issued_or_five_minutes_before(
    tsidp: Provider, imitation: str
) -> None:
    older, newer = (json.loads(parts(token)[1]) for token in (tsidp.id_token(), imitation))
    assert older["iat"] - older["nbf"] == 0
    assert newer["iat"] - newer["nbf"] == 300


def test_groups_come_in_any_order(tsidp: Provider, demo: Provider) -> None:
    """Of two, a small map of Go's gives the second first once in eight times."""
    for provider in (tsidp, demo):
        orders: set[str] = set()
        for _ in range(300):
            orders.add(str(json.loads(parts(provider.id_token())[1])["groups"]))
            if len(orders) == 2:
                break
        assert len(orders) == 2


# --- The endpoints -------------------------------------------------------------------------------


def test_the_answer_with_the_tokens_has_the_same_members_in_the_same_order(
    tsidp: Provider, demo: Provider
) -> None:
    older, newer = tsidp.token(), demo.token()
    assert [*json.loads(older.text)] == ["id_token", "token_type", "access_token", "expires_in"]
    assert [name for name in json.loads(newer.text) if name != "refresh_token"] == [
        *json.loads(older.text)
    ]
    for answer in (older, newer):
        tokens = json.loads(answer.text)
        assert (tokens["token_type"], tokens["expires_in"]) == ("Bearer", 300)
        assert re.fullmatch("[0-9a-f]{32}", tokens["access_token"])
        assert answer.text == json.dumps(tokens, separators=(",", ":")) + "\n"
        assert "Cache-Control" not in answer.headers


def test_a_code_comes_back_before_the_state(tsidp: Provider, demo: Provider) -> None:
    for provider in (tsidp, demo):
        answer = provider.authorize()
        assert answer.status == 302
        assert re.fullmatch(
            re.escape(REDIRECT_URI) + r"\?code=[0-9a-f]{32}&state=s", answer.headers["Location"]
        )


def test_user_info_says_the_same_in_the_same_order(tsidp: Provider, demo: Provider) -> None:
    said = []
    for provider in (tsidp, demo):
        token = json.loads(provider.token().text)["access_token"]
        answer = provider.get("/userinfo", Authorization=f"Bearer {token}")
        assert answer.headers["Content-Type"].partition(";")[0] == "application/json"
        said.append(re.sub(r'"(k8s-\w+|userid:\d+)"', "_", answer.text))
    assert said[0] == said[1]


Changes = dict[str, str | None]


@pytest.mark.parametrize(
    ("changes", "older", "newer"),
    [
        ({"redirect_uri": None}, "must specify redirect_uri", "invalid_request"),
        ({"client_id": None}, "must specify client_id", "invalid_request"),
        ({"client_id": "other"}, "invalid client ID", "invalid_client"),
        ({"redirect_uri": f"{REDIRECT_URI}/"}, "redirect_uri mismatch", "invalid_request"),
    ],
)
def test_authorize_refuses_with_the_same_status_and_words(
    tsidp: Provider, demo: Provider, changes: Changes, older: str, newer: str
) -> None:
    answers = [provider.authorize(**changes) for provider in (tsidp, demo)]
    assert [(a.status, a.text) for a in answers] == [
        (400, f"tsidp: {older}\n"),
        (400, f"Error 400: {newer} - {older}\n"),
    ]


@pytest.mark.parametrize(
    ("changes", "status", "older", "newer"),
    [
        ({"code": None}, 400, "code is required", "invalid_request - code is required"),
        ({"code": "00"}, 400, "code not found", "invalid_grant - code not found"),
        (
            {"client_secret": None},
            401,
            "client credentials required in when insecure registration is not allowed",
            "invalid_client - client authentication failed",
        ),
        (
            {"client_secret": "no"},
            401,
            "invalid client credentials",
            "invalid_client - client authentication failed",
        ),
        (
            {"client_id": "other"},
            400,
            "client_id mismatch",
            "invalid_client - client authentication failed",
        ),
        (
            {"redirect_uri": None},
            400,
            "redirect_uri mismatch",
            "invalid_request - redirect_uri mismatch",
        ),
        (
            {"grant_type": "client_credentials"},
            400,
            "grant_type not supported",
            "unsupported_grant_type - unsupported grant type",
        ),
    ],
)
def test_token_refuses_with_the_same_status(
    tsidp: Provider, demo: Provider, changes: Changes, status: int, older: str, newer: str
) -> None:
    """The words differ. Both call them text, though the newer has JSON to offer."""
    answers = [provider.token(**changes) for provider in (tsidp, demo)]
    assert [(a.status, a.text) for a in answers] == [
        (status, f"tsidp: {older}\n"),
        (status, f"Error {status}: {newer}\n"),
    ]
    for answer in answers:
        assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"


@pytest.mark.parametrize("first_try", [{}, {"client_secret": "no"}], ids=["used", "burnt"])
def test_a_code_can_be_shown_once(tsidp: Provider, demo: Provider, first_try: Changes) -> None:
    for provider in (tsidp, demo):
        code = provider.code()
        provider.token(code=code, **first_try)
        answer = provider.token(code=code)
        assert (answer.status, "code not found" in answer.text) == (400, True)


@pytest.mark.parametrize(
    ("headers", "older", "newer"),
    [
        ({}, "invalid Authorization header", "missing or invalid Authorization header"),
        ({"Authorization": "Bearer 00"}, "invalid token", "invalid token"),
    ],
)
def test_user_info_refuses_with_the_same_status(
    tsidp: Provider, demo: Provider, headers: dict[str, str], older: str, newer: str
) -> None:
    answers = [provider.get("/userinfo", **headers) for provider in (tsidp, demo)]
    assert [(a.status, a.text) for a in answers] == [
        (400, f"tsidp: {older}\n"),
        (400, f"Error 400: invalid_request - {newer}\n"),
    ]


def test_tokens_are_asked_for_by_post(tsidp: Provider, demo: Provider) -> None:
    assert [provider.get("/token").status for provider in (tsidp, demo)] == [405, 405]
