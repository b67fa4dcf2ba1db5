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
        "--upstream": cluster.address,
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


def lines(seen: list[Request], method: str) -> list[str]:
    return [request.path for request in seen if request.method == method]


def test_get_shows_the_pod(alice: Path, seen: list[Request]) -> None:
    assert kubectl(alice, "get", "pods", "--output=name").stdout == "pod/web\n"
    assert seen[-1].target == "/api/v1/namespaces/default/pods?limit=500"


def test_the_whole_head_that_the_api_server_sees(
    alice: Path, seen: list[Request], cluster: ScriptedCluster
) -> None:
    kubectl(alice, "get", "--raw=/api/v1/namespaces/default/pods/web")
    (request,) = seen
    version = json.loads(kubectl(alice, "version", "--client", "--output=json").stdout)
    ...
