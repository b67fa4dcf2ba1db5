"""Trust 4 on the real API server: the way, the credential and the rights of the proxy's account.

A row breaks one thing; doctor names it. Where it pays, the mend is pasted into a shell as it
stands, and doctor then says that trust 4 is well.
"""

# ruff: noqa: E501 (a row is one line)

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest
import trustme

from proxy.credentials.trust import PLACEHOLDER_TOKEN
from proxy.reviews.privileges import CANARY
from proxy.tools.deploy.rbac import cap
from tests.issuer import rsa_key
from tests.process import free_port
from tests.real import fronts
from tests.real.cluster import Cluster
from tests.real.doctoring import (
    Row,
    Rule,
    Scene,
    Wrong,
    each,
    flags,
    group,
    hold,
    impersonating,
    scene_of,
    user,
)
from tests.real.granting import ISSUER, OWN_GROUP

CAP = cap(read_only=False)
SECRETS = {"apiGroups": [""], "resources": ["secrets"], "verbs": ["get", "list"]}


@pytest.fixture
def scene(cluster: Cluster, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Scene:
    """The proxy's account as it should be, and an administrator who may read bindings."""
    made = scene_of(cluster, tmp_path, capsys)
    made.flags["admin-kubeconfig"] = str(cluster.admin_kubeconfig)
    return made


# --- How things are broken -----------------------------------------------------------------------


def token(content: str | bytes) -> Wrong:
    def wrong(scene: Scene) -> None:
        scene.token_file.write_bytes(content.encode() if isinstance(content, str) else content)

    return wrong


def signed(**claims: Any) -> Wrong:
    """A token that looks like the account's, and was signed by somebody else."""

    def wrong(scene: Scene) -> None:
        whole = {
            "iss": "https://kubernetes.default.svc",
            "aud": ["https://kubernetes.default.svc"],
            "sub": scene.account,
            "exp": int(time.time()) + 3600,
        }
        scene.token_file.write_text(rsa_key().token(whole | claims))

    return wrong


def for_another_audience(scene: Scene) -> None:
    issued = scene.kubectl("create", "token", "proxy", "--audience=vault")
    scene.token_file.write_text(issued)


def ca_of_others(scene: Scene) -> None:
    path = scene.folder / "ca.crt"
    trustme.CA().cert_pem.write_to_path(path)
    scene.flags["upstream-ca-file"] = str(path)


def ca(content: bytes | None) -> Wrong:
    def wrong(scene: Scene) -> None:
        path = scene.folder / "ca.crt"
        if content is not None:
            path.write_bytes(content)
        scene.flags["upstream-ca-file"] = str(path)

    return wrong


def kubeconfig(of_user: dict[str, Any] | None = None, **of_cluster: Any) -> Wrong:
    def wrong(scene: Scene) -> None:
        scene.kubeconfig(of_user or {"tokenFile": str(scene.token_file)}, **of_cluster)

    return wrong


def kubeconfig_without(text: str, instead: str = "") -> Wrong:
    def wrong(scene: Scene) -> None:
        path = scene.kubeconfig({"tokenFile": str(scene.token_file)})
        path.write_text(path.read_text().replace(text, instead))

    return wrong


def certificate(authority: trustme.CA | None = None, **validity: Any) -> Wrong:
    """A client certificate in place of the token: of the cluster's CA, or of another one."""

    def wrong(scene: Scene) -> None:
        ca = authority or scene.cluster._ca
        issued = ca.issue_cert("proxy", common_name="proxy", **validity)
        pair = scene.folder / "client.crt", scene.folder / "client.key"
        issued.cert_chain_pems[0].write_to_path(pair[0])
        issued.private_key_pem.write_to_path(pair[1])
        scene.kubeconfig({"client-certificate": str(pair[0]), "client-key": str(pair[1])})

    return wrong


def rules(*more: Rule, users: bool = True, groups: tuple[str, ...] = ()) -> Wrong:
    """Give the account's role other rules than it should have."""

    def wrong(scene: Scene) -> None:
        named = impersonating([CANARY, scene.user], list(groups) or [OWN_GROUP, scene.group])
        scene.role([*(named if users else named[1:]), *more])

    return wrong


def rules_of(make: Callable[[Scene], list[Rule]]) -> Wrong:
    return lambda scene: scene.role(make(scene))


def asking(scene: Scene) -> None:
    scene.flags |= {"user": scene.user, "group": scene.group}


def role_for(scene: Scene, *wanted: Rule, subject: Any = None) -> None:
    """Grant more by a role and a binding of their own."""
    name = f"{scene.name}-more"
    scene.role(list(wanted), name)
    scene.bind(subject or scene.proxy(), role=name, name=name)


def in_namespace(scene: Scene) -> None:
    scene.unbind()
    scene.bind(scene.proxy(), namespace=scene.name)


def to_missing_role(scene: Scene) -> None:
    scene.unbind()
    scene.bind(scene.proxy(), role=f"{scene.name}-impersonater")


def bound_to(*names: str) -> Wrong:
    def wrong(scene: Scene) -> None:
        scene.unbind()
        scene.bind(*map(scene.proxy, names))

    return wrong


def constrained(scene: Scene, groups: list[str] | None = None, *more: Rule) -> None:
    names = impersonating([CANARY, scene.user], groups or [OWN_GROUP], "impersonate:user-info")
    scene.role([*names, *more])


# --- The rows ------------------------------------------------------------------------------------

WAY = [
    Row("a closed port", "api_server_refused", "refuses", "--upstream=https://",
        flags(upstream=f"https://127.0.0.1:{free_port()}")),
    Row("a closed port in a kubeconfig", "api_server_refused", "refuses", "server:",
        kubeconfig(server=f"https://127.0.0.1:{free_port()}")),
    Row("another CA", "api_server_certificate_unknown_ca", "not trusted", "base64 -d",
        ca_of_others, mended=True),
    Row("no CA file", "api_server_ca_file", "no such file", "base64 -d", ca(None), mended=True),
    Row("an empty CA file", "api_server_ca_file", "no usable CA", "base64 -d", ca(b""), mended=True),
    Row("a key in place of the CA", "api_server_ca_file", "no usable CA", "base64 -d",
        ca(b"-----BEGIN EC PRIVATE KEY-----\n-----END EC PRIVATE KEY-----\n"), mended=True),
    Row("another name", "api_server_certificate_wrong_name", "not for kubernetes", "tls-server-name",
        kubeconfig(None, **{"tls-server-name": "kubernetes"}), mended=True),
    Row("the proxy itself, in a kubeconfig", "api_server_is_this_proxy", "itself listens", "server:",
        lambda s: kubeconfig(server=f"https://{s.flags['listen']}")(s)),
    Row("the proxy itself", "settings_refused", "itself listens", "--upstream",
        lambda s: flags(upstream=f"https://{s.flags['listen']}")(s)),
]  # fmt: skip

CREDENTIAL = [
    Row("no token", "credential_missing", "no such file", "create token",
        lambda s: s.token_file.unlink()),
    Row("an empty token", "credential_empty", "is empty", "create token", token("\n")),
    Row("the placeholder", "credential_is_placeholder", "placeholder", "--trust-dir",
        token(PLACEHOLDER_TOKEN)),
    Row("no token but words", "credential_malformed", "not a token", "create token",
        token("see the wiki")),
    Row("a token with its prefix", "credential_malformed", "not a token", "create token",
        lambda s: token(f"Bearer {s.token_file.read_text()}")(s)),
    Row("an expired token", "credential_expired", "ended", "create token proxy",
        signed(exp=int(time.time()) - 90), mended=True),
    Row("another audience", "credential_audience", "vault", "audience", for_another_audience,
        mended=True),
    Row("another audience, seen by nobody else", "credential_audience", "vault", "audience",
        each(for_another_audience, flags(admin_kubeconfig=None)), mended=True),
    Row("another cluster's token", "credential_rejected", "another cluster", "create token proxy",
        signed(), mended=True),
    Row("a user's token", "credential_of_a_user", "ID token", "create token",
        signed(iss=ISSUER, aud="x", sub="userid:1")),
    Row("an account that was deleted", "credential_rejected", "not found", "create token",
        lambda s: s.kubectl("delete", "serviceaccount", "proxy")),
    Row("an account that was made anew", "credential_rejected", "made anew", "create token proxy",
        lambda s: (s.kubectl("delete", "serviceaccount", "proxy"),
                   s.kubectl("create", "serviceaccount", "proxy")), mended=True),
    Row("a word for a token", "credential_rejected", "no JWT", "create token", token("abc123")),
    Row("a kubeconfig that is not there", "kubeconfig_unusable", "no such file", "--kubeconfig",
        each(kubeconfig(), flags(kubeconfig="/nowhere"))),
    Row("a kubeconfig without a context", "kubeconfig_unusable", "current-context", "context",
        kubeconfig_without('"current-context": "c"', '"current-context": ""')),
    Row("a kubeconfig that trusts anybody", "kubeconfig_unusable", "insecure", "certificate-authority-data",
        kubeconfig(None, **{"insecure-skip-tls-verify": True})),
    Row("a kubeconfig over http", "kubeconfig_unusable", "https://", "server",
        kubeconfig(server="http://127.0.0.1:8080")),
    Row("a kubeconfig with a password", "kubeconfig_unusable", "basic", "token",
        kubeconfig({"username": "a", "password": "b"})),
    Row("a kubeconfig that is no YAML", "kubeconfig_unusable", "YAML", "mend it",
        kubeconfig_without("{", "{{[")),
    Row("a tokenFile that is not there", "credential_missing", "tokenFile", "create token",
        kubeconfig({"tokenFile": "/nowhere/token"})),
    Row("a client certificate that is not there", "credential_missing", "client-certificate", "PEM",
        kubeconfig({"client-certificate": "/nowhere/c", "client-key": "/nowhere/k"})),
    Row("a client certificate that has ended", "credential_expired", "client certificate", "new client certificate",
        certificate(not_before=datetime.now(UTC) - timedelta(days=9), not_after=datetime.now(UTC) - timedelta(days=1))),
    Row("a client certificate of another CA", "credential_rejected", "401", "client certificate",
        certificate(trustme.CA())),
    Row("an exec plugin that is not there", "credential_plugin_failed", "no-such-plugin", "no-such-plugin",
        kubeconfig({"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": "no-such-plugin", "interactiveMode": "Never"}})),
    Row("an exec plugin that fails", "credential_plugin_failed", "not signed in", "run it by hand",
        kubeconfig({"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": "sh", "args": ["-c", "echo not signed in >&2; exit 1"], "interactiveMode": "Never"}})),
]  # fmt: skip

