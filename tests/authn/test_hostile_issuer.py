"""An issuer, or whoever speaks in its place, that means harm: what it can cost, and where it leads.

Nothing that is fetched and nothing in a token makes the proxy connect to anywhere but the issuer.
"""

from __future__ import annotations

import asyncio
import gzip
import itertools
import time
import tracemalloc
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from proxy.authn.authenticator import Authenticator, TrustedIssuer
from proxy.authn.cache import TokenCache
from proxy.authn.fetch import MAX_DOCUMENT_BYTES, FetchResult
from proxy.authn.issuer import Issuer, IssuerSettings
from proxy.authn.mapping import ClaimMapping
from proxy.authn.verifier import TokenRules
from proxy.errors import IssuerUnknown, KeyUnknown, ProxyError
from proxy.gate import Gate
from proxy.headers import RequestHeaders
from proxy.http.head import parse_request
from proxy.http.service import Admission
from proxy.impersonation import Policy
from tests.authn.tokens import NOWHERE, Unseen
from tests.issuer import DISCOVERY, JWKS, FakeIssuer, answering, jwks_document, rsa_key

BOTH = [DISCOVERY, JWKS]


class Elsewhere:
    """Somewhere that nobody should connect to; counts who does."""

    def __init__(self) -> None:
        self.port = 0
        self.connections = 0

    def met(self, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        writer.close()


@pytest.fixture
async def server() -> AsyncIterator[FakeIssuer]:
    async with FakeIssuer() as fake:
        yield fake


@pytest.fixture
async def elsewhere() -> AsyncIterator[Elsewhere]:
    trap = Elsewhere()
    async with await asyncio.start_server(trap.met, "127.0.0.1", 0) as listening:
        trap.port = listening.sockets[0].getsockname()[1]
        yield trap


def issuer_of(server: FakeIssuer, results: list[FetchResult] | None = None) -> Issuer:
    return Issuer(
        IssuerSettings(server.url, ca_file=server.ca_file),
        on_fetch=lambda result, _: results.append(result) if results is not None else None,
        on_keys=lambda _: None,
    )


async def fetched(server: FakeIssuer) -> FetchResult:
    """Fetch once, and return how that went."""
    results: list[FetchResult] = []
    keys = issuer_of(server, results)
    await keys.refresh()
    assert (keys.keys is None) is (results != ["success"])
    return results[0]


# --- Where it leads ------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("path", BOTH)
@pytest.mark.parametrize("scheme", ["https", "http"])
async def test_a_redirect_is_not_followed_to_another_host_or_to_http(
    server: FakeIssuer, elsewhere: Elsewhere, status: int, path: str, scheme: str
) -> None:
    location = {"Location": f"{scheme}://localhost:{elsewhere.port}{path}"}
    server.overrides[path] = answering(status, jwks_document(rsa_key()), location)
    assert await fetched(server) == "http_error"
    assert elsewhere.connections == 0


@pytest.mark.parametrize(
    "jwks_uri",
    [
        "http://localhost:{port}/keys",
        "HTTP://localhost:{port}/keys",
        "//localhost:{port}/keys",
        "localhost:{port}/keys",
        "/keys",
        "ws://localhost:{port}/keys",
        "unix:///var/run/keys",
        "file:///etc/keys.json",
        "data:application/json,{{}}",
        " https://localhost:{port}/keys",
        "https:",
        "https://",
        "https://:{port}",
        "",
        "\0",
        ["https://localhost:{port}/keys"],
        {"uri": "https://localhost:{port}/keys"},
        5,
        True,
    ],
    ids=str,
)
async def test_keys_come_over_https_or_not_at_all(
    server: FakeIssuer, elsewhere: Elsewhere, jwks_uri: object
) -> None:
    if isinstance(jwks_uri, str):
        jwks_uri = jwks_uri.format(port=elsewhere.port)
    server.discovery_overrides = {"jwks_uri": jwks_uri}
    assert await fetched(server) in {"invalid", "network"}
    assert elsewhere.connections == 0
    assert server.requests == [DISCOVERY]


@pytest.mark.parametrize(
    "issuer",
    ["{url}/", "{url}#", "{url}?", " {url}", "{url}\0", "{host}", "HTTPS://{host}", "http://{host}",
     "https://other.example", "", None, 5, ["{url}"]],
    ids=str,
)  # fmt: skip
async def test_the_document_of_another_issuer_is_not_believed(
    server: FakeIssuer, issuer: object
) -> None:
    if isinstance(issuer, str):
        issuer = issuer.format(url=server.url, host=f"localhost:{server.port}")
    server.discovery_overrides = {"issuer": issuer}
    assert await fetched(server) == "invalid"
    assert server.requests == [DISCOVERY]


async def test_of_a_name_that_comes_twice_the_last_counts_as_in_go(server: FakeIssuer) -> None:
    body = b'{"issuer":"%s","jwks_uri":"%s%s","issuer":"https://other.example"}'
    url = server.url.encode()
    server.overrides[DISCOVERY] = answering(body=body % (url, url, JWKS.encode()))
    assert await fetched(server) == "invalid"


# --- What it costs -------------------------------------------------------------------------------


@pytest.mark.parametrize("path", BOTH)
async def test_a_document_without_end_is_cut_off(server: FakeIssuer, path: str) -> None:
    written = 0
    left = asyncio.Event()

    async def endless(request: web.Request) -> web.StreamResponse:
        nonlocal written
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            while True:
                await response.write(b" " * 65536)
                written += 65536
        except ConnectionError:
            left.set()
            raise

    server.overrides[path] = endless
    assert await fetched(server) == "invalid"
    async with asyncio.timeout(10):
        await left.wait()
    assert written < 16 * MAX_DOCUMENT_BYTES  # what the sockets' buffers hold, and the limit


async def test_a_bomb_is_not_unpacked(server: FakeIssuer) -> None:
    """100 MB in 100 KB; whoever unpacks first and counts then holds them all."""
    bomb = gzip.compress(b"\0" * 100_000_000, mtime=0)
    assert len(bomb) < MAX_DOCUMENT_BYTES / 8
    server.overrides[JWKS] = answering(body=bomb, headers={"Content-Encoding": "gzip"})
    tracemalloc.start()
    try:
        assert await fetched(server) in {"invalid", "network"}
        assert tracemalloc.get_traced_memory()[1] < 64 * MAX_DOCUMENT_BYTES
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("path", BOTH)
@pytest.mark.parametrize(
    "headers",
    [{"X": "x" * 100_000}, {f"X-{n}": "x" * 5000 for n in range(1000)}],
    ids=["one", "many"],
)
async def test_an_answer_with_endless_headers_is_given_up(
    server: FakeIssuer, path: str, headers: dict[str, str]
) -> None:
    server.overrides[path] = answering(body=b"{}", headers=headers)
    assert await fetched(server) in {"network", "invalid"}


# --- What tokens make it do ----------------------------------------------------------------------


def gate_of(server: FakeIssuer, keys: Issuer) -> Gate:
    rules = TokenRules(server.url, frozenset([server.client_id]))
    authenticator = Authenticator([TrustedIssuer(rules, ClaimMapping("email"), keys, NOWHERE)])
    cache: TokenCache[Admission] = TokenCache()
    return Gate(authenticator, cache, Policy("headlamp-auth-proxy:authenticated"), Unseen())


async def admitted(gate: Gate, token: str) -> Admission:
    head = f"GET / HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n"
    admission = gate.admit(parse_request(head.encode(), RequestHeaders()), time.time())
    return admission if isinstance(admission, Admission) else await admission


KIDS = [
    *(str(number) for number in range(100)),
    *("k" * length for length in (1000, 8000)),
    *("../../keys", "\0", "\r\nHost: x", "https://idp.example/keys", "'--", "\u202e", "${jndi}"),
]


async def test_a_flood_of_made_up_kids_costs_one_fetch(server: FakeIssuer) -> None:
    keys = issuer_of(server)
    await keys.refresh()
    keys._asked_at -= 5.0  # the budget is there once
    gate = gate_of(server, keys)
    server.requests.clear()
    claims = {"iss": server.url, "aud": server.client_id}
    forged = [rsa_key(9).token(claims, {"kid": kid}) for kid in KIDS]
    odd: list[object] = [5, [], {}, True]
    forged += [rsa_key(9).token(claims, {"kid": kid}) for kid in odd]
    outcomes = await asyncio.gather(
        *(admitted(gate, text) for text in forged), return_exceptions=True
    )
    outcomes += await asyncio.gather(
        *(admitted(gate, text) for text in forged), return_exceptions=True
    )
    assert all(isinstance(outcome, ProxyError) for outcome in outcomes)
    assert sum(isinstance(outcome, KeyUnknown) for outcome in outcomes) == 2 * len(KIDS)
    assert server.requests == BOTH


async def test_a_key_that_a_token_brings_or_points_to_is_not_fetched(
    server: FakeIssuer, elsewhere: Elsewhere
) -> None:
    keys = issuer_of(server)
    await keys.refresh()
    gate = gate_of(server, keys)
    thief = rsa_key(9)
    places = [f"{s}://localhost:{elsewhere.port}/keys" for s in ("https", "http")]
    pointers: list[dict[str, object]] = [{"jwk": thief.jwk()}]
    pointers += [{name: place} for name in ("jku", "x5u", "iss", "kid") for place in places]
    claims = {"iss": server.url, "aud": server.client_id, "email": "root@example.com"}
    for pointer, kid in itertools.product(pointers, (server.key.kid, "?")):
        with pytest.raises(ProxyError):
            await admitted(gate, thief.token(claims, {"kid": kid} | pointer))
        keys._asked_at -= 5.0  # each may cause its fetch, of the issuer's own keys
    with pytest.raises(IssuerUnknown):
        await admitted(gate, thief.token(claims | {"iss": places[0]}))
    assert elsewhere.connections == 0
    assert set(server.requests) == set(BOTH)
