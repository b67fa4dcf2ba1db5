"""The main job, on a real kube-apiserver: a user's token becomes ordinary RBAC.

The proxy's service account has the rights of deploy/rbac.yaml: it may impersonate the people and
groups that are named there, and nothing else.
"""

from __future__ import annotations

import http.client
import json
import queue
import re
import ssl
import subprocess
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.issuer import FakeIssuer
from tests.kubectl import find_kubectl, kubectl
from tests.real.cluster import AuditEvent, Cluster
from tests.serving import Run, Serve, issuer_in_thread

OWN_GROUP = "headlamp-auth-proxy:authenticated"
ACCOUNT = "system:serviceaccount:headlamp:headlamp-auth-proxy"
ALICE, BOB, MALLORY = (f"{n}@example.com" for n in ("alice", "bob", "mallory"))
GROUP = "k8s-viewers"

SHIPPED = Path(__file__).parents[2] / "deploy" / "rbac.yaml"
PEOPLE = f"""
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {{name: alice-is-admin}}
roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: cluster-admin}}
subjects: [{{apiGroup: rbac.authorization.k8s.io, kind: User, name: {ALICE}}}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {{name: configmaps}}
rules: [{{apiGroups: [""], resources: [configmaps], verbs: ["*"]}}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {{name: a-group-may-edit}}
roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: configmaps}}
subjects: [{{apiGroup: rbac.authorization.k8s.io, kind: Group, name: {GROUP}}}]
"""


