"""One thing is wrong in each row, on running servers; doctor names the trust, cause and mend.

A row changes the stage before it is served. What is not changed is as it should be, and the trusts
before the broken one must say so.
"""

# ruff: noqa: E501 (a row is one line)

from __future__ import annotations

import asyncio
import json
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import formatdate
from typing import Any, Final

import pytest
from aiohttp import web

from tests.issuer import ec_key, jwks_document
from tests.process import free_port
from tests.tools.doctor import certificates
from tests.tools.doctor.stage import CLIENT_ID, Doctor, Handler, Site, Stage, served, whole

DISCOVERY = "/.well-known/openid-configuration"
JWKS = "/.well-known/jwks.json"
PAGE = "<!doctype html><html><body><h1>Sign in</h1></body></html>"


def answering(status: int, text: str = "", **headers: str) -> Handler:
    async def answer(_: web.Request) -> web.Response:
        kind = "text/html" if text.startswith("<") else "text/plain"
        return web.Response(status=status, text=text, headers=headers, content_type=kind)

    return answer


def redirecting(location: str) -> Handler:
    async def answer(request: web.Request) -> web.Response:
        where = location.format(host=request.host, path=request.path)
        return web.Response(status=302, headers={"Location": where})

    return answer


Break = Callable[[Stage], Any]


@dataclass(frozen=True)
class Row:
    name: str
    trust: int
    cause: str
    mend: str
    wrong: Break


# --- How things are broken -----------------------------------------------------------------------


def issuer_at(path: str, handler: Handler) -> Break:
    return lambda stage: stage.at.overrides.__setitem__(path, handler)


def headlamp_at(path: str, handler: Handler) -> Break:
    return lambda stage: stage.headlamp.overrides.__setitem__(path, handler)


def flags(**changes: str | None) -> Break:
    def wrong(stage: Stage) -> None:
        for name, value in changes.items():
            stage.flags["--" + name.replace("_", "-")] = value and value.format(stage=stage)

    return wrong


def document(**members: Any) -> Break:
    def wrong(stage: Stage) -> None:
        for name, value in members.items():
            stage.discovery[name] = value.format(stage=stage) if isinstance(value, str) else value

    return wrong


def asks(**changes: str) -> Break:
    return lambda stage: stage.asks.update(
        {name: value.format(stage=stage) for name, value in changes.items()}
    )


def certificate(which: str, make: Callable[..., ssl.SSLContext | None]) -> Break:
    def wrong(stage: Stage) -> None:
        site = stage.at if which == "issuer" else stage.headlamp
        site.context = make(stage.authority)

    return wrong


def without_tls(which: str) -> Break:
    """Plain HTTP at an address that is written with https."""

    def wrong(stage: Stage) -> None:
        site = stage.at if which == "issuer" else stage.headlamp
        flag = "--oidc-issuer-url" if which == "issuer" else "--headlamp-url"
        stage.flags[flag] = site.url
        site.context = None

    return wrong


def named(which: str, name: str, known_as: str | None = None) -> Break:
    def wrong(stage: Stage) -> None:
        site = stage.at if which == "issuer" else stage.headlamp
        site.name = name
        if known_as:
            stage.names[name] = known_as

    return wrong


def base_path(stage: Stage) -> None:
    stage.headlamp.path = "/headlamp"


def issuer_under_a_path(stage: Stage) -> None:
    """Keycloak's realm, or Dex's /dex, which was left out of the flag."""
    stage.discovery["issuer"] = f"{stage.at.url}/realms/main"
    documents = stage.at.overrides

    async def whole_document(_: web.Request) -> web.Response:
        return web.json_response({"issuer": f"{stage.at.url}"})

    stage.at.overrides = {DISCOVERY: answering(404, "404 page not found")}
    stage.flags["--oidc-issuer-url"] = f"{stage.at.url}/realms/wrong"
    stage.at.overrides["/realms/wrong" + DISCOVERY] = documents.get(
        DISCOVERY, answering(404, "Realm does not exist")
    )


def too_much_of_a_path(stage: Stage) -> None:
    stage.flags["--oidc-issuer-url"] = f"{stage.at.url}/dex"


def pasted_discovery_url(stage: Stage) -> None:
    stage.flags["--oidc-issuer-url"] = f"{stage.at.url}{DISCOVERY}"


def deep_link(stage: Stage) -> None:
    stage.flags["--headlamp-url"] = f"{stage.headlamp.url}/c/main"


