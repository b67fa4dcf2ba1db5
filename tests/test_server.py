"""The program as a whole: how it starts, what it says of itself, how it ends."""

from __future__ import annotations

import ast
import contextlib
import http.client
import json
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import fields
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import trustme

from proxy.config import Config
from tests.conftest import Tls
from tests.issuer import FakeIssuer, jwks_document, rsa_key, tsidp_claims
from tests.kubectl import kubeconfig
from tests.process import free_port
from tests.serving import Run, Serve, issuer_in_thread

ROOT = Path(__file__).parents[1]
ISSUER = "https://idp.tail1234.ts.net"
CLIENT = "4f1c0d9be27a4c5f8a36b1d2e3f40516"


class ApiServer(ThreadingHTTPServer):
    """Stands for the API server: answers a GET with the headers that came; ``/hold`` waits."""

    daemon_threads = True

    def __init__(self, tls: ssl.SSLContext) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.socket = tls.wrap_socket(self.socket, server_side=True)
        self.holding, self.released = threading.Event(), threading.Event()


class _Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: ApiServer

    def do_GET(self) -> None:
        if self.path.startswith("/hold"):
            self.server.holding.set()
            self.server.released.wait(30)
        seen = {name: ", ".join(self.headers.get_all(name, [])) for name in self.headers}
        body = json.dumps(seen).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def api(tls: Tls) -> Iterator[ApiServer]:
    server = ApiServer(tls.server)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server
    server.released.set()
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def upstream_flags(api: ApiServer, tls: Tls, tmp_path: Path) -> list[str]:
    token_file = tmp_path / "token"
    token_file.write_text("the-proxys-own-token")
    return [
        f"--upstream=https://127.0.0.1:{api.server_port}",
        f"--upstream-ca-file={tls.ca_file}",
        f"--upstream-token-file={token_file}",
    ]


@pytest.fixture
def key_flags(tmp_path: Path) -> list[str]:
    """Keys from a file, so that no issuer needs to run."""
    jwks = tmp_path / "jwks.json"
    jwks.write_bytes(jwks_document(rsa_key()))
    return [
        f"--oidc-issuer-url={ISSUER}",
        f"--oidc-client-id={CLIENT}",
        f"--oidc-jwks-file={jwks}",
    ]


def token(**claims: object) -> str:
    return rsa_key().token(tsidp_claims(ISSUER, groups=["admins"]) | claims)


@pytest.fixture
def issuer() -> Iterator[tuple[FakeIssuer, Run]]:
    with issuer_in_thread() as running:
        yield running


def issuer_flags(issuer: FakeIssuer) -> list[str]:
    return [
        f"--oidc-issuer-url={issuer.url}",
        f"--oidc-client-id={issuer.client_id}",
        f"--oidc-ca-file={issuer.ca_file}",
    ]


def authentication_config(issuer: FakeIssuer, **mappings: object) -> str:
    authenticator = {
        "issuer": {
            "url": issuer.url,
            "audiences": [issuer.client_id],
            "certificateAuthority": issuer.ca_file.read_text(),
        },
        "claimMappings": {"username": {"claim": "email", "prefix": ""}, **mappings},
    }
    return json.dumps(
        {
            "apiVersion": "apiserver.config.k8s.io/v1",
            "kind": "AuthenticationConfiguration",
            "jwt": [authenticator],
        }
    )