TOO_LITTLE = [
    Row("no binding", "account_not_bound", "nothing binds it", "create clusterrolebinding",
        each(asking, Scene.unbind), mended=True),
    Row("no binding, seen by nobody else", "impersonation_forbidden", CANARY, "ClusterRoleBinding",
        each(lambda s: s.unbind(), flags(admin_kubeconfig=None)), mended=True),
    Row("another account is bound", "account_not_bound", "default", "subjects/-",
        bound_to("default"), mended=True),
    Row("a RoleBinding", "account_bound_in_namespace", "only a ClusterRoleBinding", "clusterrolebinding",
        in_namespace, mended=True),
    Row("a role that does not exist", "account_role_missing", "does not exist", "kind: ClusterRole",
        to_missing_role, mended=True),
    Row("not the group of everybody", "impersonation_forbidden", OWN_GROUP, OWN_GROUP,
        rules(groups=("k8s-admins",)), mended=True),
    Row("no users", "impersonation_forbidden", "impersonate users", "users",
        rules(users=False), mended=True),
    Row("not this user", "impersonation_forbidden", "eve@example.com", "eve@example.com",
        each(asking, flags(user="eve@example.com")), mended=True),
    Row("not this group", "impersonation_forbidden", "impersonate groups strangers", "strangers",
        each(asking, flags(group="strangers")), mended=True),
    Row("the user in another case", "impersonation_forbidden", "Eve@example.com", "Eve@example.com",
        each(rules(*impersonating(["eve@example.com"], ["x"])[:1]), asking, flags(user="Eve@example.com")), mended=True),
    Row("the group's prefix", "impersonation_forbidden", "tsidp:admins", "tsidp:admins",
        each(asking, flags(group="tsidp:admins", oidc_groups_prefix="tsidp:")), mended=True),
    Row("another --authenticated-group", "impersonation_forbidden", "ours:all", "ours:all",
        flags(authenticated_group="ours:all"), mended=True),
    Row("the verb in the wrong API group", "impersonation_forbidden", "impersonate users", "apiGroups",
        rules_of(lambda _: [{**r, "apiGroups": ["authentication.k8s.io"]} for r in impersonating([CANARY], [OWN_GROUP])]), mended=True),
    Row("--token-passthrough", "setting_forbidden", "create tokenreviews", "tokenreviews",
        flags(token_passthrough="true"), mended=True),
    Row("--allow-impersonation", "setting_forbidden", "subjectaccessreviews", "original-user",
        flags(allow_impersonation="true"), mended=True),
    Row("--send-credential-id", "setting_forbidden", "credential-id", "credential-id",
        flags(send_credential_id="true"), mended=True),
    Row("a cap is missing", "cap_missing", "impersonate-on:user-info", "impersonate-on:user-info:",
        constrained, mended=True),
    Row("constrained, and not this group", "impersonation_forbidden", "strangers", "impersonate:user-info",
        each(lambda s: constrained(s, None, *CAP), asking, flags(group="strangers")), mended=True),
]  # fmt: skip

