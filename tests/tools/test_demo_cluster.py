"""The sample cluster: kube-apiserver's decisions and words, for the little that it knows."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from proxy.tools.demo.cluster import protobuf, tables
from proxy.tools.demo.cluster.identity import ACCOUNT, user_of
from proxy.tools.demo.cluster.programs import start
from proxy.tools.demo.cluster.rbac import Authorizer, Question, refusal
from proxy.tools.demo.cluster.selectors import selector
from proxy.tools.demo.cluster.server import SampleCluster
from proxy.tools.demo.cluster.statuses import ApiError
from proxy.tools.demo.listening import HOST, free_port, make_certificates, serving
from proxy.tools.demo.manifests import OWN_GROUP, Manifest, manifests
from proxy.tools.demo.people import ALICE, BOB, CAROL, Person
from proxy.userinfo import UserInfo

TOKEN = "the proxy's own"
PODS = "/api/v1/namespaces/shop/pods"
CONFIGMAPS = "/api/v1/namespaces/shop/configmaps"
TABLE = {"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"}

Headers = Mapping[str, str] | list[tuple[str, str]]


def user(person: Person) -> UserInfo:
    return UserInfo(person.email, groups=(*person.groups, OWN_GROUP, "system:authenticated"))


def headers_for(person: Person) -> list[tuple[str, str]]:
    """What the proxy sends for somebody."""
    groups = [("Impersonate-Group", group) for group in (*person.groups, OWN_GROUP)]
    bearer = ("Authorization", f"Bearer {TOKEN}")
    return [bearer, ("Impersonate-User", person.email), *groups]


# --- RBAC ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("person", "question", "allowed"),
    [
        (ALICE, Question("list", resource="pods"), True),
        (ALICE, Question("delete", "apps", "deployments", name="x", namespace="shop"), True),
        (ALICE, Question("get", path="/metrics"), True),
        (BOB, Question("list", resource="pods", namespace="shop"), True),
        (BOB, Question("watch", resource="pods", namespace="shop"), True),
        (BOB, Question("get", "", "pods", "log", "web", "shop"), True),
        (BOB, Question("list", resource="pods"), False),
        (BOB, Question("list", resource="pods", namespace="default"), False),
        (BOB, Question("list", "apps", "pods", namespace="shop"), False),
        (BOB, Question("delete", "", "pods", "", "web", "shop"), False),
        (BOB, Question("create", "", "pods", "exec", "web", "shop"), False),
        (BOB, Question("get", "", "pods", "status", "web", "shop"), False),
        (BOB, Question("get", "", "configmaps", "", "prices", "shop"), False),
        (BOB, Question("get", path="/metrics"), False),
        (CAROL, Question("list", resource="pods", namespace="shop"), False),
        (CAROL, Question("get", path="/version"), True),
        (CAROL, Question("get", path="/api/v1"), True),
        (CAROL, Question("create", "authorization.k8s.io", "selfsubjectaccessreviews"), True),
        (CAROL, Question("impersonate", "", "users", name=ALICE.email), False),
    ],
)
def test_rbac_decides_by_groups_and_namespace(
    person: Person, question: Question, allowed: bool
) -> None:
    assert (Authorizer(manifests()).allowed_by(user(person), question) is not None) is allowed


def test_rbac_says_which_binding_allowed_it() -> None:
    reason = Authorizer(manifests()).allowed_by(
        user(BOB), Question("list", resource="pods", namespace="shop")
    )
    assert reason == 'RBAC: allowed by RoleBinding "viewers" of ClusterRole "pod-viewer"'


@pytest.mark.parametrize(
    ("name", "resource", "allowed"),
    [
        (ALICE.email, "users", True),
        (OWN_GROUP, "groups", True),
        ("mallory@example.com", "users", False),
        ("system:masters", "groups", False),
        (ALICE.email, "groups", False),
    ],
)
def test_the_proxys_account_may_impersonate_those_who_are_named(
    name: str, resource: str, allowed: bool
) -> None:
    authorizer = Authorizer(manifests())
    assert (
        authorizer.allowed_by(ACCOUNT, Question("impersonate", "", resource, name=name)) is not None
    ) is allowed
    assert authorizer.allowed_by(ACCOUNT, Question("list", resource="pods")) is None


@pytest.mark.parametrize(
    ("question", "message"),
    [
        (
            Question("list", resource="pods", namespace="shop"),
            (
                'pods is forbidden: User "bob@example.com" cannot list resource "pods" '
                'in API group "" in the namespace "shop"'
            ),
        ),
        (
            Question("get", "", "pods", "log", "web", "shop"),
            (
                'pods "web" is forbidden: User "bob@example.com" cannot get resource "pods/log" '
                'in API group "" in the namespace "shop"'
            ),
        ),
        (
            Question("list", "apps", "deployments"),
            (
                'deployments.apps is forbidden: User "bob@example.com" cannot list resource '
                '"deployments" in API group "apps" at the cluster scope'
            ),
        ),
        (
            Question("get", path="/metrics"),
            'forbidden: User "bob@example.com" cannot get path "/metrics"',
        ),
    ],
)
def test_a_refusal_is_worded_as_the_api_server_words_it(question: Question, message: str) -> None:
    error = refusal(user(BOB), question)
    assert (error.code, error.reason, error.message) == (403, "Forbidden", message)


# --- Who is asking -------------------------------------------------------------------------------


def test_whoever_is_impersonated_is_authenticated() -> None:
    asked = CIMultiDict(headers_for(ALICE))
    assert user_of(asked, TOKEN, Authorizer(manifests())) == user(ALICE)


def test_without_impersonation_it_is_the_proxys_account() -> None:
    asked = CIMultiDict({"Authorization": f"Bearer {TOKEN}"})
    assert user_of(asked, TOKEN, Authorizer(manifests())) == ACCOUNT


BEARER = ("Authorization", f"Bearer {TOKEN}")
ACCOUNT_CANNOT = (
    'User "system:serviceaccount:headlamp:headlamp-auth-proxy" cannot impersonate resource '
)


@pytest.mark.parametrize(
    ("headers", "code", "message"),
    [
        ([], 401, "Unauthorized"),
        ([("Authorization", "Bearer other")], 401, "Unauthorized"),
        ([BEARER, BEARER], 401, "Unauthorized"),
        ([("Impersonate-User", ALICE.email)], 401, "Unauthorized"),
        (
            [BEARER, ("Impersonate-Group", "k8s-admins")],
            400,
            'requested "k8s-admins" without impersonating a user',
        ),
        (
            [BEARER, ("Impersonate-User", "mallory@example.com")],
            403,
            (
                f'users "mallory@example.com" is forbidden: {ACCOUNT_CANNOT}"users" '
                'in API group "" at the cluster scope'
            ),
        ),
        (
            [BEARER, ("Impersonate-User", BOB.email), ("Impersonate-Group", "system:masters")],
            403,
            (
                f'groups "system:masters" is forbidden: {ACCOUNT_CANNOT}"groups" in API group "" '
                "at the cluster scope"
            ),
        ),
    ],
)
def test_others_are_refused(headers: list[tuple[str, str]], code: int, message: str) -> None:
    with pytest.raises(ApiError) as refused:
        user_of(CIMultiDict(headers), TOKEN, Authorizer(manifests()))
    assert (refused.value.code, refused.value.message) == (code, message)


# --- Reading -------------------------------------------------------------------------------------

WEB = {"metadata": {"name": "web", "labels": {"app": "web"}}, "status": {"phase": "Running"}}


@pytest.mark.parametrize(
    ("labels", "fields", "selected"),
    [
        ("", "", True),
        ("app=web", "", True),
        ("app==web", "", True),
        ("app!=web", "", False),
        ("app", "", True),
        ("!app", "", False),
        ("!other", "", True),
        ("other!=x", "", True),
        ("app=web,other", "", False),
        ("", "metadata.name=web", True),
        ("", "metadata.name=web,status.phase!=Running", False),
        ("", "metadata.namespace=", True),
        ("", "spec.nodeName.deeper=x", False),
    ],
)
def test_a_selector_selects(labels: str, fields: str, selected: bool) -> None:
    assert selector(labels, fields)(WEB) is selected


@pytest.mark.parametrize(
    ("labels", "fields"), [("app in (web)", ""), ("!app=web", ""), ("", "metadata.name")]
)
def test_a_selector_that_is_not_understood_is_an_error(labels: str, fields: str) -> None:
    with pytest.raises(ApiError) as refused:
        selector(labels, fields)
    assert refused.value.code == 400


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (-5, "0s"),
        (119, "119s"),
        (120, "2m"),
        (125, "2m5s"),
        (599, "9m59s"),
        (3599, "59m"),
        (3 * 3600, "3h"),
        (3 * 3600 + 60, "3h1m"),
        (9 * 3600 + 60, "9h"),
        (49 * 3600, "2d"),
    ],
)
def test_an_age_is_rounded_as_kubectl_users_know_it(seconds: int, shown: str) -> None:
    assert tables.age("1970-01-12T00:00:00Z", 11 * 86400 + seconds) == shown


# kubectl 1.37: auth can-i list pods -n shop; create configmap fruit --from-literal=a=b
ACCESS_REVIEW = (
    b"k8s\x00\n2\n\x17authorization.k8s.io/v1\x12\x17SelfSubjectAccessReview\x12:\n\x10\n\x00\x12"
    b'\x00\x1a\x00"\x00*\x002\x008\x00B\x00\x12\x1c\n\x1a\n\x04shop\x12\x04list\x1a\x00"\x00*\x04'
    b'pods2\x00:\x00\x1a\x08\x08\x00\x12\x00\x1a\x00 \x00\x1a\x00"\x00'
)
CONFIGMAP = (
    b"k8s\x00\n\x0f\n\x02v1\x12\tConfigMap\x12\x1f\n\x15\n\x05fruit\x12\x00\x1a\x00"
    b'"\x00*\x002\x008\x00B\x00\x12\x06\n\x01a\x12\x01b\x1a\x00"\x00'
)


@pytest.mark.parametrize(
    ("body", "read"),
    [
        (
            ACCESS_REVIEW,
            {
                "apiVersion": "authorization.k8s.io/v1",
                "kind": "SelfSubjectAccessReview",
                "spec": {
                    "resourceAttributes": {"namespace": "shop", "verb": "list", "resource": "pods"}
                },
            },
        ),
        (
            CONFIGMAP,
            {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {"name": "fruit"},
                "data": {"a": "b"},
            },
        ),
    ],
)
def test_what_kubectl_sends_as_protobuf_is_read(body: bytes, read: dict[str, Any]) -> None:
    assert protobuf.decode(body) == read


@given(st.binary(max_size=60), st.integers(0, len(CONFIGMAP)))
def test_any_other_protobuf_is_an_error_and_nothing_worse(noise: bytes, at: int) -> None:
    for body in (noise, protobuf.MAGIC + noise, CONFIGMAP[:at] + noise):
        with contextlib.suppress(ValueError):
            protobuf.decode(body)


# --- Programs ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "out", "exit_code"),
    [
        (["echo", "a  b", "c"], b"a  b c\n", 0),
        (["hostname"], b"web\n", 0),
        (["false"], b"", 1),
        (["true"], b"", 0),
        (["sh", "-c", "echo 'a b'"], b"a b\n", 0),
        (["sh", "-c", "echo 'open"], b"'open\n", 0),
        ([], b"", 0),
        (["ls", "/"], b"", 127),
    ],
)
def test_a_program_that_needs_no_input_is_over_at_once(
    command: list[str], out: bytes, exit_code: int
) -> None:
    program = start(command, "web", stdin=False, tty=False)
    assert (program.out, program.exit_code) == (out, exit_code)
    assert (b"this sample pod has" in program.err) is (exit_code == 127)


def test_a_shell_runs_lines() -> None:
    shell = start(["sh"], "web", stdin=True, tty=False)
    shell.feed(b"echo on")
    shell.feed(b"e\nhostname\nnothing\nech")
    assert [shell.exit_code] == [None]
    assert shell.out == b"one\nweb\n"
    shell.end()
    assert b"ech: not found" in shell.err
    assert [shell.exit_code] == [0]


@pytest.mark.parametrize(
    ("typed", "seen", "exit_code"),
    [
        (b"", b"/ $ ", None),
        (b"echo hi\r", b"/ $ echo hi\r\nhi\r\n/ $ ", None),
        (b"ex\x7f\x7f\x7fhostname\r", b"/ $ ex\b \b\b \bhostname\r\nweb\r\n/ $ ", None),
        (b"ls\x03", b"/ $ ls^C\r\n/ $ ", None),
        (b"exit\rmore", b"/ $ exit\r\n", 0),
        (b"\x04", b"/ $ ", 0),
    ],
)
def test_a_shell_on_a_terminal_echoes_and_prompts(
    typed: bytes, seen: bytes, exit_code: int | None
) -> None:
    shell = start(["/bin/sh"], "web", stdin=True, tty=True)
    shell.feed(typed)
    assert (shell.out, shell.exit_code) == (seen, exit_code)


# --- On the wire ---------------------------------------------------------------------------------


@dataclass
class Api:
    url: str
    session: aiohttp.ClientSession

    async def ask(
        self,
        method: str,
        path: str,
        person: Person = ALICE,
        headers: Headers | None = None,
        **options: Any,
    ) -> tuple[int, Any]:
        sent = CIMultiDict([*headers_for(person), *CIMultiDict(headers or {}).items()])
        async with self.session.request(method, self.url + path, headers=sent, **options) as answer:
            is_json = answer.content_type == "application/json"
            return answer.status, await (answer.json() if is_json else answer.text())

    def exec(self, *command: str, protocols: tuple[str, ...], stdin: bool = True) -> Any:
        words = [("command", word) for word in command] + [("stdin", str(stdin).lower())]
        return self.session.ws_connect(
            f"{self.url}{PODS}/web/exec",
            params=words,
            headers=CIMultiDict(headers_for(ALICE)),
            protocols=protocols,
        )


@contextlib.asynccontextmanager
async def running(objects: list[Manifest], folder: Path) -> AsyncIterator[Api]:
    port, ca_file = free_port(), make_certificates(folder)
    tls = aiohttp.TCPConnector(ssl=ssl.create_default_context(cafile=ca_file))
    async with (
        serving(SampleCluster(objects, TOKEN).app(), port, folder),
        aiohttp.ClientSession(connector=tls) as session,
    ):
        yield Api(f"https://{HOST}:{port}", session)


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with running(manifests(), tmp_path) as served:
        yield served


CAMERA = {"metadata": {"name": "camera"}, "data": {"lens": "50mm"}}


@pytest.mark.parametrize(
    ("person", "method", "path", "status"),
    [
        (BOB, "GET", PODS, 200),
        (BOB, "GET", f"{PODS}/web", 200),
        (BOB, "GET", f"{PODS}/web/log", 200),
        (BOB, "GET", f"{PODS}/nope", 404),
        (BOB, "DELETE", f"{PODS}/web", 403),
        (BOB, "GET", f"{CONFIGMAPS}/prices", 403),
        (BOB, "GET", "/api/v1/namespaces", 403),
        (BOB, "GET", "/apis/apps/v1/deployments", 403),
        (ALICE, "GET", "/apis/apps/v1/deployments", 404),
        (ALICE, "GET", "/api/v1/pods", 200),
        (ALICE, "GET", "/api/v1/namespaces/shop", 200),
        (ALICE, "GET", "/api/v1/namespaces/shop/events", 200),
        (ALICE, "GET", f"{PODS}?labelSelector=a%20in%20(b)", 400),
        (ALICE, "PATCH", f"{CONFIGMAPS}/prices", 405),
        (ALICE, "POST", f"{PODS}/web/exec", 400),
        (CAROL, "GET", PODS, 403),
        (CAROL, "GET", "/version", 200),
        (CAROL, "GET", "/readyz", 200),
        (CAROL, "GET", "/api", 200),
        (CAROL, "GET", "/apis", 200),
        (CAROL, "GET", "/api/v1", 200),
        (CAROL, "GET", "/apis/authorization.k8s.io/v1", 200),
        (CAROL, "GET", "/apis/nope/v1", 404),
        (CAROL, "GET", "/metrics", 403),
    ],
)
async def test_access_comes_before_existence(
    api: Api, person: Person, method: str, path: str, status: int
) -> None:
    code, document = await api.ask(method, path, person)
    assert code == status
    if status >= 400:
        assert (document["kind"], document["code"]) == ("Status", status)


async def test_the_version_says_that_it_is_a_sample(api: Api) -> None:
    _, version = await api.ask("GET", "/version")
    assert version["gitVersion"].endswith("+sample")


async def test_a_list_is_a_table_for_those_who_like_one(api: Api) -> None:
    _, plain = await api.ask("GET", PODS)
    assert (plain["kind"], [pod["kind"] for pod in plain["items"]]) == ("PodList", ["Pod", "Pod"])
    _, table = await api.ask("GET", PODS, headers=TABLE)
    assert table["kind"] == "Table"
    assert [row["cells"][:4] for row in table["rows"]] == [
        ["web", "1/1", "Running", "0"],
        ["worker", "1/1", "Running", "0"],
    ]
    assert len(table["columnDefinitions"]) == len(table["rows"][0]["cells"])
    assert [row["object"]["metadata"]["name"] for row in table["rows"]] == ["web", "worker"]


async def test_what_is_created_can_be_read_until_it_is_deleted(api: Api) -> None:
    status, made = await api.ask("POST", CONFIGMAPS, json=CAMERA)
    assert (status, made["metadata"]["namespace"]) == (201, "shop")
    assert await api.ask("GET", f"{CONFIGMAPS}/camera") == (200, made)
    status, refused = await api.ask("POST", CONFIGMAPS, json=CAMERA)
    assert (status, refused["message"]) == (409, 'configmaps "camera" already exists')
    status, gone = await api.ask("DELETE", f"{CONFIGMAPS}/camera")
    assert (status, gone["details"]["uid"]) == (200, made["metadata"]["uid"])
    assert (await api.ask("GET", f"{CONFIGMAPS}/camera"))[0] == 404


@pytest.mark.parametrize(
    ("path", "body", "content_type", "status"),
    [
        (CONFIGMAPS, b"{", "application/json", 400),
        (CONFIGMAPS, b"[]", "application/json", 400),
        (CONFIGMAPS, b"{}", "application/json", 400),
        (CONFIGMAPS, b"k8s", protobuf.MEDIA_TYPE, 400),
        (CONFIGMAPS, b"a: b", "application/yaml", 415),
        (CONFIGMAPS, CONFIGMAP, protobuf.MEDIA_TYPE, 201),
        (f"{CONFIGMAPS}?dryRun=All", CONFIGMAP, protobuf.MEDIA_TYPE, 201),
        ("/api/v1/namespaces/nope/configmaps", json.dumps(CAMERA), "application/json", 404),
    ],
)
async def test_a_body_must_be_something(
    api: Api, path: str, body: bytes | str, content_type: str, status: int
) -> None:
    code, _ = await api.ask("POST", path, headers={"Content-Type": content_type}, data=body)
    assert code == status
    kept = (await api.ask("GET", f"{CONFIGMAPS}/fruit"))[0] == 200
    assert kept is (status == 201 and "dryRun" not in path)


async def test_a_watch_that_follows_a_list_misses_nothing_and_repeats_nothing(api: Api) -> None:
    _, listed = await api.ask("GET", CONFIGMAPS)
    version = listed["metadata"]["resourceVersion"]
    await api.ask("POST", CONFIGMAPS, json=CAMERA)  # between the list and the watch
    async with api.session.get(
        f"{api.url}{CONFIGMAPS}?watch=true&resourceVersion={version}",
        headers=CIMultiDict([*headers_for(ALICE), *TABLE.items()]),
    ) as watch:
        events = [json.loads(await watch.content.readline())]
        await api.ask("DELETE", f"{CONFIGMAPS}/camera")
        await api.ask("DELETE", f"{PODS}/worker")  # not what is watched
        await api.ask("POST", CONFIGMAPS, json=CAMERA)
        events += [json.loads(await watch.content.readline()) for _ in range(2)]
    assert [event["type"] for event in events] == ["ADDED", "DELETED", "ADDED"]
    shown = [event["object"]["rows"][0]["cells"][0] for event in events]
    assert shown == ["camera", "camera", "camera"]
    assert [bool(event["object"]["columnDefinitions"]) for event in events] == [True, False, False]


async def test_a_watch_can_begin_with_what_there_is_and_end_in_time(api: Api) -> None:
    query = "watch=1&sendInitialEvents=true&timeoutSeconds=0"
    async with api.session.get(
        f"{api.url}{PODS}?{query}", headers=CIMultiDict(headers_for(BOB))
    ) as watch:
        events = [json.loads(line) for line in (await watch.read()).splitlines()]
    assert [event["type"] for event in events] == ["ADDED", "ADDED", "BOOKMARK"]
    annotations = events[-1]["object"]["metadata"]["annotations"]
    assert annotations == {"k8s.io/initial-events-end": "true"}


async def test_a_followed_log_goes_on(api: Api) -> None:
    assert (await api.ask("GET", f"{PODS}/web/log?tailLines=1"))[1] == "POST /orders 201 12ms\n"
    async with api.session.get(
        f"{api.url}{PODS}/web/log?tailLines=0&follow=true", headers=CIMultiDict(headers_for(BOB))
    ) as log:
        assert (await log.content.readline()).startswith(b"GET /prices 200")


async def test_reviews_answer_for_the_one_who_asks(api: Api) -> None:
    path = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
    _, review = await api.ask("POST", path, CAROL, json={})
    assert review["status"]["userInfo"] == {
        "username": CAROL.email,
        "groups": [OWN_GROUP, "system:authenticated"],
    }
    path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
    asked = {"verb": "list", "resource": "pods", "namespace": "shop"}
    for spec, allowed in (
        ({"resourceAttributes": asked}, True),
        ({"resourceAttributes": {**asked, "verb": "delete"}}, False),
        ({"nonResourceAttributes": {"verb": "get", "path": "/version"}}, True),
        ({"nonResourceAttributes": {"verb": "get", "path": "/metrics"}}, False),
    ):
        _, review = await api.ask("POST", path, BOB, json={"spec": spec})
        assert review["status"]["allowed"] is allowed
    path = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews"
    _, review = await api.ask("POST", path, BOB, json={"spec": {"namespace": "shop"}})
    assert {"resources": ["pods/log"], "verbs": ["get"], "apiGroups": [""]} in (
        review["status"]["resourceRules"]
    )


V5, V4 = "v5.channel.k8s.io", "v4.channel.k8s.io"
SUCCESS = b"\x03" + json.dumps({"metadata": {}, "status": "Success"}).encode()


async def test_exec_echoes_until_its_input_ends(api: Api) -> None:
    async with api.exec("cat", protocols=(V5, V4)) as socket:
        assert socket.protocol == V5
        await socket.send_bytes(b"\x00one")
        assert await socket.receive_bytes() == b"\x01one"
        await socket.send_bytes(b"\x04{}")  # a terminal's size: nothing to it
        await socket.send_bytes(b"\xff\x00")
        assert await socket.receive_bytes() == SUCCESS
        assert (await socket.receive()).type is aiohttp.WSMsgType.CLOSE


async def test_exec_needs_leave_to_create_though_a_websocket_is_a_get(tmp_path: Path) -> None:
    objects = manifests()
    (viewer,) = [o for o in objects if o["metadata"]["name"] == "pod-viewer"]
    viewer["rules"].append({"apiGroups": [""], "resources": ["pods/exec"], "verbs": ["get"]})
    async with running(objects, tmp_path) as api:
        status, refused = await api.ask("GET", f"{PODS}/web/exec?command=env", BOB)
    assert status == 403
    assert 'cannot create resource "pods/exec"' in refused["message"]


async def test_exec_speaks_the_older_protocol_too(api: Api) -> None:
    async with api.exec("hostname", protocols=(V4,), stdin=False) as socket:
        assert socket.protocol == V4
        assert await socket.receive_bytes() == b"\x01web\n"
        assert await socket.receive_bytes() == SUCCESS


async def test_a_program_that_fails_says_so_in_the_last_message(api: Api) -> None:
    async with api.exec("ls", protocols=(V5,), stdin=False) as socket:
        assert (await socket.receive_bytes()).startswith(b"\x02ls: not found")
        status = json.loads((await socket.receive_bytes())[1:])
        assert status["reason"] == "NonZeroExitCode"
        assert status["details"]["causes"] == [{"reason": "ExitCode", "message": "127"}]


async def test_a_client_that_goes_away_ends_its_program(api: Api) -> None:
    async with api.exec("cat", protocols=(V5,)) as socket:
        await socket.send_bytes(b"\x00one")
        await socket.receive_bytes()
        await asyncio.wait_for(socket.close(), 5)
        assert socket.close_code == 1000