def test_kube_apiservers_file_is_served_by_and_followed(
    tmp_path: Path, issuer: tuple[FakeIssuer, Run], upstream_flags: list[str]
) -> None:
    fake, _ = issuer
    file = tmp_path / "authentication.json"
    file.write_text(
        authentication_config(
            fake,
            uid={"claim": "node"},
            groups={"expression": "['tier:' + claims.tailnet]"},
            extra=[{"key": "example.org/nid", "valueExpression": "string(int(claims.nid))"}],
        )
    )
    flags = [f"--authentication-config={file}", "--send-credential-id", *upstream_flags]
    with Serve(tmp_path, *flags) as serve:
        serve.wait_ready()
        status, seen = serve.get("/version", fake.token(jti="j/1"))
        assert status == 200
        sent = {name: value for name, value in seen.items() if name.startswith("Impersonate-")}
        assert sent == {
            "Impersonate-User": "alice@example.com",
            "Impersonate-Group": "tier:tail1234.ts.net., headlamp-auth-proxy:authenticated",
            "Impersonate-Uid": "alice-laptop.tail1234.ts.net.",
            "Impersonate-Extra-example.org%2Fnid": "4821937465018273",
            "Impersonate-Extra-authentication.kubernetes.io%2Fcredential-id": "JTI=j/1",
        }

        file.write_text("{}")
        failures = 'authentication_config_reloads_total{result="failure"}'
        serve.wait_until(lambda: serve.metric(failures) == 1, "noticed")
        assert serve.probe("/readyz")[0] == 200
        assert "[-]authentication-config failed" in serve.probe("/readyz?verbose")[1]
        assert serve.get("/version", fake.token())[0] == 200

        token = fake.token()
        assert serve.get("/version", token)[1]["Impersonate-Uid"]
        file.write_text(authentication_config(fake))
        successes = 'authentication_config_reloads_total{result="success"}'
        serve.wait_until(lambda: serve.metric(successes) == 1, "taken")
        assert "[+]authentication-config ok" in serve.probe("/readyz?verbose")[1]
        assert "Impersonate-Uid" not in serve.get("/version", token)[1]  # no longer cached


def test_a_file_that_cannot_be_used_stops_the_start(
    tmp_path: Path, issuer: tuple[FakeIssuer, Run]
) -> None:
    fake, _ = issuer
    file = tmp_path / "authentication.json"
    file.write_text(authentication_config(fake, username={"claim": "sub"}, uid={"expression": "x"}))
    run = _serve(f"--authentication-config={file}", "--plaintext", "--upstream=https://10.0.0.1")
    assert run.returncode == 2
    assert "jwt[0].claimMappings.username.prefix: Required value" in run.stderr
    assert "jwt[0].claimMappings.uid.expression: Invalid value" in run.stderr


def test_it_starts_and_serves_while_the_issuer_is_away_and_recovers_by_itself(
    tmp_path: Path, issuer: tuple[FakeIssuer, Run], upstream_flags: list[str]
) -> None:
    fake, run = issuer
    run(fake.down())
    with Serve(tmp_path, *issuer_flags(fake), *upstream_flags) as serve:
        assert serve.probe("/readyz")[0] == 503
        assert "[-]issuer-keys failed" in serve.probe("/readyz?verbose")[1]
        serve.wait_until(serve.ca_file.exists, "trusted")
        serve.wait_until(lambda: _listens(serve.port), "listening")
        assert serve.get("/version")[0] == 401
        status, body = serve.get("/version", fake.token())
        assert (status, body["details"]["causes"][0]["reason"]) == (503, "keys_unavailable")
        run(fake.up())
        serve.wait_ready()
        assert serve.get("/version", fake.token())[0] == 200


def test_an_api_server_that_is_away_does_not_keep_it_from_being_ready(
    tmp_path: Path, key_flags: list[str]
) -> None:
    (tmp_path / "token").write_text("t")
    flags = [f"--upstream=https://127.0.0.1:{free_port()}",
             f"--upstream-token-file={tmp_path / 'token'}"]  # fmt: skip
    with Serve(tmp_path, *key_flags, *flags) as serve:
        serve.wait_ready()
        status, body = serve.get("/version", token())
        assert (status, body["details"]["causes"][0]["reason"]) == (502, "upstream_unreachable")
        assert serve.probe("/readyz")[0] == 200
        assert "[-]upstream failed" in serve.probe("/readyz?verbose")[1]