ANYBODY = {"apiGroups": [""], "resources": ["users", "groups"], "verbs": ["impersonate"]}
CREDENTIAL_EXTRA = "userextras/authentication.kubernetes.io/credential-id"

TOO_MUCH = [
    Row("cluster-admin, as Headlamp's chart has it", "account_privileged", "* on *", "kubectl delete clusterrolebinding",
        lambda s: s.bind(s.proxy(), role="cluster-admin", name=f"{s.name}-admin"), mended=True),
    Row("cluster-admin, seen by itself", "account_privileged", "* on *", "kubectl delete clusterrolebinding",
        each(lambda s: s.bind(s.proxy(), role="cluster-admin", name=f"{s.name}-admin"), flags(admin_kubeconfig=None)), mended=True),
    Row("cluster-admin for all accounts of the namespace", "account_privileged", "* on *", "kubectl patch clusterrolebinding",
        lambda s: s.bind(user("x"), group(f"system:serviceaccounts:{s.name}"), role="cluster-admin", name=f"{s.name}-admin"), mended=True),
    Row("an administrator's certificate", "account_privileged", "everything", "--admin-kubeconfig",
        lambda s: flags(kubeconfig=str(s.cluster.admin_kubeconfig), upstream=None, upstream_ca_file=None, upstream_token_file=None)(s)),
    Row("secrets in its own role", "account_beyond_impersonation", "secrets", "kubectl patch clusterrole",
        rules(SECRETS), mended=True),
    Row("another role besides", "account_beyond_impersonation", "secrets", "kubectl delete clusterrolebinding",
        lambda s: role_for(s, SECRETS), mended=True),
    Row("a role of Kubernetes besides", "account_beyond_impersonation", "list, watch on", "kubectl delete clusterrolebinding",
        lambda s: s.bind(s.proxy(), role="system:aggregate-to-view", name=f"{s.name}-view"), mended=True),
    Row("one that may be service accounts", "account_impersonates_reserved", "serviceaccounts", "kubectl delete clusterrolebinding",
        lambda s: s.bind(s.proxy(), role="system:aggregate-to-edit", name=f"{s.name}-edit"), mended=True),
    Row("in its own namespace", "account_beyond_impersonation", "secrets", "kubectl delete rolebinding",
        each(lambda s: s.role([SECRETS], f"{s.name}-more"), lambda s: s.bind(s.proxy(), role=f"{s.name}-more", name="more", namespace=s.name)), mended=True),
    Row("tokenreviews without --token-passthrough", "account_beyond_impersonation", "tokenreviews", "kubectl patch",
        rules({"apiGroups": ["authentication.k8s.io"], "resources": ["tokenreviews"], "verbs": ["create"]}), mended=True),
    Row("too much, seen by nobody else", "account_beyond_impersonation", "secrets", "--admin-kubeconfig",
        each(rules(SECRETS), flags(admin_kubeconfig=None))),
    Row("service accounts", "account_impersonates_reserved", "serviceaccounts", "kubectl patch",
        rules({"apiGroups": [""], "resources": ["serviceaccounts"], "verbs": ["impersonate"]}), mended=True),
    Row("everything may be impersonated", "account_impersonates_reserved", "*", "remove",
        rules({"apiGroups": ["", "authentication.k8s.io"], "resources": ["*"], "verbs": ["impersonate"]}), mended=True),
    Row("system:masters by name", "account_impersonates_reserved", "system:masters", "kubectl patch",
        rules(groups=(OWN_GROUP, "system:masters")), mended=True),
    Row("a reserved user by name", "account_impersonates_reserved", "system:admin", "kubectl patch",
        rules({"apiGroups": [""], "resources": ["users"], "verbs": ["impersonate"], "resourceNames": ["system:admin"]}), mended=True),
    Row("uids, which no setting asserts", "account_impersonates_reserved", "uids", "kubectl patch",
        rules({"apiGroups": ["authentication.k8s.io"], "resources": ["uids"], "verbs": ["impersonate"]}), mended=True),
    Row("an extra more than a setting needs", "account_impersonates_reserved", "userextras/scopes", "kubectl patch",
        each(rules({"apiGroups": ["authentication.k8s.io"], "resources": ["userextras/scopes", CREDENTIAL_EXTRA], "verbs": ["impersonate"]}),
             flags(send_credential_id="true")), mended=True),
    Row("anybody, though people are named", "account_impersonates_anybody", "name people", "kubectl delete clusterrolebinding",
        lambda s: role_for(s, ANYBODY), mended=True),
]  # fmt: skip


