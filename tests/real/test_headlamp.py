"""What Headlamp's backend sends, after a sign-in at tsidp, to a real kube-apiserver.

The backend is a stand-in (see tests/headlamp). tsidp is genuine, but of the generation without
refresh tokens (see test_tsidp.py); what needs those is in test_headlamp_refresh.py.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.real.account import OWN_GROUP
from tests.real.cluster import Cluster, asks_about_itself
from tests.real.headlamp_stage import (
    DORA,
    EMIL,
    MANY_GROUPS,
    WATCHERS,
    Stage,
    groups,
    label,
    staged,
)
from tests.real.tailscaled import Device

NAMESPACE = "with-headlamp"
ACCOUNT = f"system:serviceaccount:{NAMESPACE}:proxy"


@pytest.fixture(scope="module")
def stage(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with staged(cluster, tmp_path_factory.mktemp("headlamp"), NAMESPACE) as stage:
        yield stage


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
            message = json.loads(answer.text)["message"]
            audit_id = answer.headers["Audit-Id"]
            assert message == f"No bearer token was sent. Sign in first. (audit ID {audit_id})"
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
    """Of all that the API server saw of our account, all was impersonated, or went nowhere.

    But for the account's questions about itself, which are nobody's requests.
    """
    events = [e for e in stage.cluster.audit_events() if not asks_about_itself(e)]
    ours = [e for e in events if e["user"].get("username") == ACCOUNT]
    for seen in ours:
        code = seen["responseStatus"]["code"]
        assert seen.get("impersonatedUser", {}).get("username") or code in {401, 403}, seen
