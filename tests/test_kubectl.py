"""kubectl through the running proxy, as its user would use it.

The API server is played (see ``scripted_cluster``), so that what reaches it can be read byte by
byte: after every test, each request that came must say who asks, and nothing that it must not.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import re
import ssl
import subprocess
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

import aiohttp
import pytest

from tests.issuer import FakeIssuer, b64url
from tests.kubectl import PATIENCE, find_kubectl, kubectl
from tests.scripted_cluster import ADMINISTRATORS, LOG, ScriptedCluster, pod
from tests.scripted_exec import STDIN, STDOUT
from tests.scripted_server import Request
from tests.serving import Serve, issuer_in_thread

PROXY_TOKEN = "the-proxy-itself"
OWN_GROUP = "headlamp-auth-proxy:authenticated"
ALICE = "alice@example.com"
ALICES_GROUPS = [ADMINISTRATORS, "tag:k8s-dev"]

# Asks for nothing else first, as most commands do where kubectl has nothing in its cache.
MORE = "More: /.auth-proxy/whoami (in Headlamp: /clusters/NAME/.auth-proxy/whoami)."
GET_POD = ("get", "--raw=/api/v1/namespaces/default/pods/web")
TRANSPORTS = {
    "websocket": {"KUBECTL_REMOTE_COMMAND_WEBSOCKETS": "true"},
    "SPDY/3.1": {"KUBECTL_REMOTE_COMMAND_WEBSOCKETS": "false"},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("kubectl")


@pytest.fixture(scope="module")
def issuer() -> Iterator[FakeIssuer]:
    with issuer_in_thread() as (issuer, _):
        yield issuer


@pytest.fixture(scope="module")
def cluster(folder: Path) -> Iterator[ScriptedCluster]:
    with ScriptedCluster(folder) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def proxy(folder: Path, issuer: FakeIssuer, cluster: ScriptedCluster) -> Iterator[Serve]:
    token_file = folder / "token"
    token_file.write_text(PROXY_TOKEN)
    flags = {
        "--oidc-issuer-url": issuer.url,
        "--oidc-client-id": issuer.client_id,
        "--oidc-ca-file": issuer.ca_file,
        "--upstream": cluster.url,
        "--upstream-ca-file": cluster.ca_file,
        "--upstream-token-file": token_file,
        "--allow-reserved-group": "system:authenticated",
    }
    with Serve(folder, *(f"{name}={value}" for name, value in flags.items())) as proxy:
        proxy.wait_ready()
        yield proxy


@pytest.fixture(scope="module")
def alices_token(issuer: FakeIssuer) -> str:
    """A token that names one group twice over and one that must not be sent on."""
    groups = [*ALICES_GROUPS, ADMINISTRATORS, "system:authenticated"]
    return issuer.token(ALICE, groups, tags=[ADMINISTRATORS])


@pytest.fixture(scope="module")
def alice(proxy: Serve, alices_token: str) -> Path:
    return proxy.kubeconfig("alice", alices_token)


@pytest.fixture(autouse=True)
def seen(cluster: ScriptedCluster, alices_token: str) -> Iterator[list[Request]]:
    """The requests that reached the API server during a test; each is examined after it."""
    cluster.requests.clear()
    yield cluster.requests
    for request in cluster.requests:
        assert request.values("Authorization") == [f"Bearer {PROXY_TOKEN}"]
        assert request.values("Impersonate-User") == [ALICE]
        assert sorted(request.values("Impersonate-Group")) == sorted([*ALICES_GROUPS, OWN_GROUP])
        assert alices_token.encode() not in request.head
        assert b"system:authenticated" not in request.head.lower()
        names = [name.lower() for name, _ in request.fields]
        assert not [name for name in names if name.startswith(("cookie", "x-forwarded", "forward"))]
        assert sum(name.startswith("impersonate") for name in names) == 2 + len(ALICES_GROUPS)


class Session:
    """A kubectl that is running."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def say(self, words: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(words)
        self._process.stdin.flush()

    def line(self) -> str:
        """The next line of its output; an empty one where it has ended."""
        assert self._process.stdout is not None
        return self._process.stdout.readline()

    def wait(self) -> int:
        return self._process.wait(PATIENCE)


@contextlib.contextmanager
def started(
    kubeconfig: Path, *args: str, env: Mapping[str, str] | None = None
) -> Iterator[Session]:
    """Start kubectl, and end it in any case: after PATIENCE, so that no read waits for ever."""
    with subprocess.Popen(
        [
            find_kubectl(),
            f"--kubeconfig={kubeconfig}",
            f"--cache-dir={kubeconfig.parent / 'kubectl-cache'}",
            *args,
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **(env or {})},
    ) as process:
        timer = threading.Timer(PATIENCE, process.kill)
        timer.start()
        try:
            yield Session(process)
        finally:
            timer.cancel()
            process.kill()


def configmap(**data: str) -> str:
    metadata = {"name": "settings", "namespace": "default"}
    return json.dumps({"kind": "ConfigMap", "apiVersion": "v1", "metadata": metadata, "data": data})