@pytest.mark.parametrize(
    "row", [*WAY, *CREDENTIAL, *TOO_LITTLE, *TOO_MUCH], ids=lambda row: row.name
)
def test_what_is_wrong_is_named_and_the_mend_mends(scene: Scene, row: Row) -> None:
    row.wrong(scene)
    hold(scene, 4, row)


WELL: dict[str, Wrong] = {
    "named": lambda _: None,
    "named, and who is asked about": asking,
    "constrained": lambda scene: constrained(scene, None, *CAP),
    "any user and any group": rules_of(
        lambda _: [{"apiGroups": [""], "resources": ["users", "groups"], "verbs": ["impersonate"]}]
    ),
    "cluster-admin, where that is meant": each(
        lambda s: s.bind(s.proxy(), role="cluster-admin", name=f"{s.name}-admin"),
        flags(allow_privileged_service_account="true"),
    ),
    "the extra of a setting that is on": each(
        rules(
            {
                "apiGroups": ["authentication.k8s.io"],
                "resources": [CREDENTIAL_EXTRA],
                "verbs": ["impersonate"],
            }
        ),
        flags(send_credential_id="true"),
    ),
    "a kubeconfig": kubeconfig(),
    "without an administrator": flags(admin_kubeconfig=None),
    "from a laptop": lambda s: flags(
        upstream=None,
        upstream_ca_file=None,
        upstream_token_file=None,
        service_account=f"{s.name}/proxy",
    )(s),
}