class Reply(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes


@dataclass
class Stage:
    """Everything that is running, and how to speak through the proxy as one of the people."""

    cluster: Cluster
    issuer: FakeIssuer
    run: Run
    serve: Serve
    token_file: Path
    flags: tuple[str, ...]

    def kubectl(
        self, who: str, *args: str, groups: list[str] | None = None, **kwargs: Any
    ) -> subprocess.CompletedProcess[str]:
        return kubectl(self.config(who, groups), *args, **kwargs)

    def config(self, who: str, groups: list[str] | None = None) -> Path:
        return self.serve.kubeconfig(who.partition("@")[0], self.issuer.token(who, groups))

    @contextmanager
    def open(
        self, method: str, path: str, who: str, body: bytes | None = None, **headers: str
    ) -> Iterator[http.client.HTTPResponse]:
        """Make one request through the proxy and read its answer as it comes."""
        tls = ssl.create_default_context(cafile=str(self.serve.ca_file))
        headers["Authorization"] = f"Bearer {self.issuer.token(who)}"
        with _answer(self.serve.port, tls, method, path, body, headers) as answer:
            yield answer

    @contextmanager
    def open_direct(
        self, method: str, path: str, who: str, body: bytes | None = None, **headers: str
    ) -> Iterator[http.client.HTTPResponse]:
        """Make the same request to the API server itself, the administrator impersonating."""
        headers["Impersonate-User"] = who
        tls = self.cluster.admin_tls
        with _answer(self.cluster.port, tls, method, path, body, headers) as answer:
            yield answer

    def request(self, *args: Any, **headers: Any) -> Reply:
        with self.open(*args, **headers) as answer:
            return Reply(answer.status, dict(answer.getheaders()), answer.read())

    def direct(self, *args: Any, **headers: Any) -> Reply:
        with self.open_direct(*args, **headers) as answer:
            return Reply(answer.status, dict(answer.getheaders()), answer.read())


@contextmanager
def _answer(
    port: int,
    tls: ssl.SSLContext,
    method: str,
    path: str,
    body: bytes | None,
    headers: dict[str, str],
) -> Iterator[http.client.HTTPResponse]:
    connection = http.client.HTTPSConnection("127.0.0.1", port, context=tls, timeout=30)
    with closing(connection):
        connection.request(method, path, body, headers)
        with connection.getresponse() as answer:
            yield answer


@pytest.fixture(scope="module")
def stage(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("serve")
    cluster.kubectl("create", "namespace", "headlamp")
    cluster.apply(SHIPPED.read_text())
    cluster.apply(PEOPLE)
    token_file = folder / "token"
    token_file.write_text(cluster.service_account_token("headlamp", "headlamp-auth-proxy"))
    with issuer_in_thread() as (issuer, run):
        flags = (
            f"--oidc-issuer-url={issuer.url}",
            f"--oidc-client-id={issuer.client_id}",
            f"--oidc-ca-file={issuer.ca_file}",
            f"--upstream={cluster.url}",
            f"--upstream-ca-file={cluster.ca_file}",
            f"--upstream-token-file={token_file}",
        )
        with Serve(folder, *flags) as serve:
            serve.wait_ready()
            yield Stage(cluster, issuer, run, serve, token_file, flags)


def test_the_api_server_sees_the_user_the_groups_and_our_own_group(stage: Stage) -> None:
    run = stage.kubectl(ALICE, "auth", "whoami", "-ojson", groups=[GROUP])
    user = json.loads(run.stdout)["status"]["userInfo"]
    assert user["username"] == ALICE
    assert user["groups"] == [GROUP, OWN_GROUP, "system:authenticated"]


def test_rbac_by_user(stage: Stage, namespace: str) -> None:
    stage.kubectl(ALICE, "-n", namespace, "create", "configmap", "a", "--from-literal=k=v")
    assert "a " in stage.kubectl(ALICE, "-n", namespace, "get", "configmaps").stdout
    assert stage.kubectl(ALICE, "auth", "can-i", "*", "*").stdout.strip() == "yes"


def test_rbac_by_group(stage: Stage, namespace: str) -> None:
    arguments = ("-n", namespace, "create", "configmap", "b", "--from-literal=k=v")
    stage.kubectl(BOB, *arguments, groups=[GROUP])
    denied = stage.kubectl(BOB, "-n", namespace, "get", "secrets", groups=[GROUP], check=False)
    assert denied.returncode != 0
    assert f'User "{BOB}" cannot list resource "secrets"' in denied.stderr


def test_without_a_binding_a_user_is_told_so_by_the_api_server(stage: Stage) -> None:
    denied = stage.kubectl(BOB, "get", "pods", "-A", check=False)
    assert f'pods is forbidden: User "{BOB}" cannot list resource "pods"' in denied.stderr


def test_whom_our_account_may_not_impersonate_is_our_rbacs_fault_and_seen_as_such(
    stage: Stage,
) -> None:
    before = stage.serve.metric("impersonation_forbidden_total")
    denied = stage.kubectl(MALLORY, "get", "pods", check=False)
    assert "cannot impersonate" in denied.stderr
    assert stage.serve.metric("impersonation_forbidden_total") > before
    stage.serve.wait_until(
        lambda: any(r.get("outcome") == "impersonation_forbidden" for r in stage.serve.requests()),
        "logged",
    )


@pytest.mark.parametrize("group", ["system:masters", "system:nodes", OWN_GROUP, " x"])
def test_a_reserved_group_never_reaches_the_api_server(stage: Stage, group: str) -> None:
    before = len(stage.cluster.audit_events())
    denied = stage.kubectl(ALICE, "get", "namespaces", groups=[group], check=False)
    assert denied.returncode != 0
    assert "A group in the token" in denied.stderr
    assert not [
        e
        for e in stage.cluster.audit_events()[before:]
        if e["user"].get("username") == ACCOUNT and not _is_own_question(e)
    ]


def test_impersonation_by_the_client_is_refused(stage: Stage) -> None:
    denied = stage.kubectl(ALICE, "get", "pods", "--as=root", check=False)
    assert "leave out --as" in denied.stderr


def test_create_patch_replace_and_delete(stage: Stage, namespace: str) -> None:
    manifest = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "c", "namespace": namespace},
        "data": {"k": "1"},
    }
    stage.kubectl(ALICE, "apply", "-f", "-", stdin=json.dumps(manifest))
    manifest["data"] = {"k": "2"}
    stage.kubectl(ALICE, "apply", "--server-side", "--force-conflicts", "-f", "-",
                  stdin=json.dumps(manifest))  # fmt: skip
    stage.kubectl(ALICE, "-n", namespace, "patch", "configmap", "c", "-p", '{"data":{"l":"3"}}')
    shown = stage.kubectl(ALICE, "-n", namespace, "get", "configmap", "c", "-ojson").stdout
    assert json.loads(shown)["data"] == {"k": "2", "l": "3"}
    stage.kubectl(ALICE, "-n", namespace, "delete", "configmap", "c")
    gone = stage.kubectl(ALICE, "-n", namespace, "get", "configmap", "c", check=False)
    assert "NotFound" in gone.stderr


DISCOVERY = "application/json;v=v2;g=apidiscovery.k8s.io;as=APIGroupDiscoveryList"


