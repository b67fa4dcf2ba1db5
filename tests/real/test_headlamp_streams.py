"""Headlamp's watches, logs, execs and port-forwards, to a real kube-apiserver and a node.

The backend is a stand-in (see tests/headlamp); of the node, the containers are (see tests/kubelet).
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager
from urllib.parse import urlencode

import aiohttp
import pytest

from tests.real.cluster import Cluster
from tests.real.headlamp import EXEC_PROTOCOLS, WATCH_PROTOCOL, Browser, event
from tests.real.headlamp_stage import DORA, EMIL, WATCHERS, Stage, groups, staged
from tests.real.node import CONTAINER, Node
from tests.real.programs import require
from tests.real.tailnet import Reply
from tests.real.tailscaled import Device

NAMESPACE = "with-headlamps-streams"
POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "web"},
    "spec": {
        "automountServiceAccountToken": False,
        "containers": [{"name": "web", "image": "example.com/web"}],
    },
}


def create_pod(cluster: Cluster, namespace: str) -> None:
    cluster.kubectl("-n", namespace, "create", "serviceaccount", "default")
    cluster.kubectl("-n", namespace, "create", "-f", "-", stdin=json.dumps(POD))


@pytest.fixture(scope="module")
def stage(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with staged(cluster, tmp_path_factory.mktemp("streams"), NAMESPACE) as stage:
        yield stage


# --- Watches, logs, exec -------------------------------------------------------------------------


async def test_a_watch_over_websocket_sees_each_event_as_it_happens(
    stage: Stage, namespace: str
) -> None:
    path = f"/api/v1/namespaces/{namespace}/configmaps?watch=1"
    async with (
        stage.browser(EMIL, groups(WATCHERS)) as browser,
        browser.websocket(path, WATCH_PROTOCOL) as socket,
    ):
        assert socket.protocol == WATCH_PROTOCOL
        for name in ("a", "b"):
            stage.cluster.kubectl("-n", namespace, "create", "configmap", name)
            seen = await event(socket)
            assert (seen["type"], seen["object"]["metadata"]["name"]) == ("ADDED", name)


@pytest.mark.parametrize(
    ("who", "path", "status"),
    [
        (EMIL, "/api/v1/secrets?watch=1", 403),
        (None, "/api/v1/configmaps?watch=1", 401),
    ],
)
async def test_a_watch_that_may_not_be_is_refused_in_plain_http(
    stage: Stage, who: Device | None, path: str, status: int
) -> None:
    async with stage.browser(who) as browser:
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            async with browser.websocket(path, WATCH_PROTOCOL):
                pass
    assert refused.value.status == status


async def test_a_token_in_a_subprotocol_is_headlamps_to_unpack(
    stage: Stage, namespace: str
) -> None:
    path = f"/api/v1/namespaces/{namespace}/configmaps?watch=1"
    async with stage.browser(DORA) as dora, stage.browser(None) as nobody:
        encoded = base64.urlsafe_b64encode(dora.token().encode()).decode().rstrip("=")
        protocols = (f"base64url.bearer.authorization.k8s.io.{encoded}", WATCH_PROTOCOL)
        async with nobody.websocket(path, *protocols) as socket:
            stage.cluster.kubectl("-n", namespace, "create", "configmap", "a")
            assert (await event(socket))["type"] == "ADDED"


@pytest.mark.parametrize(
    ("path", "protocols"),
    [
        ("log?follow=true&container=web", [WATCH_PROTOCOL]),
        ("exec?container=web&command=sh&command=-c&command=id&stdout=1", EXEC_PROTOCOLS),
        ("attach?container=web&stdin=1&stdout=1", EXEC_PROTOCOLS),
    ],
)
async def test_a_stream_of_a_pod_that_runs_nowhere_ends_as_it_does_directly(
    stage: Stage, namespace: str, path: str, protocols: list[str]
) -> None:
    """The API server says how far such a stream comes, and that must arrive."""
    create_pod(stage.cluster, namespace)
    path = f"/api/v1/namespaces/{namespace}/pods/web/{path}"
    async with (
        stage.browser(DORA) as browser,
        aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=stage.cluster.admin_tls),
            headers={"Origin": stage.headlamp.url},
        ) as directly,
    ):
        ends = [
            await ending(browser.websocket(path, *protocols)),
            await ending(directly.ws_connect(f"{stage.cluster.url}{path}", protocols=protocols)),
        ]
    assert ends[0] == ends[1]


async def ending(
    opening: AbstractAsyncContextManager[aiohttp.ClientWebSocketResponse],
) -> tuple[object, ...]:
    """How a WebSocket ended: refused with a status, or with what it said and its close code."""
    try:
        async with opening as socket, asyncio.timeout(10):
            said = [message.data async for message in socket]
            return (socket.protocol, said, socket.close_code)
    except aiohttp.WSServerHandshakeError as error:
        return (error.status,)


@pytest.fixture(scope="module")
def node(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    folder = tmp_path_factory.mktemp("node")
    with Node.run(cluster, require("kubelet"), folder, "node-of-headlamp") as node:
        yield node


@pytest.fixture
def pod(cluster: Cluster, node: Node, namespace: str) -> str:
    """The path of a pod that has said a line, and says again what it hears."""
    cluster.kubectl("-n", namespace, "create", "serviceaccount", "default")
    node.pod(namespace, "web", "sh", "-c", "echo ready; exec cat")
    return f"/api/v1/namespaces/{namespace}/pods/web"


async def test_logs_are_followed_in_base64_text(stage: Stage, pod: str) -> None:
    path = f"{pod}/log?follow=true&container={CONTAINER}&tailLines=100"
    async with (
        stage.browser(DORA) as browser,
        browser.websocket(path, WATCH_PROTOCOL) as socket,
        asyncio.timeout(20),
    ):
        said = b""
        while not said.endswith(b"\n"):  # the kubelet's first words are none
            said += base64.b64decode(await socket.receive_str())
    assert said == b"ready\n"


async def test_exec_speaks_version_four_and_ends_with_the_exit_code(stage: Stage, pod: str) -> None:
    """Headlamp offers five protocols, version 5 not among them."""
    command = ("sh", "-c", 'read line; echo "got $line"; exit 3')
    asked = [("container", CONTAINER), ("stdin", "1"), ("stdout", "1"), ("stderr", "1")]
    path = f"{pod}/exec?{urlencode([*asked, *(('command', word) for word in command)])}"
    async with (
        stage.browser(DORA) as browser,
        browser.websocket(path, *EXEC_PROTOCOLS) as socket,
        asyncio.timeout(20),
    ):
        assert socket.protocol == "v4.channel.k8s.io"
        await socket.send_bytes(b"\x00hello\n")
        heard = dict.fromkeys(range(4), b"")  # by channel
        async for message in socket:
            heard[message.data[0]] += message.data[1:]
    assert heard[1] == b"got hello\n"
    status = json.loads(heard[3])
    assert status["details"]["causes"] == [{"reason": "ExitCode", "message": "3"}]


async def test_attach_hears_and_is_heard(stage: Stage, pod: str) -> None:
    path = f"{pod}/attach?container={CONTAINER}&stdin=1&stdout=1"
    async with (
        stage.browser(DORA) as browser,
        browser.websocket(path, *EXEC_PROTOCOLS) as socket,
        asyncio.timeout(20),
    ):
        await socket.send_bytes(b"\x00hello\n")
        heard = b""
        while b"hello\n" not in heard:
            heard += (await socket.receive_bytes())[1:]


async def test_exec_by_somebody_without_the_right_is_refused_in_plain_http(
    stage: Stage, pod: str
) -> None:
    async with stage.browser(EMIL) as browser:
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            async with browser.websocket(f"{pod}/exec?command=id&stdout=1", *EXEC_PROTOCOLS):
                pass
    assert refused.value.status == 403


# --- Port-forwards ---


async def forward(browser: Browser, namespace: str) -> Reply:
    asked = {"namespace": namespace, "pod": "web", "targetPort": "8080"}
    return await browser.request("POST", "/portforward", asked)


async def test_a_port_forward_is_asked_for_as_the_user(stage: Stage, namespace: str) -> None:
    """An access review, the pod, an upgrade to SPDY, which this pod on no node cannot have."""
    create_pod(stage.cluster, namespace)
    async with stage.browser(None) as nobody, stage.browser(EMIL) as emil:
        assert (await forward(nobody, namespace)).status == 401
        assert (await forward(emil, namespace)).status == 403
    async with stage.browser(DORA) as dora:
        answer = await forward(dora, namespace)
    assert (answer.status, "pod web does not have a host assigned" in answer.text) == (500, True)
    upgraded = stage.cluster.wait_for_audit_event(
        lambda e: e["requestURI"].endswith(f"/{namespace}/pods/web/portforward")
    )
    assert upgraded["impersonatedUser"]["username"] == DORA.login


async def test_a_forwarded_port_carries_what_the_pod_says(
    stage: Stage, namespace: str, pod: str
) -> None:
    """Over SPDY, from Headlamp's own client; the port of the pod is one of this machine."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"heard " + await reader.readline())
        writer.close()

    async with (
        await asyncio.start_server(answer, "127.0.0.1", 0) as listening,
        stage.browser(DORA) as dora,
        asyncio.timeout(20),
    ):
        port = listening.sockets[0].getsockname()[1]
        asked = {"namespace": namespace, "pod": "web", "targetPort": str(port)}
        forwarded = await dora.request("POST", "/portforward", asked)
        assert forwarded.status == 200, forwarded
        local = json.loads(forwarded.text)["port"]
        for word in (b"one\n", b"two\n"):
            reader, writer = await asyncio.open_connection("127.0.0.1", local)
            writer.write(word)
            assert await reader.read() == b"heard " + word
            writer.close()
