"""kubectl through the running proxy, as its user would use it.

The API server is played (see ``scripted_cluster``), so that what reaches it can be read byte by
byte: after every test, each request that came must say who asks, and nothing that it must not.
"""

from __future__ import annotations

import contextlib
import json
import random
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.issuer import FakeIssuer
from tests.kubectl import PATIENCE, find_kubectl, kubectl
from tests.scripted_cluster import ADMINISTRATORS, LOG, Request, ScriptedCluster, pod
from tests.serving import Serve, issuer_in_thread

PROXY_TOKEN = "the-proxy-itself"
OWN_GROUP = "headlamp-auth-proxy:authenticated"
ALICE = "alice@example.com"
ALICES_GROUPS = [ADMINISTRATORS, "tag:k8s-dev"]

TRANSPORTS = [
    pytest.param("true", ("GET", "websocket"), id="websocket"),
    pytest.param("false", ("POST", "SPDY/3.1"), id="spdy"),
]


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

    def line(self) -> str:
        """The next line of its output; an empty one where it has ended."""
        assert self._process.stdout is not None
        return self._process.stdout.readline()

    def wait(self) -> int:
        return self._process.wait(PATIENCE)


@contextlib.contextmanager
def started(kubeconfig: Path, *args: str) -> Iterator[Session]:
    """Start kubectl, and end it in any case: after PATIENCE, so that no read waits for ever."""
    command = [find_kubectl(), f"--kubeconfig={kubeconfig}", *args]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
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


def test_the_whole_head_of_a_request_is_as_declared(alice: Path, seen: list[Request]) -> None:
    kubectl(alice, "get", "--raw=/api/v1/namespaces/default/pods/web?a=%2F..//&b")
    (request,) = seen
    request_line, _, fields = request.head.partition(b"\r\n")
    assert request_line == b"GET /api/v1/namespaces/default/pods/web?a=%2F..//&b HTTP/1.1"


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


@pytest.mark.parametrize(("websockets", "upgrade"), TRANSPORTS)
@pytest.mark.parametrize("exit_code", [0, 3])
def test_exec_carries_input_output_errors_and_the_exit_code(
    alice: Path, seen: list[Request], websockets: str, upgrade: tuple[str, str], exit_code: int
) -> None:
    run = kubectl(
        alice,
        *("exec", "--stdin", "web", "--", "cat", str(exit_code), "careful\n"),
        stdin="hello",
        check=False,
        env={"KUBECTL_REMOTE_COMMAND_WEBSOCKETS": websockets},
    )
    assert run.stdout == "hello"
    assert run.stderr.startswith("careful\n")
    assert run.returncode == exit_code
    assert (seen[-1].method, *seen[-1].values("Upgrade")) == upgrade
    assert seen[-1].values("Connection") == ["Upgrade"]


@pytest.mark.parametrize(("websockets", "upgrade"), TRANSPORTS)
def test_exec_without_input_ends_by_itself(
    alice: Path, seen: list[Request], websockets: str, upgrade: tuple[str, str]
) -> None:
    run = kubectl(
        alice,
        *("exec", "web", "--", "cat", "0", "done"),
        env={"KUBECTL_REMOTE_COMMAND_WEBSOCKETS": websockets},
    )
    assert (run.stdout, run.stderr) == ("", "done")
    assert (seen[-1].method, *seen[-1].values("Upgrade")) == upgrade


@pytest.mark.parametrize(("websockets", "upgrade"), TRANSPORTS)
def test_a_megabyte_goes_through_exec_and_comes_back_unchanged(
    alice: Path, seen: list[Request], websockets: str, upgrade: tuple[str, str]
) -> None:
    megabyte = random.Random(1).randbytes(1 << 19).hex()
    run = kubectl(
        alice,
        *("exec", "--stdin", "web", "--", "cat", "0"),
        stdin=megabyte,
        env={"KUBECTL_REMOTE_COMMAND_WEBSOCKETS": websockets},
    )
    assert run.stdout == megabyte
    assert (seen[-1].method, *seen[-1].values("Upgrade")) == upgrade


def test_a_bad_token_is_told_to_sign_in_and_nothing_is_forwarded(
    proxy: Serve, issuer: FakeIssuer, seen: list[Request]
) -> None:
    expired = proxy.kubeconfig("expired", issuer.token(ALICE, age=3600))
    run = kubectl(expired, "get", "pods", check=False)
    assert run.returncode == 1
    assert run.stderr == ""
    assert seen == []


def test_a_reserved_group_is_forbidden_and_nothing_is_forwarded(
    proxy: Serve, issuer: FakeIssuer, seen: list[Request]
) -> None:
    master = proxy.kubeconfig("master", issuer.token(ALICE, ["system:masters"]))
    run = kubectl(master, "get", "pods", check=False)
    assert run.returncode == 1
    assert run.stderr == ""
    assert seen == []


def test_kubectls_own_impersonation_is_forbidden_and_nothing_is_forwarded(
    alice: Path, seen: list[Request]
) -> None:
    run = kubectl(alice, "get", "pods", "--as=bob@example.com", check=False)
    assert run.returncode == 1
    assert run.stderr == ""
    assert seen == []