@pytest.mark.parametrize("right", WELL.values(), ids=WELL)
def test_what_is_as_it_should_be_is_well(scene: Scene, right: Wrong) -> None:
    right(scene)
    assert scene.trust(4)["status"] == "ok"


def test_that_anybody_may_be_impersonated_is_said_and_no_failure(scene: Scene) -> None:
    WELL["any user and any group"](scene)
    found = scene.trust(4)
    causes = [found["cause"], *(note["cause"] for note in found["notes"])]
    assert "account_impersonates_anybody" in causes


# --- What stands before the API server -----------------------------------------------------------


@contextlib.contextmanager
def behind(scene: Scene, answer: Any, *, tls: bool = True, **validity: Any) -> Iterator[None]:
    """Have doctor meet something else where the API server should be."""
    pair = None
    if tls:
        issued = scene.cluster._ca.issue_cert("127.0.0.1", **validity)
        pair = scene.folder / "front.crt", scene.folder / "front.key"
        issued.cert_chain_pems[0].write_to_path(pair[0])
        issued.private_key_pem.write_to_path(pair[1])
    with fronts.answering(answer, pair) as port:
        scene.flags["upstream"] = f"https://127.0.0.1:{port}"
        yield


@pytest.mark.parametrize(
    ("lost", "cause"),
    [("impersonate-", "impersonation_lost"), ("authorization", "credential_lost")],
)
def test_a_gateway_that_takes_headers_out(scene: Scene, lost: str, cause: str) -> None:
    with behind(scene, fronts.passing(scene.cluster, without=lost)):
        found = scene.trust(4)
    assert (found["status"], found["cause"]) == ("failed", cause)
    assert "--upstream" in found["mend"]


