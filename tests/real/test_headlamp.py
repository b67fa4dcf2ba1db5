"""What Headlamp's backend sends, after a sign-in at tsidp, to a real kube-apiserver.

The backend is a stand-in (see tests/headlamp). tsidp is genuine, but of the generation without
refresh tokens (see test_tsidp.py); what needs those is in test_headlamp_refresh.py.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlencode

import aiohttp
import pytest

from tests.process import free_port
from tests.real.account import OWN_GROUP, bind, proxy_account
from tests.real.cluster import Cluster
from tests.real.headlamp import (
    EXEC_PROTOCOLS,
    WATCH_PROTOCOL,
    Browser,
    Headlamp,
    SignIn,
    callback_url,
    dashboard,
    event,
)
from tests.real.node import CONTAINER, Node
from tests.real.programs import require
from tests.real.tailnet import Device, Reply, Rule, Tailnet
from tests.serving import Serve

DORA = Device("100.101.102.110", "dora@example.com", 41, "dora-laptop.tail1234.ts.net.")
EMIL = Device("100.101.102.111", "emil@example.com", 42, "emil-laptop.tail1234.ts.net.")
WATCHERS = "dashboard-watchers"
MANY_GROUPS = [f"dashboard-watchers-of-a-team-with-a-long-name-{n:03}" for n in range(205)]
ACCOUNT = "system:serviceaccount:with-headlamp:proxy"

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


@dataclass
class Stage:
    cluster: Cluster
    tsidp: Tailnet
    serve: Serve
    headlamp: Headlamp

    @asynccontextmanager
    async def browser(
        self, device: Device | None, *rules: Rule, **headers: str
    ) -> AsyncIterator[Browser]:
        """A browser on a device that these rules of grants match, signed in; None: nobody's."""
        if device is not None:
            self.tsidp.devices[device.address] = replace(device, rules=rules)
            headers["X-Forwarded-For"] = device.address
        async with Browser(self.headlamp, self.tsidp.ca_file, headers=headers) as browser:
            if device is not None:
                answer = await browser.sign_in()
                assert (answer.status, answer.headers["Location"]) == (303, "/auth?cluster=main")
            yield browser


