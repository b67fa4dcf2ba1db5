"""One proxy with every sink on is told every kind of secret, wherever a client may put it.

Each sink has something to say of that, and none has a secret: ``Serve`` searches them as it stops
(see ``tests/sinks.py``; that the search finds what there is to find is in ``test_sinks.py``).
"""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import leaks, sinks
from tests.issuer import CLIENT_ID, b64url, jwks_document, rsa_key, tsidp_claims
from tests.kubectl import kubeconfig, kubectl
from tests.scripted_cluster import ScriptedCluster
from tests.serving import WHOAMI, Serve

ISSUER = "https://idp.tail1234.ts.net"
OWN_TOKEN = "the-proxys-own-token"
OPAQUE = "opaque-token-of-somebody"
TYPED = "typed-into-a-terminal"
PODS = "/api/v1/namespaces/default/pods"

Told = dict[str, bytes]


def token(**claims: object) -> str:
    return rsa_key().token(tsidp_claims(ISSUER, groups=["team"]) | claims)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Told:
    """What a proxy has written that was told all this, by sink."""
    folder = tmp_path_factory.mktemp("every-sink")
    leaks.hand_out(OWN_TOKEN, OPAQUE, TYPED)
    with ScriptedCluster(folder) as cluster, running(folder, cluster) as serve:
        in_headers(serve)
        in_targets(serve)
        in_a_browser(serve)
        in_heads_that_are_none(serve)
        in_a_terminal(serve)
        assert serve.sinks is not None
        found = serve.sinks
        serve.stop()
    return found.written(serve.log, serve.argv)


@contextlib.contextmanager
def running(folder: Path, cluster: ScriptedCluster) -> Iterator[Serve]:
    """A proxy whose own credential is that of a plugin, which tells standard error of it too."""
    own, keys = folder / "own.kubeconfig", folder / "jwks.json"
    version = "client.authentication.k8s.io/v1"
    credential = {"apiVersion": version, "kind": "ExecCredential", "status": {"token": OWN_TOKEN}}
    plugin = {
        "apiVersion": version,
        "command": "sh",
        "args": ["-c", f"echo it is {OWN_TOKEN} >&2; echo '{json.dumps(credential)}'"],
        "interactiveMode": "Never",
    }
    own.write_text(kubeconfig(cluster.url, cluster.ca_file, {"exec": plugin}))
    keys.write_bytes(jwks_document(rsa_key()))
    flags = {
        "oidc-issuer-url": ISSUER,
        "oidc-client-id": CLIENT_ID,
        "oidc-jwks-file": keys,
        "kubeconfig": own,
    }
    given = (f"--{name}={value}" for name, value in flags.items())
    with Serve(folder, *given, every_sink=True) as serve:
        serve.wait_ready()
        yield serve


def in_headers(serve: Serve) -> None:
    """Tokens of every fate, credentials of other kinds, and a token where none belongs."""
    good = token()
    tampered = f"{good[:-30]}{'A' * 30}"
    now = int(time.time())
    for bearer in (good, tampered, token(exp=now - 3600), token(aud="other"), OPAQUE, f"{good}=="):
        serve.get("/api", bearer)
        serve.get(WHOAMI, bearer)
    for authorization in (f"Basic {sinks.BASIC}", f"Bearer {good} {good}", good):
        serve.get("/api", headers={"Authorization": authorization})
    for name in ("User-Agent", "X-Forwarded-For", "Impersonate-User", "Audit-ID", "Origin",
                 "traceparent", "tracestate", "Accept", "X-Remote-User", "Range"):  # fmt: skip
        serve.get("/api", good, {name: token()})
        serve.get("/api", good, {name: f"Bearer {OPAQUE}"})


def in_targets(serve: Serve) -> None:
    """In a query whose fields are named for secrets, which is masked; a token, anywhere."""
    good, other = token(), token(sub="another")
    for query in (f"token={OPAQUE}", f"access_token={OPAQUE}", f"a=b&password={OPAQUE}"):
        for path in (PODS, WHOAMI, "/nowhere", "/api/v1/nodes/n/proxy/metrics"):
            serve.get(f"{path}?{query}", good)
            serve.get(f"{path}?{query}")
    for target in (
        f"/{other}",
        f"{PODS}/{other}",
        f"{PODS}?continue={other}",
        f"{WHOAMI}?a={other}",
    ):
        serve.get(target, good)
        serve.get(target)