def test_the_whole_head_of_a_request_is_as_it_should_be(
    alice: Path, cluster: ScriptedCluster, seen: list[Request]
) -> None:
    kubectl(alice, *GET_POD)
    (request,) = seen
    (user_agent,) = request.values("User-Agent")
    (session,) = request.values("Kubectl-Session")
    (audit_id,) = request.values("Audit-Id")
    assert user_agent.startswith("kubectl/")
    expected = [
        "GET /api/v1/namespaces/default/pods/web HTTP/1.1",
        f"Host: {cluster.url.removeprefix('https://')}",
        f"Audit-Id: {audit_id}",
        f"Authorization: Bearer {PROXY_TOKEN}",
        f"Impersonate-User: {ALICE}",
        *(f"Impersonate-Group: {group}" for group in [*ALICES_GROUPS, OWN_GROUP]),
        f"User-Agent: {user_agent}",
        "Accept: application/json, */*",
        "Kubectl-Command: kubectl get",
        f"Kubectl-Session: {session}",
        "Accept-Encoding: gzip",
        *(f"traceparent: {span}" for span in request.values("traceparent")),  # where it is traced
    ]
    assert request.head.decode() == "\r\n".join([*expected, "", ""])


def test_get_shows_the_pod(alice: Path) -> None:
    assert kubectl(alice, "get", "pods", "--output=name").stdout == "pod/web\n"


def test_each_event_of_a_watch_arrives_before_the_next_is_sent(
    alice: Path, cluster: ScriptedCluster
) -> None:
    output = '--output=jsonpath={.type} {.object.metadata.labels.step}{"\\n"}'
    watch = ("get", "pods", "--watch-only", "--output-watch-events", output)
    with started(alice, *watch) as session:
        feed = cluster.opened()
        for kind, step in ("ADDED", "first"), ("MODIFIED", "second"), ("DELETED", "third"):
            feed.event(kind, pod(step=step))
            assert session.line() == f"{kind} {step}\n"
        feed.end()
        assert session.line() == ""
        assert session.wait() == 0


def test_a_configmap_is_applied_patched_and_deleted(alice: Path, cluster: ScriptedCluster) -> None:
    apply = ("apply", "--validate=false", "--filename=-")
    assert kubectl(alice, *apply, stdin=configmap(a="1", b="1")).stdout.endswith("created\n")
    assert kubectl(alice, *apply, stdin=configmap(a="2")).stdout.endswith("configured\n")
    assert cluster.configmaps["settings"]["data"] == {"a": "2"}

    kubectl(alice, "patch", "configmap", "settings", "--type=merge", '--patch={"data":{"c":"3"}}')
    assert cluster.configmaps["settings"]["data"] == {"a": "2", "c": "3"}

    kubectl(alice, "delete", "configmap", "settings")
    assert cluster.configmaps == {}


def test_whoami_is_the_user_and_not_the_proxy(alice: Path) -> None:
    review = json.loads(kubectl(alice, "auth", "whoami", "--output=json").stdout)
    user = review["status"]["userInfo"]
    assert user["username"] == ALICE
    assert sorted(user["groups"]) == sorted([*ALICES_GROUPS, OWN_GROUP])


def test_can_i_is_answered_for_the_users_groups(alice: Path) -> None:
    assert kubectl(alice, "auth", "can-i", "delete", "pods").stdout == "yes\n"


def test_logs_are_shown_whole(alice: Path) -> None:
    assert kubectl(alice, "logs", "web").stdout == LOG.decode()


def test_a_followed_log_arrives_line_by_line(alice: Path, cluster: ScriptedCluster) -> None:
    with started(alice, "logs", "--follow", "web") as session:
        feed = cluster.opened()
        for line in "one\n", "two\n", "three\n":
            feed.send(line.encode())
            assert session.line() == line
        feed.end()
        assert session.line() == ""
        assert session.wait() == 0


@pytest.mark.parametrize("exit_code", [0, 3])
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_exec_carries_input_output_errors_and_the_exit_code(
    alice: Path, seen: list[Request], transport: str, exit_code: int
) -> None:
    run = kubectl(
        alice,
        *("exec", "--stdin", "web", "--", "cat", str(exit_code), "careful\n"),
        stdin="hello",
        check=False,
        env=TRANSPORTS[transport],
    )
    assert run.stdout == "hello"
    assert run.stderr.startswith("careful\n")
    assert run.returncode == exit_code
    assert seen[-1].values("Connection") == ["Upgrade"]
    assert seen[-1].values("Upgrade") == [transport]


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_exec_without_input_ends_by_itself(
    alice: Path, seen: list[Request], transport: str
) -> None:
    run = kubectl(alice, "exec", "web", "--", "cat", "0", "done", env=TRANSPORTS[transport])
    assert (run.stdout, run.stderr) == ("", "done")
    assert seen[-1].values("Upgrade") == [transport]


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_exec_answers_while_its_input_is_still_open(alice: Path, transport: str) -> None:
    command = ("exec", "--stdin", "web", "--", "cat", "0")
    with started(alice, *command, env=TRANSPORTS[transport]) as session:
        for words in "one\n", "two\n":
            session.say(words)
            assert session.line() == words


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_megabyte_goes_through_exec_and_comes_back_unchanged(
    alice: Path, seen: list[Request], transport: str
) -> None:
    megabyte = random.Random(1).randbytes(1 << 19).hex()
    command = ("exec", "--stdin", "web", "--", "cat", "0")
    run = kubectl(alice, *command, stdin=megabyte, env=TRANSPORTS[transport])
    assert run.stdout == megabyte
    assert seen[-1].values("Upgrade") == [transport]