@pytest.fixture(scope="module")
def stage(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("headlamp")
    token = proxy_account(
        cluster, "with-headlamp", [DORA.login, EMIL.login], [WATCHERS, *MANY_GROUPS]
    )
    everything = {"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}
    bind(cluster, "dora-is-admin", [everything], {"kind": "User", "name": DORA.login})
    watching = {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["list", "watch"]}
    bind(cluster, "watchers-watch", [watching], {"kind": "Group", "name": WATCHERS})
    with Tailnet(folder) as tsidp:
        port = free_port()
        sign_in = SignIn(tsidp.url, tsidp.ca_file, tsidp.register(callback_url(port)))
        grace = "--shutdown-grace=1s"
        with dashboard(folder, cluster, token, sign_in, port, grace) as (serve, headlamp):
            yield Stage(cluster, tsidp, serve, headlamp)


def groups(*names: str) -> Rule:
    return {"extraClaims": {"groups": [*names]}}


def label(answer: Reply) -> str:
    return str(json.loads(answer.text)["details"]["causes"][0]["reason"])


# --- Signing in ----------------------------------------------------------------------------------


async def test_a_sign_in_ends_as_the_user_with_the_groups(stage: Stage) -> None:
    async with stage.browser(EMIL, groups(WATCHERS)) as browser:
        user, seen = await browser.whoami()
    assert user == EMIL.login
    assert set(seen) == {WATCHERS, OWN_GROUP, "system:authenticated"}


async def test_a_token_of_many_groups_comes_in_several_cookies_and_arrives_whole(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is in the head twice: Headlamp makes a header of it and leaves the cookies in place."""
    monkeypatch.setattr("aiohttp.cookiejar._MAX_COOKIE_HEADER_LENGTH", 64 * 1024)
    async with stage.browser(EMIL, groups(*MANY_GROUPS)) as browser:
        assert len(browser.token()) > 15_000  # a cookie holds 3800, the proxy takes 16384
        _, seen = await browser.whoami()
    assert set(MANY_GROUPS) < set(seen)


DISCOVERY = {"Accept": "application/json;v=v2;g=apidiscovery.k8s.io;as=APIGroupDiscoveryList"}
AUTHORIZATION = "/apis/authorization.k8s.io/v1"


def review(kind: str, spec: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": "authorization.k8s.io/v1", "kind": kind, "spec": spec}


@pytest.mark.parametrize(
    ("method", "path", "body", "headers", "status"),
    [
        (
            "POST",
            f"{AUTHORIZATION}/selfsubjectrulesreviews",
            review("SelfSubjectRulesReview", {"namespace": "default"}),
            {},
            201,
        ),
        ("GET", "/version", None, {}, 200),
        ("GET", "/healthz", None, {}, 200),
        ("GET", "/api", None, DISCOVERY, 200),
        ("GET", "/apis", None, DISCOVERY, 200),
        (
            "POST",
            f"{AUTHORIZATION}/selfsubjectaccessreviews",
            review(
                "SelfSubjectAccessReview",
                {"resourceAttributes": {"verb": "list", "resource": "nodes"}},
            ),
            {},
            201,
        ),
        ("GET", "/api/v1/configmaps?limit=5", None, {"Accept-Encoding": "gzip, br"}, 200),
        ("GET", "/api/v1/secrets", None, {}, 403),
        ("GET", "/apis/metrics.k8s.io/v1beta1/nodes", None, {}, 403),
    ],
)
async def test_what_headlamp_asks_first_is_answered_by_the_api_server(
    stage: Stage,
    method: str,
    path: str,
    body: dict[str, Any] | None,
    headers: dict[str, str],
    status: int,
) -> None:
    """For somebody with few rights: all of it but the lists is open to whoever is authenticated."""
    async with stage.browser(EMIL, groups(WATCHERS)) as browser:
        answer = await browser.request(method, path, body, headers)
    assert answer.status == status, answer
    assert "Audit-Id" in answer.headers
    if status == 403:
        assert f'User "{EMIL.login}" cannot' in json.loads(answer.text)["message"]


async def test_without_a_sign_in_every_call_is_a_401_that_headlamp_can_show(stage: Stage) -> None:
    async with stage.browser(None) as browser:
        for path in ("/version", "/healthz", "/api/v1/configmaps"):
            answer = await browser.request("GET", path)
            assert (answer.status, label(answer)) == (401, "token_missing")
            assert json.loads(answer.text)["message"] == "No bearer token was sent. Sign in first."
            assert "WWW-Authenticate" in answer.headers


# --- What comes along with a request -------------------------------------------------------------


async def test_nothing_that_a_browser_adds_is_believed(stage: Stage) -> None:
    """Headlamp strips no header and adds its own; none may make a liar of the audit log."""
    spoofed = {
        "X-Forwarded-For": "203.0.113.9",
        "X-Real-Ip": "203.0.113.9",
        "Forwarded": "for=203.0.113.9",
        "X-Remote-User": "admin",
        "X-Remote-Group": "system:masters",
        "X-HEADLAMP-USER-ID": "x",
        "KUBECONFIG": "e30=",
    }
    async with stage.browser(EMIL) as browser:
        answer = await browser.request("GET", "/version", headers=spoofed)
    assert answer.status == 200
    audit_id = answer.headers["Audit-Id"]
    seen = stage.cluster.wait_for_audit_event(lambda e: bool(e["auditID"] == audit_id))
    assert seen["user"]["username"] == ACCOUNT
    assert seen["impersonatedUser"]["username"] == EMIL.login
    assert seen["sourceIPs"] == ["127.0.0.1"]
    assert seen["userAgent"].startswith("Headlamp 0.45.0 (")


@pytest.mark.parametrize("name", ["Impersonate-User", "impersonate-group", "Impersonate_User"])
async def test_impersonation_by_a_browser_is_refused(stage: Stage, name: str) -> None:
    async with stage.browser(DORA) as browser:
        answer = await browser.request("GET", "/version", headers={name: "system:admin"})
    assert (answer.status, label(answer)) == (403, "impersonation_not_allowed")


async def test_an_authorization_header_of_the_browsers_own_gives_way_to_the_cookie(
    stage: Stage,
) -> None:
    async with stage.browser(DORA) as dora, stage.browser(EMIL) as emil:
        bearer = {"Authorization": f"Bearer {dora.token()}"}
        review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
        path = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
        answer = await emil.request("POST", path, review, bearer)
    assert json.loads(answer.text)["status"]["userInfo"]["username"] == EMIL.login


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/apis/rbac.authorization.k8s.io/v1/clusterroles/system%3Abasic-user", "ClusterRole"),
        ("/apis/rbac.authorization.k8s.io/v1/clusterroles/system:basic-user", "ClusterRole"),
        ("/api/v1/namespaces?labelSelector=a%3Db%2Cc%21%3Dd", "NamespaceList"),
    ],
)
async def test_a_path_arrives_as_it_was_written(stage: Stage, path: str, kind: str) -> None:
    async with stage.browser(DORA) as browser:
        answer = await browser.request("GET", path)
    assert (answer.status, json.loads(answer.text)["kind"]) == (200, kind)


async def test_objects_are_made_changed_and_deleted(stage: Stage, namespace: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    manifest = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}}
    async with stage.browser(DORA) as browser:
        made = await browser.request("POST", path, manifest)
        manifest["data"] = {"k": "v" * 500_000}
        changed = await browser.request("PUT", f"{path}/c", manifest)
        deleted = await browser.request("DELETE", f"{path}/c")
    assert [a.status for a in (made, changed, deleted)] == [201, 200, 200]
    assert json.loads(changed.text)["data"] == manifest["data"]


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


# --- Headlamp's own calls ------------------------------------------------------------------------


async def test_draining_a_node_carries_no_token_and_is_refused(stage: Stage) -> None:
    """The cookie's path is that of the cluster, and the drain's is not below it."""
    async with stage.browser(DORA) as browser:
        url = f"{stage.headlamp.url}/drain-node"
        answer = await browser.ask("POST", url, {"cluster": "main", "nodeName": "node-1"})
    assert (answer.status, label(answer)) == (401, "token_missing")


async def service(stage: Stage, namespace: str, port: int) -> str:
    """A Service that points back into the pod: Headlamp fetches from it by itself."""
    stage.cluster.kubectl(
        *("-n", namespace, "create", "service", "externalname", "inside"),
        *("--external-name=localhost", f"--tcp={port}:{port}"),
    )
    return f"/serviceproxy/{namespace}/inside?request="


@pytest.mark.parametrize(("who", "status"), [(None, 401), (EMIL, 403)])
async def test_the_service_proxy_looks_the_service_up_as_the_user(
    stage: Stage, namespace: str, who: Device | None, status: int
) -> None:
    path = await service(stage, namespace, stage.serve.admin_port)
    async with stage.browser(who) as browser:
        assert (await browser.request("GET", f"{path}/metrics")).status == status


async def test_through_the_service_proxy_a_pods_loopback_gives_nothing_away(
    stage: Stage, namespace: str
) -> None:
    """Whoever may make Services reaches the proxy's ports from inside the pod, without a token."""
    path = await service(stage, namespace, stage.serve.admin_port)
    async with stage.browser(DORA, groups(WATCHERS)) as browser:
        await browser.whoami()
        for target in ("/metrics", "/readyz?verbose"):
            answer = await browser.request("GET", f"{path}{target}")
            assert answer.status == 200
            for secret in (DORA.login, "dora", WATCHERS, browser.token(), ACCOUNT, namespace):
                assert secret not in answer.text
        assert (await browser.request("GET", f"{path}/api/v1/secrets")).status == 404


async def test_through_the_service_proxy_nobody_gets_past_the_proxy(
    stage: Stage, namespace: str
) -> None:
    path = await service(stage, namespace, stage.serve.port)
    async with stage.browser(DORA) as browser:
        before = len(stage.serve.requests())
        answer = await browser.request("GET", f"{path}/api/v1/secrets")
        assert answer.status == 502  # plain HTTP, where only TLS is spoken
        assert [r["path"] for r in stage.serve.requests()[before:]] == []


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


# --- Restarts ------------------------------------------------------------------------------------


async def test_headlamp_restarts_and_its_users_stay_signed_in(stage: Stage) -> None:
    """The browser has the token; only what was in Headlamp's memory is gone."""
    async with stage.browser(DORA) as browser:
        await asyncio.to_thread(stage.headlamp.restart)
        assert (await browser.whoami())[0] == DORA.login


async def test_the_proxy_restarts_and_headlamp_goes_on(stage: Stage) -> None:
    """The CA that Headlamp has read still signs; a POST is the first to come through."""
    async with stage.browser(DORA) as browser:
        assert (await browser.whoami())[0] == DORA.login
        await asyncio.to_thread(stage.serve.stop)
        away = await browser.request("GET", "/version")
        assert away.status == 502
        for name in ("tls.crt", "tls.key"):  # as if it had been renewed meanwhile
            (stage.serve.folder / "certs" / name).unlink()
        await asyncio.to_thread(stage.serve.start)
        await asyncio.to_thread(stage.serve.wait_ready)
        assert (await browser.whoami())[0] == DORA.login


def test_nothing_was_ever_done_as_the_proxy_itself(stage: Stage) -> None:
    """Of all that the API server saw of our account, all was impersonated, or went nowhere."""
    ours = [e for e in stage.cluster.audit_events() if e["user"].get("username") == ACCOUNT]
    for seen in ours:
        code = seen["responseStatus"]["code"]
        assert seen.get("impersonatedUser", {}).get("username") or code in {401, 403}, seen