def test_without_a_credential_of_its_own_it_is_not_ready_and_says_503(
    tmp_path: Path, key_flags: list[str], upstream_flags: list[str]
) -> None:
    (tmp_path / "token").unlink()
    with Serve(tmp_path, *key_flags, *upstream_flags) as serve:
        serve.wait_until(lambda: _listens(serve.port), "listening")
        assert serve.probe("/readyz")[0] == 503
        status, body = serve.get("/version", token())
        assert (status, body["details"]["causes"][0]["reason"]) == (503, "credential_unavailable")
        (tmp_path / "token").write_text("here-it-is")
        serve.wait_ready()
        assert serve.get("/version", token())[1]["Authorization"] == "Bearer here-it-is"


def test_what_headlamp_trusts_stays_the_same_over_restarts(
    tmp_path: Path, key_flags: list[str], upstream_flags: list[str]
) -> None:
    serve = Serve(tmp_path, *key_flags, *upstream_flags)
    with serve:
        serve.wait_ready()
        trusted = serve.ca_file.read_bytes()
    with serve:
        serve.wait_ready()
        assert serve.ca_file.read_bytes() == trusted
        assert serve.get("/version", token())[0] == 200
    assert sorted(p.name for p in (tmp_path / "trust").iterdir()) == [
        "ca.crt",
        "namespace",
        "token",
    ]


def test_sigterm_lets_a_running_request_finish(
    tmp_path: Path, api: ApiServer, key_flags: list[str], upstream_flags: list[str]
) -> None:
    with Serve(tmp_path, *key_flags, *upstream_flags) as serve:
        serve.wait_ready()
        results: list[int] = []
        request = threading.Thread(target=lambda: results.append(serve.get("/hold", token())[0]))
        request.start()
        assert api.holding.wait(10)
        serve.terminate()
        serve.wait_until(lambda: serve.probe("/readyz")[0] == 503, "draining")
        assert not _listens(serve.port)
        assert results == []
        api.released.set()
        request.join()
        assert results == [200]
        assert serve.stop() == 0


def test_when_the_grace_is_over_streams_are_cut_and_the_exit_status_is_still_0(
    tmp_path: Path, api: ApiServer, key_flags: list[str], upstream_flags: list[str]
) -> None:
    with Serve(tmp_path, *key_flags, *upstream_flags, "--shutdown-grace=100ms") as serve:
        serve.wait_ready()
        tls = ssl.create_default_context(cafile=str(serve.ca_file))
        connection = http.client.HTTPSConnection("127.0.0.1", serve.port, context=tls, timeout=10)
        with contextlib.closing(connection):
            connection.request("GET", "/hold", headers={"Authorization": f"Bearer {token()}"})
            assert api.holding.wait(10)
            assert serve.stop() == 0
            with pytest.raises((http.client.HTTPException, OSError)):
                connection.getresponse()


def test_a_wrong_configuration_says_all_that_is_wrong_and_exits_2(tmp_path: Path) -> None:
    run = _serve("--oidc-issuer-url=http://x", "--listen=nowhere", "--oidc-clock-skew=5")
    assert run.returncode == 2
    assert run.stdout == ""
    for flag in ("--oidc-issuer-url", "--oidc-client-id", "--listen", "--oidc-clock-skew"):
        assert any(line.startswith(flag) for line in run.stderr.splitlines())
    assert "Traceback" not in run.stderr