@pytest.mark.parametrize(
    ("path", "accept"),
    [
        ("/api/v1/namespaces", "application/json"),
        ("/api/v1/namespaces?limit=2", "application/vnd.kubernetes.protobuf"),
        ("/api/v1/namespaces", "application/json;as=Table;v=v1;g=meta.k8s.io"),
        ("/apis", DISCOVERY),
        ("/api", DISCOVERY),
        ("/openapi/v3", "application/json"),
        ("/version", "*/*"),
        ("/api/v1/namespaces/does%2Fnot//exist/../x", "application/json"),
        ("/apis/rbac.authorization.k8s.io/v1/clusterroles/system:basic-user", "application/json"),
        ("/nonsense", "*/*"),
    ],
)
@pytest.mark.parametrize("encoding", ["identity", "gzip"])
def test_an_answer_is_the_api_servers_own_to_the_byte(
    stage: Stage, path: str, accept: str, encoding: str
) -> None:
    headers = {"Accept": accept, "Accept-Encoding": encoding}
    through = stage.request("GET", path, ALICE, **headers)
    direct = stage.direct("GET", path, ALICE, **headers)
    if through.body != direct.body:  # a Table tells ages in seconds, and one may just have ended
        direct = stage.direct("GET", path, ALICE, **headers)
        through = stage.request("GET", path, ALICE, **headers)
    changing = {"Date", "Audit-Id", "Content-Length", "Transfer-Encoding"}
    assert through.status == direct.status
    assert through.body == direct.body
    assert {k: v for k, v in through.headers.items() if k not in changing} == {
        k: v for k, v in direct.headers.items() if k not in changing
    }


@pytest.mark.parametrize(
    ("method", "content_type", "body"),
    [
        ("POST", "application/json", {"metadata": {"name": "new"}, "data": {"k": "v"}}),
        ("PATCH", "application/merge-patch+json", {"data": {"k": "w"}}),
        ("PATCH", "application/apply-patch+yaml", {"data": {"k": "w"}}),
        ("PUT", "application/json", {"metadata": {"name": "there"}, "data": {"k": "x"}}),
        ("DELETE", "application/json", {}),
        ("POST", "application/json", {"metadata": {"name": "NOT A NAME"}}),
        ("POST", "application/json", {"metadata": {"name": "there"}}),
    ],
)
def test_a_write_does_what_it_does_directly(
    stage: Stage, namespace: str, method: str, content_type: str, body: dict[str, Any]
) -> None:
    stage.cluster.kubectl("-n", namespace, "create", "configmap", "there", "--from-literal=k=v")
    name = "" if method == "POST" else "/there"
    path = f"/api/v1/namespaces/{namespace}/configmaps{name}?dryRun=All&fieldManager=test"
    sent = json.dumps({"apiVersion": "v1", "kind": "ConfigMap", **body}).encode() if body else None
    answers = []
    for ask in (stage.request, stage.direct):
        answer = ask(method, path, ALICE, sent, **{"Content-Type": content_type})
        document = json.loads(answer.body)
        for field in ("uid", "creationTimestamp", "managedFields"):
            document["metadata"].pop(field, None)  # made anew for each request
        answers.append((answer.status, document))
    assert answers[0] == answers[1]


def test_three_megabytes_pass_both_ways(stage: Stage) -> None:
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {
            "resourceAttributes": {"verb": "get", "resource": "pods", "name": "n" * 3_000_000}
        },
    }
    path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
    headers = {"Content-Type": "application/json", "Accept": "application/json"}
    body = json.dumps(review).encode()
    through = stage.request("POST", path, ALICE, body, **headers)
    direct = stage.direct("POST", path, ALICE, body, **headers)
    bodies = [re.sub(rb'"time":"[^"]*"', b"", answer.body) for answer in (through, direct)]
    assert bodies[0] == bodies[1]  # but for the second at which each was made
    assert through.status == direct.status == 201


def test_more_than_the_api_server_takes_is_answered_by_it(stage: Stage) -> None:
    path = "/api/v1/namespaces/default/configmaps"
    headers = {"Content-Type": "application/json"}
    body = b"[" + b"1," * 2_000_000 + b"1]"
    answer = stage.request("POST", path, ALICE, body, **headers)
    assert answer.status == 413
    assert json.loads(answer.body)["reason"] == "RequestEntityTooLarge"


