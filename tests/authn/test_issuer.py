"""An issuer's keys over the wire: real TLS, real outages, and no more fetches than the budget."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import random
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trustme
from aiohttp import web

from proxy.authn import fetch, issuer
from proxy.authn.authenticator import Authenticator, TrustedIssuer
from proxy.authn.fetch import MAX_DOCUMENT_BYTES, FetchResult
from proxy.authn.issuer import Issuer, IssuerSettings
from proxy.authn.keyset import KeySet
from proxy.authn.mapping import ClaimMapping
from proxy.authn.verifier import TokenRules
from proxy.errors import KeysUnavailable, KeyUnknown
from tests.authn.proxies import connect_proxy, socks_proxy
from tests.authn.tokens import NOWHERE
from tests.issuer import (
    DISCOVERY,
    JWKS,
    FakeIssuer,
    answering,
    hanging,
    jwks_document,
    rsa_key,
)

BOTH = [DISCOVERY, JWKS]


class Seen:
    """What the callbacks were told."""

    def __init__(self) -> None:
        self.fetches: asyncio.Queue[FetchResult] = asyncio.Queue()
        self.seconds: list[float] = []
        self.keys: list[KeySet] = []

    def fetched(self, result: FetchResult, seconds: float) -> None:
        self.fetches.put_nowait(result)
        self.seconds.append(seconds)

    async def next_fetch(self) -> FetchResult:
        async with asyncio.timeout(10):
            result = await self.fetches.get()
        await asyncio.sleep(0)  # whoever told us ends right after
        return result


@pytest.fixture
async def server() -> AsyncIterator[FakeIssuer]:
    async with FakeIssuer() as fake:
        yield fake


@pytest.fixture
def seen() -> Seen:
    return Seen()


def settings_of(server: FakeIssuer) -> IssuerSettings:
    return IssuerSettings(server.url, ca_file=server.ca_file)


def issuer_of(server: FakeIssuer, seen: Seen, **settings: Any) -> Issuer:
    return Issuer(
        replace(settings_of(server), **settings), on_fetch=seen.fetched, on_keys=seen.keys.append
    )


@contextlib.asynccontextmanager
async def running(keys: Issuer) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(keys.run())
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait([task])


def kids(keys: KeySet | None) -> list[str]:
    assert keys is not None
    return [key.kid for key in keys.keys]


def quick_retries(monkeypatch: pytest.MonkeyPatch, seconds: float = 0.01) -> None:
    monkeypatch.setattr(issuer, "FIRST_RETRY", seconds)
    monkeypatch.setattr(issuer, "LAST_RETRY", seconds)


def warnings_in(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]


# --- Fetching ------------------------------------------------------------------------------------


async def test_the_keys_are_found_through_discovery(server: FakeIssuer, seen: Seen) -> None:
    keys = issuer_of(server, seen)
    assert (keys.keys, keys.last_success, keys.healthy) == (None, 0.0, False)
    assert await keys.refresh()
    assert server.requests == BOTH
    assert set(server.user_agents) == {"headlamp-auth-proxy"}
    assert kids(keys.keys) == [server.key.kid]
    assert seen.keys == [keys.keys]
    assert await seen.next_fetch() == "success"
    assert seen.seconds[0] > 0
    assert keys.last_success > 0
    assert keys.healthy


@pytest.mark.parametrize(
    ("url", "discovery"),
    [
        ("https://idp", "https://idp/.well-known/openid-configuration"),
        ("https://idp/", "https://idp/.well-known/openid-configuration"),
        ("https://idp//", "https://idp//.well-known/openid-configuration"),
        ("https://idp/a/b", "https://idp/a/b/.well-known/openid-configuration"),
    ],
)
def test_discovery_is_where_kube_apiserver_looks(url: str, discovery: str) -> None:
    assert IssuerSettings(url).discovery == discovery


async def test_an_explicit_discovery_url_is_asked_instead(server: FakeIssuer, seen: Seen) -> None:
    body = json.dumps(server.discovery()).encode()
    server.overrides["/elsewhere"] = answering(body=body)
    keys = issuer_of(server, seen, discovery_url=f"https://127.0.0.1:{server.port}/elsewhere")
    await keys.refresh()
    assert server.requests == ["/elsewhere", JWKS]
    assert kids(keys.keys) == [server.key.kid]


async def test_what_discovery_says_besides_does_not_matter(server: FakeIssuer, seen: Seen) -> None:
    """kube-apiserver checks issuer and jwks_uri; algorithms are configured, never announced."""
    server.discovery_overrides = {
        "id_token_signing_alg_values_supported": ["none"],
        "response_types_supported": 5,
        "authorization_endpoint": "http://plain.example",
    }
    keys = issuer_of(server, seen)
    await keys.refresh()
    assert keys.healthy


# What is wrong -> the result that is counted, and a part of the one line that is logged.
def moved(server: FakeIssuer) -> None:
    server.overrides[DISCOVERY] = answering(302, headers={"Location": f"{server.url}/elsewhere"})


def moved_keys(server: FakeIssuer) -> None:
    server.overrides[JWKS] = answering(307, headers={"Location": f"{server.url}/elsewhere"})


def failing(server: FakeIssuer) -> None:
    server.overrides[DISCOVERY] = answering(500)


def garbage(server: FakeIssuer) -> None:
    server.overrides[DISCOVERY] = answering(body=b"<!DOCTYPE html>")


def a_list(server: FakeIssuer) -> None:
    server.overrides[DISCOVERY] = answering(body=b"[]")


def other_issuer(server: FakeIssuer) -> None:
    server.discovery_overrides = {"issuer": f"{server.url}/"}


def no_issuer(server: FakeIssuer) -> None:
    server.discovery_overrides = {"issuer": None}


def keys_over_http(server: FakeIssuer) -> None:
    server.discovery_overrides = {"jwks_uri": f"http://localhost:{server.port}{JWKS}"}


def no_jwks_uri(server: FakeIssuer) -> None:
    server.discovery_overrides = {"jwks_uri": None}


def jwks_uri_nonsense(server: FakeIssuer) -> None:
    server.discovery_overrides = {"jwks_uri": "https://[::bad"}


def garbage_keys(server: FakeIssuer) -> None:
    server.overrides[JWKS] = answering(body=b"{]")


def no_keys(server: FakeIssuer) -> None:
    server.overrides[JWKS] = answering(body=b'{"keys": []}')


def huge_discovery(server: FakeIssuer) -> None:
    server.overrides[DISCOVERY] = answering(body=b" " * (MAX_DOCUMENT_BYTES + 1))


def huge_keys(server: FakeIssuer) -> None:
    body = jwks_document(rsa_key())
    server.overrides[JWKS] = answering(body=body + b" " * (MAX_DOCUMENT_BYTES + 1 - len(body)))


@pytest.mark.parametrize(
    ("spoil", "result", "message"),
    [
        (moved, "http_error", "redirects, which is not followed; see --oidc-discovery-url"),
        (moved_keys, "http_error", "redirects, which is not followed"),
        (failing, "http_error", "answers 500"),
        (garbage, "invalid", "not a JSON object"),
        (a_list, "invalid", "not a JSON object"),
        (other_issuer, "invalid", "--oidc-issuer-url or url must be that, letter by letter"),
        (no_issuer, "invalid", "the document of issuer None"),
        (keys_over_http, "invalid", "no jwks_uri with https"),
        (no_jwks_uri, "invalid", "no jwks_uri with https"),
        (jwks_uri_nonsense, "network", "https://[::bad"),
        (garbage_keys, "invalid", "the key set is not a JSON object"),
        (no_keys, "invalid", "none of the 0 keys"),
        (huge_discovery, "invalid", f"larger than {MAX_DOCUMENT_BYTES} bytes"),
        (huge_keys, "invalid", f"larger than {MAX_DOCUMENT_BYTES} bytes"),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
async def test_what_cannot_be_used_is_counted_and_explained(
    server: FakeIssuer,
    seen: Seen,
    caplog: pytest.LogCaptureFixture,
    spoil: Any,
    result: str,
    message: str,
) -> None:
    spoil(server)
    keys = issuer_of(server, seen)
    await keys.refresh()
    assert await seen.next_fetch() == result
    (line,) = warnings_in(caplog)
    assert message in line
    assert "no token can be verified yet" in line
    assert keys.keys is None
    assert not keys.healthy
    assert "/elsewhere" not in server.requests


async def test_a_document_of_just_the_limit_is_read(server: FakeIssuer, seen: Seen) -> None:
    body = jwks_document(rsa_key())
    server.overrides[JWKS] = answering(body=body + b" " * (MAX_DOCUMENT_BYTES - len(body)))
    keys = issuer_of(server, seen)
    await keys.refresh()
    assert keys.healthy


async def test_a_compressed_document_counts_by_what_it_unpacks_to(
    server: FakeIssuer, seen: Seen
) -> None:
    async def bomb(_: web.Request) -> web.StreamResponse:
        response = web.Response(body=b" " * (MAX_DOCUMENT_BYTES + 1))
        response.enable_compression(web.ContentCoding.gzip)
        return response

    server.overrides[JWKS] = bomb
    await issuer_of(server, seen).refresh()
    assert await seen.next_fetch() == "invalid"


@pytest.mark.parametrize("path", BOTH)
async def test_an_issuer_that_hangs_is_given_up(
    server: FakeIssuer,
    seen: Seen,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    path: str,
) -> None:
    monkeypatch.setattr(fetch, "FETCH_TIMEOUT", 0.2)
    server.overrides[path] = hanging()
    await issuer_of(server, seen).refresh()
    assert await seen.next_fetch() == "network"
    (line,) = warnings_in(caplog)
    assert "did not answer within 0.2 s" in line
    assert "--oidc-http-proxy" in line


async def test_an_issuer_that_trickles_is_given_up(
    server: FakeIssuer, seen: Seen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch, "FETCH_TIMEOUT", 0.2)

    async def trickle(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"{")
        await asyncio.Event().wait()
        return response

    server.overrides[DISCOVERY] = trickle
    await issuer_of(server, seen).refresh()
    assert await seen.next_fetch() == "network"


# --- Trust ---------------------------------------------------------------------------------------


async def test_a_certificate_of_an_unknown_ca_is_refused_and_the_flag_named(
    seen: Seen, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    async with FakeIssuer(authority=trustme.CA()) as server:
        other = tmp_path / "other.crt"
        trustme.CA().cert_pem.write_to_path(other)
        for ca_file in (other, None):
            await issuer_of(server, seen, ca_file=ca_file).refresh()
            assert await seen.next_fetch() == "network"
    assert server.requests == []
    for line in warnings_in(caplog):
        assert "see --oidc-ca-file" in line
        assert "certificate" in line


async def test_a_certificate_for_another_name_is_refused(
    server: FakeIssuer, seen: Seen, caplog: pytest.LogCaptureFixture
) -> None:
    await issuer_of(server, seen, discovery_url=f"https://127.0.0.2:{server.port}/").refresh()
    assert await seen.next_fetch() == "network"
    assert server.requests == []


@pytest.mark.parametrize("content", [b"", b"\n", b"not PEM", b"\xff\xfe"])
async def test_a_ca_file_without_certificates_trusts_nobody(
    server: FakeIssuer,
    seen: Seen,
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    content: bytes,
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(server.ca_file))  # the system trusts this issuer
    empty = tmp_path / "empty.crt"
    empty.write_bytes(content)
    await issuer_of(server, seen, ca_file=empty).refresh()
    assert await seen.next_fetch() == "network"
    assert f"{empty} (--oidc-ca-file) holds no PEM certificates" in warnings_in(caplog)[0]
    assert server.requests == []


async def test_an_intermediate_alone_can_be_trusted_as_in_go(seen: Seen) -> None:
    async with FakeIssuer(authority=trustme.CA().create_child_ca()) as server:
        await issuer_of(server, seen).refresh()
        assert await seen.next_fetch() == "success"


async def test_without_a_ca_file_the_system_s_roots_are_trusted(
    server: FakeIssuer, seen: Seen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(server.ca_file))
    await issuer_of(server, seen, ca_file=None).refresh()
    assert await seen.next_fetch() == "success"


async def test_a_ca_file_that_appears_or_changes_is_used_at_the_next_fetch(
    server: FakeIssuer,
    seen: Seen,
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(issuer, "UNKNOWN_KEY_INTERVAL", 0.0)
    ca_file = tmp_path / "ca.crt"
    keys = issuer_of(server, seen, ca_file=ca_file)
    await keys.refresh()
    assert "there is no such file" in warnings_in(caplog)[0]
    trustme.CA().cert_pem.write_to_path(ca_file)
    await keys.refresh()
    server.ca_file.rename(ca_file)
    await keys.refresh()
    assert [await seen.next_fetch() for _ in range(3)] == ["network", "network", "success"]


async def test_no_proxy_is_taken_from_the_environment(
    server: FakeIssuer, seen: Seen, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    await issuer_of(server, seen).refresh()
    assert await seen.next_fetch() == "success"


# --- Proxies -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [connect_proxy, socks_proxy])
async def test_a_proxy_is_given_the_name_and_not_an_address(kind: Any, seen: Seen) -> None:
    """The name below exists on a tailnet only: nobody here could look it up."""
    async with FakeIssuer(host="idp.tail1234.ts.net") as server:
        asked: list[str] = []
        async with kind(server.port, asked) as url:
            keys = issuer_of(server, seen, proxy=url)
            await keys.refresh()
        assert await seen.next_fetch() == "success"
        assert server.requests == BOTH
        assert set(asked) == {f"idp.tail1234.ts.net:{server.port}"}


@pytest.mark.parametrize("kind", [connect_proxy, socks_proxy])
async def test_behind_a_proxy_certificates_are_checked_all_the_same(
    kind: Any, seen: Seen, caplog: pytest.LogCaptureFixture
) -> None:
    async with FakeIssuer(authority=trustme.CA()) as server:
        server._authority = trustme.CA()
        server._authority.cert_pem.write_to_path(str(server.ca_file))
        async with kind(server.port, []) as url:
            await issuer_of(server, seen, proxy=url).refresh()
        assert server.requests == []
    assert await seen.next_fetch() == "network"
    assert "see --oidc-ca-file" in warnings_in(caplog)[0]


@pytest.mark.parametrize("scheme", ["http", "socks5h"])
async def test_a_proxy_that_is_not_there_is_a_failure_like_any_other(
    server: FakeIssuer, seen: Seen, caplog: pytest.LogCaptureFixture, scheme: str
) -> None:
    await server.down()  # its port now refuses
    keys = issuer_of(server, seen, proxy=f"{scheme}://127.0.0.1:{server.port}")
    async with running(keys) as task:
        assert await seen.next_fetch() == "network"
        assert "--oidc-http-proxy" in warnings_in(caplog)[0]
        assert not task.done()


async def test_a_socks_proxy_that_refuses_is_a_failure_like_any_other(
    server: FakeIssuer, seen: Seen, caplog: pytest.LogCaptureFixture
) -> None:
    async with socks_proxy(server.port, [], reply=4) as url:
        keys = issuer_of(server, seen, proxy=url)
        async with running(keys) as task:
            assert await seen.next_fetch() == "network"
            assert "Host unreachable" in warnings_in(caplog)[0]
            assert not task.done()


@pytest.mark.parametrize("scheme", ["http", "socks5h"])
async def test_a_proxy_that_hangs_up_is_a_failure_like_any_other(
    server: FakeIssuer, seen: Seen, scheme: str
) -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1000)
        writer.close()

    async with await asyncio.start_server(hang_up, "127.0.0.1", 0) as proxy:
        port = proxy.sockets[0].getsockname()[1]
        keys = issuer_of(server, seen, proxy=f"{scheme}://127.0.0.1:{port}")
        async with running(keys) as task:
            assert await seen.next_fetch() == "network"
            assert not task.done()


# --- Keeping -------------------------------------------------------------------------------------


async def test_an_issuer_that_is_down_at_the_start_is_found_when_it_comes_up(
    server: FakeIssuer,
    seen: Seen,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    quick_retries(monkeypatch)
    caplog.set_level(logging.INFO)
    await server.down()
    keys = issuer_of(server, seen)
    async with running(keys):
        assert [await seen.next_fetch() for _ in range(3)] == ["network"] * 3
        await server.up()
        while await seen.next_fetch() != "success":
            pass
    assert keys.healthy
    (line,) = warnings_in(caplog)
    assert "Connection refused" in line or "Connect call failed" in line
    assert "--oidc-http-proxy" in line
    assert "object at 0x" not in line
    assert "the issuer's keys can be fetched again" in caplog.messages


async def test_retries_slow_down_to_the_last_one_and_start_anew_after_a_success(
    server: FakeIssuer, seen: Seen, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []

    async def sleep(seconds: float, really: Any = asyncio.sleep) -> None:
        if seconds:  # zero is others' way to give way
            slept.append(seconds)
        await really(0)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    monkeypatch.setattr(random, "uniform", lambda _low, _high: 1.0)
    await server.down()
    async with running(issuer_of(server, seen)):
        for _ in range(6):
            await seen.next_fetch()
        await server.up()
        while await seen.next_fetch() != "success":
            pass
        await server.down()
        while await seen.next_fetch() != "network":
            pass
        await seen.next_fetch()
    assert slept[:6] == [1, 2, 4, 8, 10, 10]
    after = slept[slept.index(issuer.REFRESH_INTERVAL) :]
    assert next(seconds for seconds in after if seconds != issuer.REFRESH_INTERVAL) == 1


async def test_keys_are_fetched_anew_in_peace_and_told_only_when_they_change(
    server: FakeIssuer, seen: Seen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(issuer, "REFRESH_INTERVAL", 0.01)
    keys = issuer_of(server, seen)
    async with running(keys):
        assert [await seen.next_fetch() for _ in range(3)] == ["success"] * 3
        assert len(seen.keys) == 1
        new = server.rotate()
        while len(seen.keys) == 1:
            assert await seen.next_fetch() == "success"
    assert kids(keys.keys) == [new.kid]


async def test_an_outage_leaves_the_last_good_keys_in_force(
    server: FakeIssuer,
    seen: Seen,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    quick_retries(monkeypatch)
    monkeypatch.setattr(issuer, "REFRESH_INTERVAL", 0.01)
    keys = issuer_of(server, seen)
    async with running(keys):
        assert await seen.next_fetch() == "success"
        before = keys.keys
        for spoil in (garbage_keys, no_keys, failing):
            spoil(server)
            while await seen.next_fetch() == "success":
                pass
        await server.down()
        while await seen.next_fetch() != "network":
            pass
    assert keys.keys is before
    assert not keys.healthy
    assert seen.keys == [before]
    assert all("the keys held stay in use" in line for line in warnings_in(caplog))


async def test_each_cause_is_logged_once(
    server: FakeIssuer,
    seen: Seen,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    quick_retries(monkeypatch)
    failing(server)
    async with running(issuer_of(server, seen)):
        assert [await seen.next_fetch() for _ in range(4)] == ["http_error"] * 4
        garbage(server)
        while await seen.next_fetch() != "invalid":
            pass
        assert [await seen.next_fetch() for _ in range(3)] == ["invalid"] * 3
    first, second = warnings_in(caplog)
    assert "answers 500" in first
    assert "not a JSON object" in second


async def test_a_lasting_failure_is_logged_again_now_and_then(
    server: FakeIssuer,
    seen: Seen,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    quick_retries(monkeypatch)
    monkeypatch.setattr(issuer, "REMIND_EVERY", 0.0)
    failing(server)
    async with running(issuer_of(server, seen)):
        assert [await seen.next_fetch() for _ in range(3)] == ["http_error"] * 3
    assert len(warnings_in(caplog)) >= 3


# --- The budget ----------------------------------------------------------------------------------


def authenticator_of(server: FakeIssuer, keys: Issuer) -> Authenticator:
    rules = TokenRules(server.url, frozenset([server.client_id]))
    return Authenticator([TrustedIssuer(rules, ClaimMapping("email"), keys, NOWHERE)])


async def authenticate(authenticator: Authenticator, token: str, now: float) -> str:
    """Do as the gate does."""
    try:
        return authenticator.authenticate(token.encode(), now).user.username
    except KeyUnknown as missing:
        return (await authenticator.resume(token.encode(), now, missing)).user.username


async def test_two_hundred_tokens_of_a_new_key_cause_one_fetch(
    server: FakeIssuer, seen: Seen, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = issuer_of(server, seen)
    async with running(keys):
        assert await seen.next_fetch() == "success"
        authenticator = authenticator_of(server, keys)
        server.rotate()
        server.requests.clear()
        tokens = [server.token(email=f"user{number}@example.com") for number in range(200)]
        now = keys.last_success
        names = await asyncio.gather(*(authenticate(authenticator, t, now) for t in tokens))
    assert names == [f"user{number}@example.com" for number in range(200)]
    assert server.requests == BOTH


async def test_a_made_up_key_costs_one_fetch_and_then_nothing_until_the_budget_is_back(
    server: FakeIssuer, seen: Seen, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = issuer_of(server, seen)
    async with running(keys):
        await seen.next_fetch()
        authenticator, now = authenticator_of(server, keys), keys.last_success
        server.requests.clear()
        forged = server.token(key=rsa_key(99))
        for _ in range(50):
            with pytest.raises(KeyUnknown):
                await authenticate(authenticator, forged, now)
        assert server.requests == BOTH

        server.rotate()
        assert not await keys.refresh()
        with pytest.raises(KeyUnknown):
            await authenticate(authenticator, server.token(), now)
        assert server.requests == BOTH

        monkeypatch.setattr(issuer, "UNKNOWN_KEY_INTERVAL", 0.0)  # as if so much time had passed
        assert await authenticate(authenticator, server.token(), now) == "alice@example.com"
        assert server.requests == BOTH * 2


async def test_a_spent_budget_is_answered_without_giving_way_to_anybody(
    server: FakeIssuer, seen: Seen
) -> None:
    keys = issuer_of(server, seen)
    await keys.refresh()
    with pytest.raises(StopIteration) as done:
        keys.refresh().send(None)  # would suspend here if it awaited anything
    assert done.value.value is False


async def test_the_first_fetch_is_not_charged_to_the_tokens(server: FakeIssuer, seen: Seen) -> None:
    keys = issuer_of(server, seen)
    async with running(keys):
        await seen.next_fetch()
        assert await keys.refresh()
    assert server.requests == BOTH * 2


async def test_before_the_first_keys_tokens_are_neither_good_nor_bad(
    server: FakeIssuer, seen: Seen
) -> None:
    keys = issuer_of(server, seen)
    with pytest.raises(KeysUnavailable):
        authenticator_of(server, keys).authenticate(server.token().encode(), 0.0)


# --- Cancellation --------------------------------------------------------------------------------


async def test_a_caller_who_goes_away_does_not_take_the_fetch_from_the_others(
    server: FakeIssuer, seen: Seen
) -> None:
    asked, go_on = asyncio.Event(), asyncio.Event()
    body = json.dumps(server.discovery()).encode()

    async def wait(_: web.Request) -> web.StreamResponse:
        asked.set()
        await go_on.wait()
        return web.Response(body=body)

    server.overrides[DISCOVERY] = wait
    keys = issuer_of(server, seen)
    first, second = asyncio.create_task(keys.refresh()), asyncio.create_task(keys.refresh())
    await asked.wait()
    first.cancel()
    await asyncio.wait([first])
    assert first.cancelled()
    go_on.set()
    assert await second
    assert kids(keys.keys) == [server.key.kid]
    assert server.requests == BOTH


async def test_stopping_leaves_no_task_and_no_connection(server: FakeIssuer, seen: Seen) -> None:
    asked = asyncio.Event()

    async def hang(_: web.Request) -> web.StreamResponse:
        asked.set()
        await asyncio.Event().wait()
        raise AssertionError("unreachable")

    server.overrides[JWKS] = hang
    before = asyncio.all_tasks()
    task = asyncio.create_task(issuer_of(server, seen).run())
    await asked.wait()
    task.cancel()
    await asyncio.wait([task])
    left = {other.get_name() for other in asyncio.all_tasks() - before}
    assert "fetch keys" not in left
    assert task.cancelled()


async def test_stopping_in_peace_leaves_no_task(server: FakeIssuer, seen: Seen) -> None:
    async with running(issuer_of(server, seen)) as task:
        assert await seen.next_fetch() == "success"
    assert task.cancelled()
    assert "fetch keys" not in {other.get_name() for other in asyncio.all_tasks()}