ALERT: Final = b"\x15\x03\x01\x00\x02\x02\x46"  # fatal, protocol_version (RFC 8446, section 6)


def closing(flag: str, saying: bytes = b"") -> Break:
    """Something that takes connections and closes them when TLS begins."""

    def wrong(stage: Stage) -> None:
        async def close(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(4096)
            writer.write(saying)
            writer.close()

        port = free_port()
        server = stage.run(asyncio.start_server(close, "127.0.0.1", port))
        stage.stack.enter_context(stage.run.entered(server))
        stage.flags[flag] = f"https://localhost:{port}"

    return wrong


def other_case(stage: Stage) -> None:
    stage.flags["--oidc-issuer-url"] = stage.at.url.replace("localhost", "LocalHost")


def keys(*entries: Any) -> Break:
    return issuer_at(JWKS, answering(200, jwks_document(*entries).decode()))


def clock(ahead: float) -> Break:
    """The issuer's clock as its Date header has it."""

    def wrong(stage: Stage) -> None:
        issuer = stage.issuer

        async def document(request: web.Request) -> web.Response:
            answer = await issuer._discovery(request)
            answer.headers["Date"] = formatdate(time.time() + ahead, usegmt=True)
            return answer

        stage.at.overrides[DISCOVERY] = document

    return wrong


def headlamp_says(text: str) -> Break:
    return headlamp_at("/oidc", answering(500, text))


def clusters(*entries: Any) -> Break:
    return headlamp_at("/config", answering(200, json.dumps({"clusters": list(entries) or None})))


def both(*wrongs: Break) -> Break:
    def wrong(stage: Stage) -> None:
        for one in wrongs:
            one(stage)

    return wrong


def nobody_at(stage: Stage) -> str:
    return f"https://localhost:{free_port()}"


def every_other(handler: Handler) -> Break:
    """The second of two Headlamps answers every other time that a login comes back."""

    def wrong(stage: Stage) -> None:
        count = iter(range(100))
        usual = answering(500, 'Failed to exchange token: oauth2: "invalid_grant"')

        async def answer(request: web.Request) -> web.StreamResponse:
            found: web.StreamResponse = await (handler if next(count) % 2 else usual)(request)
            return found

        stage.headlamp.overrides["/oidc-callback"] = answer

    return wrong


# --- The table -----------------------------------------------------------------------------------

OIDC = '{"name": "main", "auth_type": "oidc"}'

ROWS = [
    # 1: the browser and the Headlamp address
    Row("name without address", 1, "headlamp_name_unknown", "--headlamp-url", named("headlamp", "headlamp.example.com")),
    Row("nothing listens", 1, "headlamp_refused", "port", lambda s: s.flags.update({"--headlamp-url": nobody_at(s)})),
    Row("http on the https port", 1, "headlamp_not_tls", "serve TLS", without_tls("headlamp")),
    Row("certificate has ended", 1, "headlamp_certificate_expired", "renew the certificate of localhost", certificate("headlamp", certificates.expired)),
    Row("certificate not begun", 1, "headlamp_certificate_not_yet_valid", "timedatectl", certificate("headlamp", certificates.early)),
    Row("certificate of another name", 1, "headlamp_certificate_wrong_name", "issued for localhost", certificate("headlamp", certificates.elsewhere)),
    Row("certificate of a private CA", 1, "headlamp_certificate_unknown_ca", "a CA that browsers know", flags(headlamp_ca_file=None)),
    Row("certificate of strangers", 1, "headlamp_certificate_unknown_ca", "Strangers", certificate("headlamp", certificates.strangers)),
    Row("intermediate not sent", 1, "headlamp_certificate_incomplete", "whole chain", certificate("headlamp", certificates.without_intermediate)),
    Row("another program", 1, "not_headlamp", "--headlamp-url", headlamp_at("/config", answering(404, "404 page not found"))),
    Row("another page", 1, "not_headlamp", "--headlamp-url", headlamp_at("/config", answering(200, PAGE))),
    Row("pods are down", 1, "headlamp_backend_down", "get pods", headlamp_at("/config", answering(503, "no available server"))),
    Row("oauth2-proxy before it", 1, "headlamp_behind_login", "take the other login away", headlamp_at("/config", redirecting("https://login.example.com/oauth2/start?rd=x"))),
    Row("basic auth before it", 1, "headlamp_behind_login", "without a login", headlamp_at("/config", answering(401, "Unauthorized"))),
    Row("leads to another name", 1, "headlamp_redirects", "--headlamp-url=https://other.example.com", headlamp_at("/config", redirecting("https://other.example.com{path}"))),
    Row("loopback only", 1, "headlamp_refuses_host", "-listen-addr", headlamp_at("/config", answering(403, "invalid Host header\n"))),
    Row("base path", 1, "headlamp_base_path", "config.baseURL", base_path),
    # 2: Headlamp and the issuer
    Row("issuer: no such name", 2, "issuer_name_unknown", "--oidc-issuer-url", named("issuer", "idp.example.com")),
    Row("issuer: only in the tailnet", 2, "issuer_behind_tailnet", "--oidc-http-proxy=socks5h://localhost:1055", named("issuer", "idp.tail1234.ts.net")),
    Row("certificate for clients", 1, "headlamp_certificate_unsuitable", "for TLS servers", certificate("headlamp", certificates.for_clients)),
    Row("a deep link", 1, "not_headlamp", "--headlamp-url=https://localhost:", deep_link),
    Row("issuer: certificate for clients", 2, "issuer_certificate_unsuitable", "for TLS servers", certificate("issuer", certificates.for_clients)),
    Row("issuer: TLS 1.1", 2, "issuer_tls_failed", "TLS 1.2", closing("--oidc-issuer-url", ALERT)),
    Row("issuer: closes when TLS begins", 2, "issuer_tls_closed", "TLS 1.2", closing("--oidc-issuer-url")),
    Row("closes when TLS begins", 1, "headlamp_tls_closed", "TLS 1.2", closing("--headlamp-url")),
    Row("discovery URL leads nowhere", 2, "discovery_not_found", "remove --oidc-discovery-url=", lambda s: s.flags.update({"--oidc-discovery-url": f"{s.at.url}/oidc/configuration"})),
    Row("issuer: nothing listens", 2, "issuer_refused", "port", lambda s: s.flags.update({"--oidc-issuer-url": nobody_at(s)})),
    Row("issuer: http on the https port", 2, "issuer_not_tls", "serve TLS", without_tls("issuer")),
    Row("issuer: certificate has ended", 2, "issuer_certificate_expired", "renew", certificate("issuer", certificates.expired)),
    Row("issuer: certificate not begun", 2, "issuer_certificate_not_yet_valid", "timedatectl", certificate("issuer", certificates.early)),
    Row("issuer: another name", 2, "issuer_certificate_wrong_name", "--oidc-issuer-url=https://idp-1.tail1234.ts.net", certificate("issuer", certificates.elsewhere)),
    Row("issuer: private CA, no file", 2, "issuer_certificate_unknown_ca", "--oidc-ca-file=ca.crt", flags(oidc_ca_file=None)),
    Row("issuer: another CA than the file's", 2, "issuer_certificate_unknown_ca", "into the file of --oidc-ca-file", certificate("issuer", certificates.strangers)),
    Row("issuer: intermediate not sent", 2, "issuer_certificate_incomplete", "whole chain", certificate("issuer", certificates.without_intermediate)),
    Row("issuer: the proxy is not there", 2, "issuer_proxy", "--oidc-http-proxy=", lambda s: s.flags.update({"--oidc-http-proxy": f"socks5h://127.0.0.1:{free_port()}"})),
    Row("issuer: the http proxy is not there", 2, "issuer_proxy", "--oidc-http-proxy=", lambda s: s.flags.update({"--oidc-http-proxy": f"http://127.0.0.1:{free_port()}"})),
    Row("slash at the end", 2, "issuer_mismatch", "--oidc-issuer-url=https://localhost:", flags(oidc_issuer_url="{stage.at.url}/")),
    Row("another case", 2, "issuer_mismatch", "--oidc-issuer-url=https://localhost:", other_case),
    Row("calls itself http", 2, "issuer_mismatch", "call itself https://localhost", document(issuer="http://localhost")),
    Row("calls itself idp-1", 2, "issuer_mismatch", "--oidc-issuer-url=https://idp-1.tail1234.ts.net", document(issuer="https://idp-1.tail1234.ts.net")),
    Row("whole discovery URL", 2, "discovery_not_found", "--oidc-issuer-url=https://localhost:", pasted_discovery_url),
    Row("path too much", 2, "discovery_not_found", "--oidc-issuer-url=https://localhost:", too_much_of_a_path),
    Row("no such realm", 2, "discovery_not_found", "realm", issuer_under_a_path),
    Row("redirected", 2, "discovery_redirects", "--oidc-issuer-url", issuer_at(DISCOVERY, redirecting("https://{host}/elsewhere"))),
    Row("document forbidden", 2, "discovery_forbidden", "without a login", issuer_at(DISCOVERY, answering(403, "forbidden"))),
    Row("issuer is down", 2, "discovery_failed", "curl", issuer_at(DISCOVERY, answering(503, "upstream connect error"))),
    Row("a page for a document", 2, "discovery_invalid", "before the issuer", issuer_at(DISCOVERY, answering(200, PAGE))),
    Row("another document", 2, "discovery_invalid", "--oidc-issuer-url", issuer_at(DISCOVERY, answering(200, "{}"))),
    Row("a document without end", 2, "discovery_invalid", "curl", issuer_at(DISCOVERY, answering(200, "x" * 2_000_000))),
    Row("no token endpoint", 2, "discovery_invalid", "token_endpoint", document(token_endpoint=None)),
    Row("keys over http", 2, "discovery_invalid", "jwks_uri", document(jwks_uri="http://localhost/jwks")),
    Row("keys are nowhere", 2, "jwks_failed", "curl", issuer_at(JWKS, answering(404, "not found"))),
    Row("keys are a page", 2, "jwks_invalid", "curl", issuer_at(JWKS, answering(200, PAGE))),
    Row("no keys", 2, "jwks_invalid", "curl", issuer_at(JWKS, answering(200, '{"keys": []}'))),
    Row("keys where nothing listens", 2, "jwks_refused", "port", lambda s: document(jwks_uri=f"{nobody_at(s)}/keys")(s)),
    Row("keys at an inner name", 2, "jwks_name_unknown", "DNS", document(jwks_uri="https://dex.dex.svc/keys")),
    Row("signs with ES256", 2, "signing_algs_mismatch", "--oidc-signing-algs=RS256,ES256", document(id_token_signing_alg_values_supported=["ES256"])),
    Row("signs with HS256", 2, "signing_algs_mismatch", "RS256", document(id_token_signing_alg_values_supported=["HS256"])),
    Row("has EC keys only", 2, "signing_algs_mismatch", "ES256", keys(ec_key())),
    Row("our clock is behind", 2, "clock_skew", "timedatectl", clock(900)),
    Row("our clock is ahead", 2, "clock_skew", "timedatectl", clock(-900)),
    Row("no e-mail scope", 2, "email_scope_missing", "-oidc-scopes=profile,email", asks(scope="openid profile")),
    Row("no e-mail scope, told", 2, "email_scope_missing", "email", flags(headlamp_scopes="profile", headlamp_url=None)),
    Row("no profile scope", 2, "scope_missing", "-oidc-scopes=email,profile", both(flags(oidc_username_claim="preferred_username"), asks(scope="openid email"))),
    Row("scope groups", 2, "scope_unsupported", "-oidc-scopes=profile,email", asks(scope="openid profile email groups")),
    Row("offline_access", 2, "scope_unsupported", "-oidc-scopes=profile,email", asks(scope="openid profile email offline_access")),
    Row("groups from tags alone", 2, "tags_never_arrive", "--oidc-groups-claim=groups", flags(oidc_groups_claim="tags")),
    Row("user from upn", 2, "claim_never_arrives", "--oidc-username-claim=email", flags(oidc_username_claim="upn")),
    Row("tailnet without its dot", 2, "tailnet_without_dot", "tailnet=tail1234.ts.net.", flags(oidc_required_claim="tailnet=tail1234.ts.net")),
    Row("Headlamp has no cluster", 2, "headlamp_no_cluster", "rollout restart", clusters()),
    Row("Headlamp has no OIDC", 2, "headlamp_oidc_off", "-oidc-idp-issuer-url", both(clusters({"name": "main", "auth_type": ""}), headlamp_says("failed to get oidc config"))),
    Row("Headlamp distrusts the issuer", 2, "headlamp_distrusts_issuer", "-oidc-ca-file", headlamp_says('Get "https://idp.example.com/.well-known/openid-configuration": tls: failed to verify certificate: x509: certificate signed by unknown authority')),
    Row("Headlamp has a slash too much", 2, "headlamp_issuer_mismatch", "-oidc-idp-issuer-url=https://idp.example.com ", headlamp_says('oidc: issuer URL provided to client ("https://idp.example.com/") did not match the issuer URL returned by provider ("https://idp.example.com")')),
    Row("older Headlamp likewise", 2, "headlamp_issuer_mismatch", "-oidc-idp-issuer-url=https://idp.example.com ", headlamp_says('oidc: issuer did not match the issuer returned by provider, expected "https://idp.example.com/" got "https://idp.example.com"')),
    Row("Headlamp is not on the tailnet", 2, "headlamp_cannot_reach_issuer", "HTTPS_PROXY", headlamp_says('Get "https://idp.tail1234.ts.net/.well-known/openid-configuration": dial tcp: lookup idp.tail1234.ts.net on 10.96.0.10:53: no such host')),
    Row("Headlamp cannot get out", 2, "headlamp_cannot_reach_issuer", "NetworkPolicy", headlamp_says('Get "https://idp.example.com/.well-known/openid-configuration": context deadline exceeded')),
    Row("Headlamp cannot reach /token", 2, "headlamp_cannot_reach_issuer", "NetworkPolicy", headlamp_at("/oidc-callback", answering(500, 'Failed to exchange token: Post "https://idp.example.com/token": dial tcp 10.0.0.1:443: i/o timeout'))),
    Row("issuer lists no e-mail scope", 2, "email_scope_missing", "offer the scope email", document(scopes_supported=["openid", "profile"])),
    Row("issuer of any tenant", 2, "issuer_mismatch", "your own tenant", document(issuer="https://login.example.com/{{tenantid}}/v2.0")),
    Row("Headlamp has another issuer", 2, "headlamp_other_issuer", "-oidc-idp-issuer-url=https://localhost:", headlamp_at("/oidc", redirecting(f"https://other.example.com/authorize?client_id={CLIENT_ID}&redirect_uri=https%3A%2F%2Fx%2Foidc-callback&scope=openid+email"))),
    # 3: the issuer and Headlamp as its client
    Row("client is not known", 3, "client_unknown", "-oidc-client-id", both(flags(oidc_client_id="nobody"), asks(client_id="nobody"))),
    Row("client is another than ours", 3, "audience_mismatch", f"--oidc-client-id={CLIENT_ID}", flags(oidc_client_id="another")),
    Row("callback is not registered", 3, "callback_mismatch", "register https://", lambda s: setattr(s, "registered", ("http://localhost:8000",))),
    Row("callback with http", 3, "callback_elsewhere", "-oidc-callback-url=https://localhost:", asks(redirect_uri="http://localhost:4466/oidc-callback")),
    Row("client id with a line break", 3, "client_unknown", '"OIDC_CLIENT_ID":"' + CLIENT_ID, asks(client_id=f"{CLIENT_ID}\n")),
    Row("two replicas of Headlamp", 3, "headlamp_replicas", "--replicas=1", every_other(answering(400, "invalid request\n"))),
    Row("wrong secret, and an issuer that looks", 3, "secret_wrong", "OIDC_CLIENT_SECRET", headlamp_at("/oidc-callback", answering(500, 'Failed to exchange token: oauth2: "invalid_client" "Invalid client credentials."'))),
    Row("asked over Funnel", 3, "authorize_over_funnel", "tailnet", issuer_at("/authorize", answering(401, "tsidp: unauthorized\n"))),
    Row("wants PKCE", 3, "pkce_required", "-oidc-use-pkce", issuer_at("/authorize", answering(400, "invalid_request: PKCE code challenge is required"))),
    Row("Keycloak: client", 3, "client_unknown", "register", issuer_at("/authorize", answering(400, "<html><body><h1>We are sorry...</h1><p>Client not found.</p></body></html>"))),
    Row("Keycloak: callback", 3, "callback_mismatch", "register", issuer_at("/authorize", answering(400, "<html><body><p>Invalid parameter: redirect_uri</p></body></html>"))),
]  # fmt: skip


@pytest.mark.parametrize("row", [pytest.param(row, id=row.name) for row in ROWS])
def test_what_is_wrong_is_named(row: Row, stage: Stage, doctor: Doctor) -> None:
    row.wrong(stage)
    with whole(stage):
        doctor.run()
    found = doctor.trusts[row.trust]
    assert found["cause"] == row.cause, doctor.trusts
    assert row.mend in found["mend"]
    assert found["status"] in {"failed", "unknown"}
    assert found["saw"]
    for before in range(1, row.trust):
        assert doctor.trusts[before]["status"] in {"ok", "unknown"}, doctor.trusts[before]
    expected = [(row.trust, row.cause)] if found["status"] == "failed" else []
    assert failures(doctor) == expected, "what follows from it is no second cause"
    assert doctor.status == (1 if expected else 0)
    assert doctor.ok == (doctor.status == 0)


def failures(doctor: Doctor) -> list[tuple[int, str]]:
    """All that has failed, in any trust, speaking for it or as a note."""
    said = [(id_, v) for id_, trust in doctor.trusts.items() for v in (trust, *trust["notes"])]
    return [(id_, verdict["cause"]) for id_, verdict in said if verdict["status"] == "failed"]


@pytest.mark.parametrize("login", [(), ("--login",)])
def test_a_mistyped_address_of_headlamp_says_nothing_of_its_callback(
    stage: Stage, doctor: Doctor, login: tuple[str, ...]
) -> None:
    stage.flags["--headlamp-url"] = "https://localhost:1"
    with whole(stage):
        doctor.run(*login)
    assert failures(doctor) == [(1, "headlamp_refused")]
    assert "knows the client" in doctor.trusts[3]["notes"][0]["saw"]


@pytest.mark.parametrize("login", [(), ("--login",)])
def test_of_a_client_that_is_not_known_the_secret_is_no_matter(
    stage: Stage, doctor: Doctor, login: tuple[str, ...]
) -> None:
    both(flags(oidc_client_id="nobody"), asks(client_id="nobody"))(stage)
    unknown = 'Failed to exchange token: oauth2: "invalid_client" "Client not found"'
    headlamp_at("/oidc-callback", answering(500, unknown))(stage)
    with whole(stage):
        doctor.run(*login)
    assert failures(doctor) == [(3, "client_unknown")]


def test_a_callback_that_keeps_headlamp_out_keeps_a_login_out_too(
    stage: Stage, doctor: Doctor
) -> None:
    stage.registered = ("https://elsewhere.example.com/oidc-callback",)
    with whole(stage):
        doctor.run("--login")
    assert failures(doctor) == [(3, "callback_mismatch")]


async def hanging(_: web.Request) -> web.Response:
    await asyncio.Event().wait()
    raise AssertionError("unreachable")


@pytest.mark.parametrize(
    ("wrong", "trust", "cause"),
    [
        (headlamp_at("/config", hanging), 1, "headlamp_no_answer"),
        (issuer_at(DISCOVERY, hanging), 2, "discovery_failed"),
        (issuer_at(JWKS, hanging), 2, "jwks_failed"),
    ],
)
def test_what_never_answers_is_given_up(
    wrong: Break,
    trust: int,
    cause: str,
    stage: Stage,
    doctor: Doctor,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("proxy.tools.doctor.ask.TIMEOUT", 1.0)
    wrong(stage)
    with whole(stage):
        doctor.run()
    assert (doctor.trusts[trust]["status"], doctor.trusts[trust]["cause"]) == ("failed", cause)
    assert "did not answer within 1 s" in doctor.trusts[trust]["saw"]


def test_a_certificate_that_should_have_been_renewed_is_noted(stage: Stage, doctor: Doctor) -> None:
    stage.at.context = certificates.ending(stage.authority)
    with whole(stage):
        doctor.run()
    notes = [doctor.trusts[2], *doctor.trusts[2]["notes"]]
    assert "certificate_ends_soon" in [note["cause"] for note in notes]
    assert doctor.trusts[2]["status"] == "ok"


def test_http_that_leads_to_https_is_how_it_should_be(stage: Stage, doctor: Doctor) -> None:
    """The address that people type; browsers follow, and so does doctor."""
    plain = Site("localhost", free_port(), None)
    plain.overrides["/config"] = redirecting(f"{stage.headlamp.url}{{path}}")
    stage.stack.enter_context(
        served(stage.run, web.Application(middlewares=[plain.overriding]), plain)
    )
    stage.flags["--headlamp-url"] = plain.url
    with whole(stage):
        doctor.run()
    assert doctor.trusts[1]["status"] == "ok", doctor.trusts[1]
    assert doctor.trusts[3]["cause"] == "secret_not_checked", "its callback is that of https"