def test_a_watch_through_the_proxy_sees_what_a_direct_one_sees(
    stage: Stage, namespace: str
) -> None:
    path = f"/api/v1/namespaces/{namespace}/configmaps?watch=1"
    with stage.open("GET", path, ALICE) as through, stage.open_direct("GET", path, ALICE) as direct:
        for n in range(5):
            stage.cluster.kubectl("-n", namespace, "create", "configmap", f"c{n}")
            event = through.readline()  # before the next one is made: nothing holds it back
            assert json.loads(event)["object"]["metadata"]["name"] == f"c{n}"
            assert event == direct.readline()


def test_kubectl_watches(stage: Stage, namespace: str) -> None:
    watch = subprocess.Popen(
        [
            find_kubectl(),
            f"--kubeconfig={stage.config(ALICE)}",
            *("-n", namespace, "get", "configmaps", "--watch", "-oname"),
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    lines: queue.Queue[str] = queue.Queue()
    assert watch.stdout is not None
    reader = threading.Thread(target=_feed, args=(watch.stdout, lines))
    reader.start()
    try:
        for n in range(3):
            stage.cluster.kubectl("-n", namespace, "create", "configmap", f"w{n}")
            assert lines.get(timeout=20) == f"configmap/w{n}\n"
    finally:
        watch.terminate()
        watch.wait()
        reader.join()
        watch.stdout.close()


def test_kubectl_waits_and_tries_again_when_its_user_has_too_much_under_way(
    stage: Stage, tmp_path: Path
) -> None:
    """While the user's one request is an upload that does not end, kubectl gets 429s."""
    with Serve(tmp_path, *stage.flags, "--max-requests-per-user=1") as serve:
        serve.wait_ready()
        token = stage.issuer.token(ALICE)
        running = None
        tls = ssl.create_default_context(cafile=str(serve.ca_file))
        uploading = http.client.HTTPSConnection("127.0.0.1", serve.port, context=tls, timeout=30)
        with closing(uploading):
            uploading.putrequest("POST", "/api/v1/namespaces/default/configmaps")
            uploading.putheader("Authorization", f"Bearer {token}")
            uploading.putheader("Content-Length", "10")
            uploading.endheaders(b"{")
            serve.wait_until(lambda: serve.metric("user_requests_highest") == 1, "uploading")
            config = f"--kubeconfig={serve.kubeconfig('alice', token)}"
            running = subprocess.Popen(
                [find_kubectl(), config, "get", "namespaces", "-oname"],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            refused = 'refused_requests_total{reason="too_many_requests"}'
            serve.wait_until(lambda: serve.metric(refused) >= 1, "refused")
        output, complaints = running.communicate(timeout=30)
        assert (running.returncode, "namespace/default" in output) == (0, True), complaints


def test_who_is_put_on_the_deny_list_sees_the_watch_end_and_then_why(
    stage: Stage, namespace: str, tmp_path: Path
) -> None:
    deny = tmp_path / "deny.yaml"
    deny.write_text("")
    with Serve(tmp_path, *stage.flags, f"--deny-file={deny}") as serve:
        serve.wait_ready()
        config = serve.kubeconfig("alice", stage.issuer.token(ALICE))
        # With a cache, as a person's: of what discovery is told, kubectl shows nothing.
        cache = f"--cache-dir={tmp_path / 'cache'}"
        arguments = (cache, "-n", namespace, "get", "configmaps", "-oname")
        with subprocess.Popen(
            [find_kubectl(), f"--kubeconfig={config}", *arguments, "--watch"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as watch:
            assert watch.stdout is not None
            stage.cluster.kubectl("-n", namespace, "create", "configmap", "seen")
            assert "configmap/" in watch.stdout.readline()
            deny.write_text(f"users: [{ALICE}]")
            began = time.monotonic()
            watch.communicate(timeout=20)
            took = time.monotonic() - began
        denied = kubectl(config, *arguments, check=False)
        assert denied.returncode != 0
        assert "Access to this cluster has been suspended for you." in denied.stderr
        bobs = serve.kubeconfig("bob", stage.issuer.token(BOB, [GROUP]))
        assert kubectl(bobs, *arguments).returncode == 0
        assert took < 5  # it is looked at every second; the rest is a busy machine's


def _feed(output: Iterable[str], lines: queue.Queue[str]) -> None:
    for line in output:
        lines.put(line)


def test_a_rotated_key_works_within_seconds(stage: Stage) -> None:
    stage.issuer.rotate()
    stage.serve.wait_until(
        lambda: stage.serve.get("/version", stage.issuer.token(ALICE))[0] == 200, "rotated"
    )


def test_an_issuers_outage_locks_nobody_out(stage: Stage) -> None:
    stage.run(stage.issuer.down())
    try:
        assert stage.serve.get("/version", stage.issuer.token(ALICE))[0] == 200
        assert stage.serve.probe("/readyz")[0] == 200
    finally:
        stage.run(stage.issuer.up())


def test_our_own_token_is_followed_as_it_rotates(stage: Stage) -> None:
    """The second token is in place when the first one ends; nobody notices."""
    original = stage.token_file.read_text()
    stage.cluster.kubectl("-n", "headlamp", "create", "secret", "generic", "leash")
    bound = stage.cluster.kubectl(
        *("-n", "headlamp", "create", "token", "headlamp-auth-proxy"),
        *("--bound-object-kind=Secret", "--bound-object-name=leash"),
    ).stdout.strip()
    try:
        stage.token_file.write_text(bound)
        sees = f"{ACCOUNT} with the bound token"
        stage.serve.wait_until(lambda: _last_credential(stage) == _jti(bound), sees)
        stage.token_file.write_text(original)
        stage.cluster.kubectl("-n", "headlamp", "delete", "secret", "leash")
        stage.serve.wait_until(lambda: _last_credential(stage) == _jti(original), "back again")
    finally:
        stage.token_file.write_text(original)


def _last_credential(stage: Stage) -> str:
    """Make a request and return which of our tokens the API server says it came with."""
    audit_id = stage.request("GET", "/version", ALICE).headers["Audit-Id"]
    event = stage.cluster.wait_for_audit_event(lambda e: bool(e["auditID"] == audit_id))
    (credential,) = event["user"]["extra"]["authentication.kubernetes.io/credential-id"]
    return str(credential)


def _jti(token: str) -> str:
    import jwt

    claims = jwt.decode(token, options={"verify_signature": False})
    return f"JTI={claims['jti']}"


def test_a_token_of_ours_that_is_not_accepted_is_a_503_that_heals(stage: Stage) -> None:
    original = stage.token_file.read_text()
    header, payload, _ = original.split(".")
    try:
        stage.token_file.write_text(f"{header}.{payload}.AAAA")
        stage.serve.wait_until(
            lambda: stage.serve.get("/version", stage.issuer.token(ALICE))[0] == 503, "refused"
        )
        status, body = stage.serve.get("/version", stage.issuer.token(ALICE))
        assert (status, body["details"]["causes"][0]["reason"]) == (503, "credential_rejected")
    finally:
        stage.token_file.write_text(original)
    stage.serve.wait_until(
        lambda: stage.serve.get("/version", stage.issuer.token(ALICE))[0] == 200, "healed"
    )


def test_the_api_server_may_restart(stage: Stage) -> None:
    path = "/api/v1/namespaces?watch=1&allowWatchBookmarks=1"
    with stage.open("GET", path, ALICE) as watch:
        assert watch.readline()
        stage.cluster.stop()
        with pytest.raises(http.client.IncompleteRead):
            watch.read()  # cut, and not passed off as its end
    status, body = stage.serve.get("/version", stage.issuer.token(ALICE))
    assert (status, body["details"]["causes"][0]["reason"]) == (502, "upstream_unreachable")
    assert stage.serve.probe("/readyz")[0] == 200
    assert "[-]upstream" in stage.serve.probe("/readyz?verbose")[1]
    stage.cluster.start()
    assert stage.serve.get("/version", stage.issuer.token(ALICE))[0] == 200


def test_nothing_was_ever_done_as_ourselves(stage: Stage) -> None:
    """Of all that the API server saw of our account, all was impersonated, or went nowhere.

    But for what the proxy asks about itself, which changes nothing.
    """
    assert stage.serve.get("/api/v1/namespaces", stage.issuer.token(ALICE))[0] == 200
    stage.cluster.wait_for_audit_event(lambda e: e["user"].get("username") == ACCOUNT)
    ours = [e for e in stage.cluster.audit_events() if e["user"].get("username") == ACCOUNT]
    assert ours
    for event in ours:
        code = event["responseStatus"]["code"]
        asserted = event.get("impersonatedUser", {}).get("username")
        assert asserted or code in {401, 403} or _is_own_question(event), event


def _is_own_question(event: AuditEvent) -> bool:
    resource: str = event.get("objectRef", {}).get("resource", "")
    return bool(event["verb"] == "create") and resource.startswith("selfsubject")