async def test_a_browsers_terminal_sends_its_token_as_a_subprotocol(
    proxy: Serve, alices_token: str, seen: list[Request]
) -> None:
    """As Headlamp opens it: the oldest protocols, and headers that only a browser would send."""
    bearer = f"base64url.bearer.authorization.k8s.io.{b64url(alices_token.encode())}"
    tls = ssl.create_default_context(cafile=str(proxy.ca_file))
    async with (
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(PATIENCE)) as session,
        session.ws_connect(
            f"{proxy.url}/api/v1/namespaces/default/pods/web/exec?command=cat&command=0&stdin=true",
            protocols=[bearer, "v4.channel.k8s.io", "channel.k8s.io"],
            headers={
                "Cookie": "headlamp-auth-main.0=secret",
                "Forwarded": "for=192.0.2.1",
                "X-Forwarded-For": "192.0.2.1",
                "X-Forwarded-Host": "headlamp.example.com",
            },
            ssl=tls,
        ) as terminal,
    ):
        assert terminal.protocol == "v4.channel.k8s.io"
        await terminal.send_bytes(bytes([STDIN]) + b"hello")
        assert await terminal.receive_bytes() == bytes([STDOUT]) + b"hello"
        connection = terminal._response.connection
        assert connection is not None
        assert connection.protocol is not None
        gone = connection.protocol.closed
    if gone is not None:  # TLS takes its leave after the session does; the loop must outlive it
        async with asyncio.timeout(PATIENCE):
            await gone
    (offered,) = seen[-1].values("Sec-WebSocket-Protocol")
    assert [name.strip() for name in offered.split(",")] == ["v4.channel.k8s.io", "channel.k8s.io"]


def without_audit_id(stderr: str) -> str:
    """What kubectl says, less the name of the request, which must be there."""
    text, found = re.subn(r" \(audit ID [0-9a-f-]{36}\)", "", stderr)
    assert found == 1, stderr
    return text


def test_a_bad_token_is_told_why_and_nothing_is_forwarded(
    proxy: Serve, issuer: FakeIssuer, seen: list[Request]
) -> None:
    expired = proxy.kubeconfig("expired", issuer.token(ALICE, age=3600))
    run = kubectl(expired, *GET_POD, check=False)
    assert (run.returncode, run.stdout) == (1, "")
    assert without_audit_id(run.stderr) == (
        "error: You must be logged in to the server "
        f"(The token has expired. Reload the page, or sign in again. {MORE})\n"
    )
    assert seen == []


def test_a_first_command_with_a_bad_token_ends_in_the_advice_to_log_in(
    proxy: Serve, issuer: FakeIssuer, seen: list[Request], tmp_path: Path
) -> None:
    """Of an error during discovery, client-go shows no message, only what it makes of a 401."""
    expired = proxy.kubeconfig("newcomer", issuer.token(ALICE, age=3600))
    run = kubectl(expired, "get", "pods", f"--cache-dir={tmp_path}", check=False)
    assert (run.returncode, run.stdout) == (1, "")
    assert run.stderr.splitlines()[-1].startswith("error: You must be logged in to the server")
    assert seen == []


def test_a_reserved_group_is_forbidden_and_nothing_is_forwarded(
    proxy: Serve, issuer: FakeIssuer, seen: list[Request]
) -> None:
    master = proxy.kubeconfig("master", issuer.token(ALICE, ["system:masters"]))
    run = kubectl(master, *GET_POD, check=False)
    assert (run.returncode, run.stdout) == (1, "")
    assert without_audit_id(run.stderr) == (
        "Error from server (Forbidden): "
        f"A group in the token is reserved for the cluster or for this proxy. {MORE}\n"
    )
    assert seen == []


def test_impersonating_somebody_else_is_forbidden_and_nothing_is_forwarded(
    alice: Path, seen: list[Request]
) -> None:
    run = kubectl(alice, *GET_POD, "--as=bob@example.com", check=False)
    assert (run.returncode, run.stdout) == (1, "")
    assert without_audit_id(run.stderr) == (
        "Error from server (Forbidden): "
        "Impersonation headers are not accepted here; leave out --as and --as-group.\n"
    )
    assert seen == []
