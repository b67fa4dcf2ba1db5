"""Claims from elsewhere: asked for as the token says, and believed only if they are signed."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from proxy import errors
from proxy.authn.claim_resolver import MAX_ISSUERS, DistributedClaims
from proxy.authn.distributed import Endpoint
from proxy.authn.fetch import Fetcher
from proxy.authn.issuer import REFRESH_INTERVAL, Issuer, IssuerSettings
from proxy.authn.verifier import TokenRules
from tests.authn.tokens import HeldKeys
from tests.issuer import CLIENT_ID, FakeIssuer, Handler, answering, rsa_key

OWN = "https://idp.example"


@pytest.fixture
async def other() -> AsyncIterator[FakeIssuer]:
    """Another issuer, which also serves the claims."""
    async with FakeIssuer() as issuer:
        yield issuer


def resolver_of(other: FakeIssuer) -> DistributedClaims:
    settings = IssuerSettings(OWN, ca_file=other.ca_file)

    def source(issuer: str) -> Issuer:
        found = IssuerSettings(issuer, ca_file=other.ca_file)
        return Issuer(found, on_fetch=lambda *_: None, on_keys=lambda _: None)

    rules = TokenRules(OWN, frozenset([CLIENT_ID]))
    return DistributedClaims(rules, HeldKeys(rsa_key(5)), Fetcher(settings.ca, None), source)


def at(other: FakeIssuer, path: str = "/groups", access_token: str = "") -> list[Endpoint]:
    return [Endpoint("groups", f"{other.url}{path}", access_token)]


def serving(token: str) -> Handler:
    return answering(body=f"{token}\n".encode())


async def test_claims_of_another_issuer_are_verified_by_its_own_keys(other: FakeIssuer) -> None:
    other.overrides["/groups"] = serving(other.token(groups=["a", "b"]))
    found = await resolver_of(other).resolve(at(other), time.time())
    assert found.claims == {"groups": ["a", "b"]}
    assert found.expires_at > time.time()


async def test_a_rotated_key_of_the_other_issuer_is_found(other: FakeIssuer) -> None:
    resolver = resolver_of(other)
    other.overrides["/groups"] = serving(other.token(groups=["a"]))
    await resolver.resolve(at(other), time.time())
    other.rotate()
    other.overrides["/groups"] = serving(other.token(groups=["b"]))
    resolver._others[other.url]._asked_at = float("-inf")  # the budget is back
    assert (await resolver.resolve(at(other), time.time())).claims == {"groups": ["b"]}


async def test_a_withdrawn_key_of_the_other_issuer_is_noticed(other: FakeIssuer) -> None:
    resolver = resolver_of(other)
    other.overrides["/groups"] = serving(other.token(groups=["a"]))
    await resolver.resolve(at(other), time.time())
    other.keys = [rsa_key(8)]
    source = resolver._others[other.url]
    source._asked_at = float("-inf")
    source.last_success -= REFRESH_INTERVAL + 1
    with pytest.raises(errors.DistributedClaimsUnavailable, match="failed to verify"):
        await resolver.resolve(at(other), time.time())


async def test_claims_of_the_issuer_itself_need_nothing_more_fetched(other: FakeIssuer) -> None:
    other.overrides["/groups"] = serving(other.token(groups=["a"], iss=OWN, key=rsa_key(5)))
    await resolver_of(other).resolve(at(other), time.time())
    assert other.requests == ["/groups"]


@pytest.mark.parametrize("access_token", ["", "secret"])
async def test_the_access_token_goes_along(other: FakeIssuer, access_token: str) -> None:
    seen: list[str | None] = []

    async def groups(request: web.Request) -> web.Response:
        seen.append(request.headers.get("Authorization"))
        return web.Response(text=other.token(groups=["a"]))

    other.overrides["/groups"] = groups
    await resolver_of(other).resolve(at(other, access_token=access_token), time.time())
    assert seen == [f"Bearer {access_token}" if access_token else None]


async def refused(other: FakeIssuer, wanted: list[Endpoint] | None = None) -> str:
    with pytest.raises(errors.DistributedClaimsUnavailable) as raised:
        await resolver_of(other).resolve(wanted or at(other), time.time())
    assert raised.value.detail.startswith("oidc: could not expand distributed claims: ")
    return raised.value.detail


async def test_a_token_that_is_not_what_it_should_be_is_refused(other: FakeIssuer) -> None:
    for token, words in (
        (other.token(), "did not contain claim: groups"),
        (other.token(groups=["a"], aud="other"), "expected audience"),
        (other.token(groups=["a"], age=1000), "token is expired"),
        (other.token(groups=["a"], key=rsa_key(7)), "failed to verify"),
        (other.token(groups=["a"], iss="https://localhost:1"), "verifier not initialized"),
        (other.token(groups=["a"], iss="http://x"), "has no https URL"),
        ("not.a.token", "could not"),
        ("", "could not"),
    ):
        other.overrides["/groups"] = serving(token)
        assert words in await refused(other)


@pytest.mark.parametrize("status", [301, 400, 404, 500])
async def test_an_endpoint_that_gives_none_is_told(other: FakeIssuer, status: int) -> None:
    other.overrides["/groups"] = answering(status, headers={"Location": "/elsewhere"})
    assert "while getting distributed claim" in await refused(other)


async def test_an_endpoint_without_tls_is_not_asked(other: FakeIssuer) -> None:
    wanted = [Endpoint("groups", f"http://localhost:{other.port}/groups", "secret")]
    assert "is not https" in await refused(other, wanted)
    assert other.requests == []


async def test_of_many_other_issuers_the_oldest_is_forgotten(other: FakeIssuer) -> None:
    resolver = resolver_of(other)
    for number in range(MAX_ISSUERS + 3):
        resolver._source(f"https://issuer{number}.example")
    assert len(resolver._others) == MAX_ISSUERS
    assert "https://issuer0.example" not in resolver._others