def test_an_address_that_is_taken_is_named(
    tmp_path: Path, key_flags: list[str], upstream_flags: list[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        admin = f"--admin-listen=127.0.0.1:{free_port()}"
        common = [*key_flags, *upstream_flags, f"--trust-dir={tmp_path / 'trust'}",
                  f"--cert-dir={tmp_path / 'certs'}"]  # fmt: skip
        run = _serve(*common, admin, f"--listen=127.0.0.1:{port}")
        assert (run.returncode, run.stdout) == (2, "")
        words = "cannot listen there: it is in use; choose another port, or end what listens there"
        assert f"--listen '127.0.0.1:{port}': {words}\n" in run.stderr
        run = _serve(
            *common, f"--admin-listen=127.0.0.1:{port}", f"--listen=127.0.0.1:{free_port()}"
        )
        assert run.returncode == 2
        assert f"--admin-listen '127.0.0.1:{port}': {words}\n" in run.stderr


def test_a_broken_ca_directory_is_named_and_never_replaced(
    tmp_path: Path, key_flags: list[str], upstream_flags: list[str]
) -> None:
    (tmp_path / "certs").mkdir()
    (tmp_path / "certs" / "ca.key").write_text("garbage")
    (tmp_path / "certs" / "ca.crt").write_text("garbage")
    run = _serve(*key_flags, *upstream_flags, f"--trust-dir={tmp_path / 'trust'}",
                 f"--cert-dir={tmp_path / 'certs'}", f"--listen=127.0.0.1:{free_port()}",
                 f"--admin-listen=127.0.0.1:{free_port()}")  # fmt: skip
    assert run.returncode == 2
    assert "--cert-dir" in run.stderr
    assert (tmp_path / "certs" / "ca.key").read_text() == "garbage"


def test_a_unix_socket_without_tls(
    tmp_path: Path, key_flags: list[str], upstream_flags: list[str]
) -> None:
    path = tmp_path / "s"
    flags = [f"--listen=unix:{path}", "--plaintext", "--trust-dir=", "--cert-dir="]
    for _ in range(2):  # the second start finds the socket of the first
        with Serve(tmp_path, *key_flags, *upstream_flags, *flags) as serve:
            serve.wait_until(path.exists, "listening")
            assert path.stat().st_mode & 0o777 == 0o660
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(str(path))
                request = f"GET / HTTP/1.0\r\nAuthorization: Bearer {token()}\r\n\r\n"
                client.sendall(request.encode())
                assert client.recv(65536).startswith(b"HTTP/1.1 200 OK\r\n")


def test_a_certificate_of_ones_own_is_followed(
    tmp_path: Path, key_flags: list[str], upstream_flags: list[str]
) -> None:
    ca = trustme.CA()
    ca.cert_pem.write_to_path(tmp_path / "own-ca.crt")

    def write(name: str) -> None:
        issued = ca.issue_cert("127.0.0.1", common_name=name)
        issued.private_key_pem.write_to_path(tmp_path / "own.key")
        issued.cert_chain_pems[0].write_to_path(tmp_path / "own.crt")

    def shown() -> object:
        tls = ssl.create_default_context(cafile=str(tmp_path / "own-ca.crt"))
        with (
            socket.create_connection(("127.0.0.1", serve.port)) as plain,
            tls.wrap_socket(plain, server_hostname="127.0.0.1") as wrapped,
        ):
            return wrapped.getpeercert()["serialNumber"]  # type: ignore[index]

    write("first")
    flags = [
        f"--tls-cert-file={tmp_path / 'own.crt'}",
        f"--tls-private-key-file={tmp_path / 'own.key'}",
        *("--trust-dir=", "--cert-dir="),
    ]
    with Serve(tmp_path, *key_flags, *upstream_flags, *flags) as serve:
        serve.wait_ready()
        serve.wait_until(lambda: _listens(serve.port), "listening")
        first = shown()
        write("second")
        serve.wait_until(lambda: shown() != first, "reloaded")


def test_a_kubeconfig_says_where_and_who(
    tmp_path: Path, api: ApiServer, tls: Tls, key_flags: list[str]
) -> None:
    path = tmp_path / "config"
    server = f"https://127.0.0.1:{api.server_port}"
    path.write_text(kubeconfig(server, tls.ca_file, {"token": "from-the-kubeconfig"}))
    with Serve(tmp_path, *key_flags, f"--kubeconfig={path}") as serve:
        serve.wait_ready()
        seen = serve.get("/version", token())[1]
        assert seen["Authorization"] == "Bearer from-the-kubeconfig"
        assert seen["Impersonate-User"] == "alice@example.com"


OWN = "headlamp-auth-proxy:authenticated"
USER, GROUPS, REFUSED = "Impersonate-User", "Impersonate-Group", "refused"

# A flag, what the token says besides, and what the API server then sees, or why it sees nothing.
OBEYED: list[tuple[list[str], dict[str, object], str, str]] = [
    (["--oidc-clock-skew=1h"], {"exp": int(time.time()) - 90}, USER, "alice@example.com"),
    (["--oidc-clock-skew=0s"], {"exp": int(time.time()) - 2}, REFUSED, "token_expired"),
    (["--oidc-username-claim=sub"], {"sub": "a"}, USER, f"{ISSUER}#a"),
    (["--oidc-username-claim=sub", "--oidc-username-prefix=-"], {"sub": "a"}, USER, "a"),
    (["--oidc-username-prefix=ts:"], {}, USER, "ts:alice@example.com"),
    (["--oidc-groups-prefix=ts:"], {}, GROUPS, f"ts:admins, {OWN}"),
    (["--oidc-groups-claim=teams"], {"teams": "crew"}, GROUPS, f"crew, {OWN}"),
    (["--oidc-groups-claim="], {}, GROUPS, OWN),
    (["--oidc-required-claim=tailnet=other."], {}, REFUSED, "required_claim_mismatch"),
    (["--oidc-client-id=another"], {}, REFUSED, "audience_mismatch"),
    (["--oidc-signing-algs=ES256"], {}, REFUSED, "algorithm_not_allowed"),
    (["--groups-allow=o*"], {"groups": ["admins", "ops"]}, GROUPS, f"ops, {OWN}"),
    (["--allow-reserved-group=eks:x"], {"groups": ["eks:x"]}, GROUPS, f"eks:x, {OWN}"),
    (["--reserved-prefix=adm"], {}, REFUSED, "group_reserved"),
    (["--authenticated-group=us"], {}, GROUPS, "admins, us"),
    (["--disallowed-issuer=https://other.example"], {}, USER, "alice@example.com"),
    (
        ["--send-credential-id"],
        {"jti": "j1"},
        "Impersonate-Extra-authentication.kubernetes.io%2Fcredential-id",
        "JTI=j1",
    ),
    (
        ["--send-token-facts"],
        {"addresses": ["100.64.1.2/32", "fd7a::2/128"]},
        "Impersonate-Extra-headlamp-auth-proxy.dev%2Ftoken-addresses",
        "100.64.1.2/32, fd7a::2/128",
    ),
    (["--pass-header=X-Team"], {}, "X-Team", "blue"),
    (
        ["--max-head-bytes=4096", "--max-token-bytes=2048"],
        {"pad": "x" * 5000},
        REFUSED,
        "head_too_large",
    ),
    (["--max-head-fields=20"], {}, USER, "alice@example.com"),
    (["--max-token-bytes=1024"], {"pad": "x" * 2000}, REFUSED, "token_too_large"),
    (["--max-groups=2"], {"groups": ["a", "b", "c"]}, REFUSED, "too_many_groups"),
]


@pytest.mark.parametrize(
    ("flags", "claims", "where", "what"), OBEYED, ids=[" ".join(row[0]) for row in OBEYED]
)
def test_a_flag_is_obeyed(
    tmp_path: Path,
    key_flags: list[str],
    upstream_flags: list[str],
    flags: list[str],
    claims: dict[str, object],
    where: str,
    what: str,
) -> None:
    if "--oidc-client-id=another" in flags:
        key_flags = [flag for flag in key_flags if not flag.startswith("--oidc-client-id")]
    with Serve(tmp_path, *key_flags, *upstream_flags, *flags) as serve:
        serve.wait_ready()
        seen = serve.get("/version", token(**claims), {"X-Team": "blue"})[1]
        if where == REFUSED:
            assert seen["details"]["causes"][0]["reason"] == what
        else:
            assert seen[where] == what


def test_no_setting_is_taken_and_then_ignored() -> None:
    """A setting that restricts and does nothing is worse than none: who set it relies on it."""
    used = {
        node.attr
        for path in (ROOT / "proxy").rglob("*.py")
        if "config" not in path.parts
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute)
    }
    # The file itself is no setting.
    assert {field.name for field in fields(Config)} - used - {"config"} == set()


def test_a_withdrawn_key_takes_its_tokens_along(
    tmp_path: Path, key_flags: list[str], upstream_flags: list[str]
) -> None:
    with Serve(tmp_path, *key_flags, *upstream_flags) as serve:
        serve.wait_ready()
        known = token()
        assert serve.get("/version", known)[0] == 200
        (tmp_path / "jwks.json").write_bytes(jwks_document(rsa_key(1)))
        serve.wait_until(lambda: serve.get("/version", known)[0] == 401, "withdrawn")


def test_neither_logs_nor_metrics_hold_a_secret(
    tmp_path: Path, key_flags: list[str], upstream_flags: list[str]
) -> None:
    good, expired = token(), token(exp=1)
    with Serve(tmp_path, *key_flags, *upstream_flags) as serve:
        serve.wait_ready()
        for bearer in (good, expired, "nonsense", f"{good}x"):
            serve.get(f"/api?token={good}", bearer, {"Cookie": f"a={good}"})
        serve.get("/version", good, {"Impersonate-User": "root"})
        serve.wait_until(lambda: len(serve.requests()) == 5, "logged")
        metrics = serve.probe("/metrics")[1]
    log = serve.log.read_text()
    for secret in (*good.split("."), *expired.split(".")[1:], "the-proxys-own-token", "token="):
        assert secret not in log
        assert secret not in metrics
    assert "alice@example.com" not in metrics
    lines = serve.requests()
    assert [line["code"] for line in lines] == [200, 401, 401, 401, 403]
    assert lines[0]["user"] == "alice@example.com"
    assert [line.get("reason") for line in lines] == [
        None, "token_expired", "token_malformed", "signature_invalid", "impersonation_not_allowed"
    ]  # fmt: skip


# --- Limits and the emergency stop ----------------------------------------------------------------


def bearing(**claims: object) -> bytes:
    return f"Authorization: Bearer {token(**claims)}\r\n".encode()


def ask(serve: Serve, sent: bytes) -> ssl.SSLSocket:
    """Connect, send, and leave the connection open."""
    tls = ssl.create_default_context(cafile=str(serve.ca_file))
    plain = socket.create_connection(("127.0.0.1", serve.port), 10)
    wrapped = tls.wrap_socket(plain, server_hostname="127.0.0.1")
    wrapped.sendall(sent)
    return wrapped


def everything(connection: socket.socket) -> bytes:
    received = b""
    with contextlib.suppress(ConnectionError, ssl.SSLError):
        while part := connection.recv(65536):
            received += part
    return received


def test_every_limit_of_connections_and_users_is_obeyed(
    tmp_path: Path, api: ApiServer, key_flags: list[str], upstream_flags: list[str]
) -> None:
    flags = [
        *("--max-connections-per-address=4", "--max-streams-per-user=1"),
        *("--max-requests-per-user=1", "--head-timeout=500ms", "--idle-timeout=700ms"),
        "--tls-handshake-timeout=500ms",
    ]
    upgrade = b"Connection: Upgrade\r\nUpgrade: websocket\r\n"
    stream = b"GET /hold HTTP/1.1\r\nHost: x\r\n" + upgrade + bearing() + b"\r\n"
    with Serve(tmp_path, *key_flags, *upstream_flags, *flags) as serve, contextlib.ExitStack() as s:
        serve.wait_ready()
        with (
            socket.create_connection(("127.0.0.1", serve.port), 10) as silent,
            ask(serve, b"GET / HTTP/1.1\r\nHost:") as half,
            ask(serve, b"") as idle,
        ):
            assert everything(silent) == b""
            assert everything(half).startswith(b"HTTP/1.1 408 ")
            assert everything(idle) == b""
        assert serve.metric('connections_limited_total{limit="handshake"}') == 1
        assert serve.metric('connections_limited_total{limit="idle"}') >= 1
        assert serve.metric('refused_requests_total{reason="request_timeout"}') == 1

        s.enter_context(ask(serve, b"GET /hold HTTP/1.1\r\nHost: x\r\n" + bearing() + b"\r\n"))
        assert api.holding.wait(10)
        status, body = serve.get("/version", token())
        assert (status, body["details"]["causes"][0]["reason"]) == (429, "too_many_requests")
        assert body["details"]["retryAfterSeconds"] == 1
        assert serve.get("/version", token(email="bob@example.com"))[0] == 200
        s.enter_context(ask(serve, stream))
        serve.wait_until(lambda: serve.metric("user_streams_highest") == 1, "open")
        with ask(serve, stream) as refused:
            answer = everything(refused)
        assert answer.startswith(b"HTTP/1.1 429 ")
        assert b"too_many_streams" in answer
        s.enter_context(ask(serve, b""))
        s.enter_context(ask(serve, b""))
        status, body = serve.get("/version", token())
        assert (status, body["details"]["causes"][0]["reason"]) == (503, "too_many_connections")
        assert serve.metric('connections_limited_total{limit="address"}') == 1
        assert serve.probe("/readyz")[0] == 200
        warnings = [line["event"] for line in serve.logged() if line["level"] == "warning"]
        assert any(event.startswith("--idle-timeout is not above 90s") for event in warnings)


def test_with_few_descriptors_there_are_fewer_connections_and_the_probes_still_answer(
    tmp_path: Path, key_flags: list[str], upstream_flags: list[str]
) -> None:
    few = 220
    starting = Serve(tmp_path, *key_flags, *upstream_flags)
    starting.argv = ["sh", "-c", f'ulimit -n {few}; exec "$@"', "sh", *starting.argv]
    with starting as serve, contextlib.ExitStack() as held:
        serve.wait_ready()
        allowed = serve.metric("connections_limit ")
        assert 0 < allowed < few / 2
        event = "the limit of open files allows fewer connections than --max-connections"
        serve.wait_until(lambda: event in [x["event"] for x in serve.logged()], "warned")
        for _ in range(few):
            held.enter_context(socket.create_connection(("127.0.0.1", serve.port), 10))
        serve.wait_until(
            lambda: serve.metric('connections_limited_total{limit="total"}') >= few - allowed,
            "full",
        )
        assert serve.probe("/readyz")[0] == 200
        assert serve.metric("connections_open") == allowed


def test_who_is_put_on_the_deny_list_is_out_at_once(
    tmp_path: Path, api: ApiServer, key_flags: list[str], upstream_flags: list[str]
) -> None:
    deny = tmp_path / "deny.yaml"
    deny.write_text("")
    with Serve(tmp_path, *key_flags, *upstream_flags, f"--deny-file={deny}") as serve:
        serve.wait_ready()
        known = token()
        assert serve.get("/version", known)[0] == 200
        with ask(serve, b"GET /hold HTTP/1.1\r\nHost: x\r\n" + bearing() + b"\r\n") as waiting:
            assert api.holding.wait(10)
            deny.write_text("users: [alice@example.com]")
            assert waiting.recv(65536).startswith(b"HTTP/1.1 403 ")
        status, body = serve.get("/version", known)
        assert (status, body["details"]["causes"][0]["reason"]) == (403, "denied")
        assert serve.get("/version", token(email="bob@example.com"))[0] == 200
        assert "[+]deny-file ok" in serve.probe("/readyz?verbose")[1]
        assert serve.metric("deny_list_entries") == 1
        deny.write_text("user: []")
        serve.wait_until(
            lambda: "[-]deny-file failed" in serve.probe("/readyz?verbose")[1], "noticed"
        )
        assert serve.metric("deny_file_failed") == 1
        assert serve.probe("/readyz")[0] == 200
        assert serve.get("/version", known)[0] == 403
        deny.write_text("users: []")
        serve.wait_until(lambda: serve.get("/version", known)[0] == 200, "let in again")

        def changes() -> list[tuple[int, int]]:
            lines = [x for x in serve.logged() if x["event"] == "the deny list has changed"]
            return [(line["users"], line["ended"]) for line in lines]

        serve.wait_until(lambda: changes() == [(1, 1), (0, 0)], "logged")


def _serve(*flags: str) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).parent / "headlamp-auth-proxy"
    return subprocess.run(
        [program, "serve", *flags], capture_output=True, text=True, timeout=30, check=False
    )


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True