def in_a_browser(serve: Serve) -> None:
    """The page, of somebody who is let in, of somebody who is not, and of nobody."""
    accepted = "Accept: text/html\r\nCookie: a=cookie-that-is-secret\r\n"
    for bearer in (token(), token(aud="other"), OPAQUE):
        authorization = f"Authorization: Bearer {bearer}\r\n"
        page = answer_to(serve, f"GET {WHOAMI}?token={OPAQUE}", f"{accepted}{authorization}")
        assert b"<h1>" in page
    assert b"<h1>" in answer_to(serve, f"GET {WHOAMI}?token={OPAQUE}", accepted)


def in_heads_that_are_none(serve: Serve) -> None:
    """What cannot be read is refused, and not repeated to anybody."""
    bearer = f"Bearer {token()}"
    authorization = f"Authorization: {bearer}\r\n"
    for start, fields in (
        ("GET /api", f"Authorization {bearer}\r\n"),
        ("GET /api", f"Authorization\x01: {bearer}\r\n"),
        ("GET /api", authorization * 2),
        ("GET /api", f"Content-Length: {bearer}\r\n"),
        ("GET /api", f"Connection: {bearer}\r\nExpect: {bearer}\r\n"),
        (f"{bearer} /api", ""),
        (f"GET https://u:{OPAQUE}@api/", ""),
    ):
        answer = answer_to(serve, start, fields)
        assert answer.startswith(b"HTTP/1.1 4"), answer


def answer_to(serve: Serve, start: str, fields: str) -> bytes:
    """Send a request as it is and return the answer, which is kept as one of the proxy's own."""
    head = f"{start} HTTP/1.1\r\nHost: {OPAQUE}\r\nConnection: close\r\n{fields}\r\n"
    tls = ssl.create_default_context(cafile=str(serve.ca_file))
    with (
        socket.create_connection(("127.0.0.1", serve.port), timeout=10) as plain,
        tls.wrap_socket(plain, server_hostname="127.0.0.1") as connection,
    ):
        connection.sendall(head.encode())
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert serve.sinks is not None
    serve.sinks.hear("answers", answer)
    return answer


def in_a_terminal(serve: Serve) -> None:
    """A password is typed, by somebody who came with a header and who came with a subprotocol."""
    config = serve.kubeconfig("alice", token())
    command = ("exec", "--stdin", "web", "--", "passwd", "0", "Password: ")
    for websocket in ("true", "false"):
        env = {"KUBECTL_REMOTE_COMMAND_WEBSOCKETS": websocket}
        assert kubectl(config, *command, stdin=TYPED, env=env).stderr == "Password: "
    bearer = f"base64url.bearer.authorization.k8s.io.{b64url(token().encode())}"
    upgrade = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Protocol": f"{bearer}, v4.channel.k8s.io",
    }
    tls = ssl.create_default_context(cafile=str(serve.ca_file))
    connection = http.client.HTTPSConnection("127.0.0.1", serve.port, context=tls, timeout=10)
    with contextlib.closing(connection):
        connection.request("GET", f"{PODS}/web/exec?command=passwd&command=0", headers=upgrade)
        assert connection.getresponse().status == 101


def test_no_sink_has_a_secret_and_every_sink_has_something(written: Told) -> None:
    leaks.search(written)
    said = {name for name, data in written.items() if data and not name.startswith("the terminal")}
    assert {Path(name).suffix or name for name in said} == {
        ".log",
        ".cast",
        "spans",
        "audit webhook",
        "admin pages",
        "answers",
    }


def test_a_recording_shows_what_was_asked_and_not_what_was_typed(written: Told) -> None:
    shown = [data for name, data in written.items() if name.startswith("the terminal")]
    assert sorted(shown) == [b"", b"Password: "]


def test_all_that_was_told_is_in_the_audit_log(written: Told) -> None:
    """Or the search would have had nothing to search."""
    (log,) = (data for name, data in written.items() if name.endswith("audit.log"))
    events = [json.loads(line) for line in log.splitlines()]
    assert {event["responseStatus"]["code"] for event in events if "responseStatus" in event} >= {
        *(101, 200, 401, 403, 404)
    }
    masked = [event for event in events if "[redacted]" in event["requestURI"]]
    assert len({event["requestURI"].partition("?")[0] for event in masked}) > 4