@pytest.mark.parametrize(("ahead", "words"), [(-300, "ahead of"), (300, "behind")])
def test_a_clock_that_differs(scene: Scene, ahead: int, words: str) -> None:
    date = formatdate(time.time() + ahead, usegmt=True)
    with behind(scene, fronts.passing(scene.cluster, date=date)):
        found = scene.trust(4)
    assert (found["status"], found["cause"]) == ("failed", "api_server_clock")
    assert words in found["saw"]
    assert "timedatectl" in found["mend"]


def test_an_old_api_server_is_no_failure_and_yet_said(scene: Scene) -> None:
    with behind(scene, fronts.passing(scene.cluster, version=b"v1.28.9")):
        found = scene.trust(4)
    assert found["status"] == "ok"
    notes = [found, *found["notes"]]
    (note,) = [n for n in notes if n["cause"] == "api_server_old"]
    assert "before-1.29" in note["mend"]


def test_something_else_with_a_good_certificate(scene: Scene) -> None:
    with behind(scene, fronts.page):
        found = scene.trust(4)
    assert (found["status"], found["cause"]) == ("failed", "not_an_api_server")


def test_something_that_does_not_speak_tls(scene: Scene) -> None:
    with behind(scene, fronts.page, tls=False):
        found = scene.trust(4)
    assert (found["status"], found["cause"]) == ("failed", "api_server_not_tls")


def test_a_certificate_that_has_ended(scene: Scene) -> None:
    past = datetime.now(UTC) - timedelta(days=2)
    with behind(scene, fronts.page, not_before=past - timedelta(9), not_after=past):
        found = scene.trust(4)
    assert (found["status"], found["cause"]) == ("failed", "api_server_certificate_expired")
    assert "certs renew" in found["mend"]


def test_constrained_rights_on_an_api_server_that_has_no_such_thing(
    assets: Path,
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = tmp_path_factory.mktemp("old")
    switched_off = "--feature-gates=ConstrainedImpersonation=false"
    with Cluster.run(assets, folder, switched_off) as cluster:
        scene = scene_of(cluster, tmp_path, capsys)
        constrained(scene, None, *CAP)
        found = scene.trust(4)
        assert (found["status"], found["cause"]) == ("failed", "constrained_unsupported")
        scene.paste(found["mend"])
        assert scene.trust(4)["status"] == "ok"
