"""tsidp's own tokens, through the proxy, to a real kube-apiserver: who comes out, or which refusal.

The tsidp is that of tailscale.com (see tests/tsidp/go.mod); what only a tailnet could tell it is
played (see tailnet.py). What the newer tsidp does otherwise is played by the demo's issuer, which
test_issuers.py compares with this one.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from proxy.authn.jws import parse
from proxy.tools.demo import people
from tests.real.account import OWN_GROUP, proxy_account
from tests.real.cluster import Cluster
from tests.real.programs import require
from tests.real.provider import Provider, demo_provider, trusting
from tests.real.tailnet import Client, SignInRefused, Tailnet
from tests.real.tailscaled import Device, Rule
from tests.serving import Serve, issuer_in_thread

ALICE = Device(
    "100.101.102.103", "alice@example.com", 5738291046173829, "alice-laptop.tail1234.ts.net."
)
BOB = Device("100.101.102.104", "bob@example.com", 5738291046173830, "bob-mac.tail1234.ts.net.")
ON_GITHUB = Device("100.101.102.105", "carol@github", 5738291046173831, "carol.tail1234.ts.net.")
TAGGED = replace(ALICE, address="100.101.102.106", tags=("tag:server",))
# A device of another tailnet, shared with ours, has a name without any tailnet (tailscale PR 5346).
SHARED_IN = Device("100.101.102.107", "eve@elsewhere.example", 17, "device-of-shared-to-user")

ALWAYS = {OWN_GROUP, "system:authenticated"}
REDIRECT_URI = "http://127.0.0.1:4466/oidc-callback"


@dataclass
class Stage:
    tsidp: Tailnet
    client: Client
    serve: Serve
    flags: tuple[str, ...]

    def token(self, device: Device, *rules: Rule, **query: str) -> str:
        """Sign in from a device, while these rules of grants match it; return the ID token."""
        tokens = self.tsidp.sign_in(self.client, replace(device, rules=rules), **query)
        return str(tokens["id_token"])


def groups(*names: Any) -> Rule:
    return {"extraClaims": {"groups": [*names]}}


@pytest.fixture(scope="module")
def token_file(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The proxy's own token, for an account that may impersonate the people of this tailnet."""
    users = (ALICE.login, BOB.login, ON_GITHUB.login)
    names = ("k8s-admins", "k8s-viewers", "tag:k8s-admin", "42")
    path = tmp_path_factory.mktemp("account") / "token"
    path.write_text(proxy_account(cluster, "with-tsidp", users, names))
    return path


@pytest.fixture(scope="module")
def stage(
    cluster: Cluster, token_file: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stage]:
    with staged(cluster, token_file, tmp_path_factory.mktemp("tsidp")) as stage:
        yield stage


@contextmanager
def staged(cluster: Cluster, token_file: Path, folder: Path) -> Iterator[Stage]:
    with Tailnet(folder) as tsidp:
        client = tsidp.register(REDIRECT_URI)
        flags = trusting(cluster, token_file, tsidp.url, client.id, tsidp.ca_file)
        with Serve(folder, *flags) as serve:
            serve.wait_ready()
            yield Stage(tsidp, client, serve, flags)


def refused(serve: Serve, token: str) -> tuple[int, str]:
    """Status and label of the proxy's own answer; what the API server says has no label."""
    status, body = serve.get("/version", token)
    return status, body["details"]["causes"][0]["reason"]


def payload(token: str) -> dict[str, Any]:
    return dict(parse(token.encode()).members)


def key_id(token: str) -> str:
    return parse(token.encode()).key_id


# --- Who comes out -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("device", "rules", "expected"),
    [
        (ALICE, [groups("k8s-admins")], {"k8s-admins"}),
        (BOB, [], set()),
        (
            ALICE,
            [groups("k8s-admins", "k8s-viewers"), groups("k8s-viewers", "tag:k8s-admin")],
            {"k8s-admins", "k8s-viewers", "tag:k8s-admin"},
        ),
        (ALICE, [{"extraClaims": {"groups": "k8s-viewers"}}], {"k8s-viewers"}),
        (
            ALICE,
            [{"extraClaims": {"groups": "k8s-viewers"}}, groups("k8s-admins")],
            {"k8s-admins", "k8s-viewers"},
        ),
        (ALICE, [groups("k8s-viewers", 42)], {"k8s-viewers", "42"}),
        (ALICE, [{"includeInUserInfo": True}], set()),
        (ON_GITHUB, [groups("k8s-viewers")], {"k8s-viewers"}),
    ],
    ids=[
        "groups from a grant",
        "no grant",
        "several grants add up",
        "a bare string",
        "a string and a list",
        "a number becomes a string",
        "a grant without claims",
        "a login that is no e-mail address",
    ],
)
def test_a_sign_in_becomes_a_user_with_the_groups_of_the_grants(
    stage: Stage, device: Device, rules: list[Rule], expected: set[str]
) -> None:
    token = stage.token(device, *rules, scope="openid email profile")
    user, seen = stage.serve.whoami(token)
    assert user == device.login
    assert set(seen) == expected | ALWAYS
    assert len(seen) == len(set(seen))


@pytest.mark.parametrize("scope", ["openid", "email", "openid groups offline_access"])
def test_this_generation_asks_for_no_scope(stage: Stage, scope: str) -> None:
    """The newer one leaves the e-mail address out without its scope, and refuses unknown ones."""
    assert stage.serve.whoami(stage.token(ALICE, scope=scope))[0] == ALICE.login


def test_numbers_come_with_an_exponent(stage: Stage) -> None:
    """So `exp`, too, is no integer to the letter; go-oidc reads it, and so must we."""
    token = stage.token(ALICE)
    written = base64.urlsafe_b64decode(token.split(".")[1] + "==").decode()
    assert re.search(r'"exp":1\.\d+e\+09,', written)
    assert stage.serve.whoami(token)[0] == ALICE.login


def test_a_token_is_for_the_client_that_asked(stage: Stage) -> None:
    other = stage.tsidp.register("http://localhost:8000")
    token = stage.tsidp.sign_in(other, ALICE)["id_token"]
    assert payload(token)["aud"] == [other.id]
    assert refused(stage.serve, token) == (401, "audience_mismatch")


# --- What kube-apiserver itself makes of the same tokens -----------------------------------------


@pytest.fixture(scope="module")
def trusting_cluster(stage: Stage, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """An API server that could be told to trust tsidp, and was."""
    flags = (
        f"--oidc-issuer-url={stage.tsidp.url}",
        f"--oidc-client-id={stage.client.id}",
        f"--oidc-ca-file={stage.tsidp.ca_file}",
        "--oidc-username-claim=email",
        "--oidc-groups-claim=groups",
    )
    folder = tmp_path_factory.mktemp("trusting-cluster")
    with Cluster.run(require("kube"), folder, *flags) as cluster:
        # It is ready before it has the issuer's keys.
        token = stage.token(ALICE)
        stage.serve.wait_until(lambda: seen_by(cluster, token) is not None, "trusted by it")
        yield cluster


def seen_by(cluster: Cluster, token: str) -> tuple[str, set[str]] | None:
    """Whom an API server sees without a proxy; None is a 401."""
    config = cluster.write_kubeconfig("somebody", {"token": token})
    run = cluster.kubectl("auth", "whoami", "-ojson", kubeconfig=config, check=False)
    if "Unauthorized" in run.stderr or "must be logged in" in run.stderr:
        return None
    user = json.loads(run.stdout)["status"]["userInfo"]
    return user["username"], set(user["groups"])


@pytest.mark.parametrize(
    ("rules", "groups_seen"),
    [
        ([], set()),
        (
            [groups("k8s-admins", "k8s-viewers"), groups("k8s-viewers", 42)],
            {"k8s-admins", "k8s-viewers", "42"},
        ),
        ([{"extraClaims": {"groups": "k8s-viewers"}}], {"k8s-viewers"}),
        ([{"extraClaims": {"email_verified": "true"}}], None),
        ([{"extraClaims": {"name": "Alice", "roles": ["x"]}}], set()),
    ],
    ids=["no grant", "lists", "a bare string", "email_verified as a string", "other claims"],
)
def test_kube_apiserver_sees_the_same_user_or_none(
    stage: Stage, trusting_cluster: Cluster, rules: list[Rule], groups_seen: set[str] | None
) -> None:
    token = stage.token(ALICE, *rules)
    directly = seen_by(trusting_cluster, token)
    if groups_seen is None:
        assert directly is None
        assert stage.serve.get("/version", token)[0] == 401
        return
    assert directly == (ALICE.login, groups_seen | {"system:authenticated"})
    user, seen = stage.serve.whoami(token)
    assert (user, set(seen) - {OWN_GROUP}) == directly


# --- Refusals ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        *("tags", "email", "username", "sub", "aud", "exp", "iat", "iss", "jti", "nbf", "key"),
        *("addresses", "nid", "node", "tailnet", "user", "uid"),
    ],
)
def test_a_grant_that_names_a_protected_claim_ends_the_sign_in(stage: Stage, name: str) -> None:
    with pytest.raises(SignInRefused, match=f'400: extra claim "{name}" overwriting'):
        stage.token(ALICE, groups("k8s-viewers"), {"extraClaims": {name: ["tag:k8s-admin"]}})


def test_a_tagged_device_gets_no_token(stage: Stage) -> None:
    """The newer tsidp says so at /authorize already, with access_denied."""
    assert stage.tsidp.authorize(stage.client, TAGGED).status == 302
    with pytest.raises(SignInRefused, match="400: tsidp: tagged nodes not supported"):
        stage.token(TAGGED)


def test_a_grant_that_cannot_be_read_ends_the_sign_in(stage: Stage) -> None:
    with pytest.raises(SignInRefused, match="400: json: cannot unmarshal"):
        stage.token(ALICE, {"extraClaims": ["groups"]})


def test_whoever_is_shared_in_has_a_good_token_and_no_rights(stage: Stage) -> None:
    """RBAC that names the people stops them; see below for what stops them where it does not."""
    token = stage.token(SHARED_IN)
    assert payload(token)["tailnet"] == ""
    status, body = stage.serve.get("/version", token)
    assert status == 403
    assert 'cannot impersonate resource "users"' in body["message"]


def test_a_required_tailnet_keeps_out_who_is_shared_in(stage: Stage, tmp_path: Path) -> None:
    required = "--oidc-required-claim=tailnet=tail1234.ts.net."
    with Serve(tmp_path, *stage.flags, required) as serve:
        serve.wait_ready()
        assert serve.whoami(stage.token(ALICE))[0] == ALICE.login
        status, body = serve.get("/version", stage.token(SHARED_IN))
        assert (status, body["details"]["causes"][0]["reason"]) == (401, "required_claim_mismatch")


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("system:masters", "group_reserved"),
        (OWN_GROUP, "group_reserved"),
        ("", "group_malformed"),
        ("k8s-admins ", "group_malformed"),
    ],
)
def test_a_grant_cannot_give_what_no_token_may_bring(stage: Stage, name: str, label: str) -> None:
    assert refused(stage.serve, stage.token(ALICE, groups("k8s-viewers", name))) == (403, label)


def test_email_verified_from_a_grant_is_a_string_here_and_refused(stage: Stage) -> None:
    """It must be a boolean, as for kube-apiserver, and this generation drops booleans."""
    token = stage.token(ALICE, {"extraClaims": {"email_verified": "true"}})
    assert refused(stage.serve, token) == (401, "claim_malformed")
    token = stage.token(ALICE, {"extraClaims": {"email_verified": True}})
    assert "email_verified" not in payload(token)
    assert stage.serve.whoami(token)[0] == ALICE.login


def test_the_access_token_is_no_id_token(stage: Stage) -> None:
    tokens = stage.tsidp.sign_in(stage.client, ALICE)
    assert refused(stage.serve, tokens["access_token"]) == (401, "token_malformed")


def test_there_is_nothing_to_refresh_with(stage: Stage) -> None:
    """The newer tsidp has refresh tokens; with this one, a session ends after five minutes."""
    tokens = stage.tsidp.sign_in(stage.client, ALICE)
    assert "refresh_token" not in tokens
    form = {"grant_type": "refresh_token", "refresh_token": "00"}
    answer = stage.tsidp.token(stage.client, form)
    assert (answer.status, answer.text) == (400, "tsidp: grant_type not supported\n")


# --- Keys ----------------------------------------------------------------------------------------


def test_a_restart_changes_nothing_for_who_has_a_token(stage: Stage) -> None:
    before = stage.token(ALICE)
    stage.tsidp.restart()
    after = stage.token(ALICE)
    assert key_id(before) == key_id(after)
    for token in (before, after):
        assert stage.serve.whoami(token)[0] == ALICE.login


def test_after_the_key_is_lost_new_tokens_work_and_old_ones_do_not(stage: Stage) -> None:
    old = stage.token(BOB)
    assert stage.serve.whoami(old)[0] == BOB.login
    stage.tsidp.restart(losing=["oidc-key.json"])
    new = stage.token(BOB)
    assert key_id(old) != key_id(new)
    stage.serve.wait_until(lambda: stage.serve.get("/version", new)[0] == 200, "rotated")
    assert refused(stage.serve, old) == (401, "key_unknown")


def test_after_all_state_is_lost_the_clients_are_gone_too(
    cluster: Cluster, token_file: Path, tmp_path: Path
) -> None:
    """As in a container whose folder was not kept: the new client's id must be configured anew."""
    with staged(cluster, token_file, tmp_path) as stage:
        stage.tsidp.restart(losing=["oidc-key.json", "oauth-clients.json"])
        with pytest.raises(SignInRefused, match="400: tsidp: invalid client ID"):
            stage.token(BOB)
        stage.client = stage.tsidp.register(REDIRECT_URI)
        token = stage.token(BOB)
        assert refused(stage.serve, token) == (401, "audience_mismatch")


# --- What only the newer tsidp does, played ------------------------------------------------------


@pytest.fixture(scope="module")
def newer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Provider]:
    with demo_provider(tmp_path_factory.mktemp("newer"), REDIRECT_URI) as provider:
        yield provider


@pytest.fixture(scope="module")
def serve(
    cluster: Cluster,
    token_file: Path,
    newer: Provider,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Serve]:
    """A proxy that trusts the newer one."""
    flags = trusting(cluster, token_file, newer.url, newer.client.id, newer.ca_file)
    with Serve(tmp_path_factory.mktemp("trusting"), *flags) as serve:
        serve.wait_ready()
        yield serve


def test_without_the_scope_email_nobody_comes_out(serve: Serve, newer: Provider) -> None:
    answer = newer.token(code=newer.code(scope="openid profile"))
    token = json.loads(answer.text)["id_token"]
    assert refused(serve, token) == (401, "username_missing")


def test_a_refreshed_token_keeps_a_group_that_was_taken_away(
    serve: Serve, newer: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens = json.loads(newer.token().text)
    monkeypatch.setitem(people.EVERYONE, "alice", replace(people.ALICE, groups=()))
    refreshed = json.loads(
        newer.token(
            grant_type="refresh_token",
            refresh_token=tokens["refresh_token"],
            code=None,
            redirect_uri=None,
        ).text
    )
    assert refreshed["id_token"] != tokens["id_token"]
    assert set(serve.whoami(refreshed["id_token"])[1]) == {*people.ALICE.groups} | ALWAYS
    assert set(serve.whoami(newer.id_token())[1]) == ALWAYS


@pytest.mark.parametrize(
    ("others", "named", "passes"),
    [
        (["https://api.example.com"], True, True),
        ([], True, True),
        (["https://api.example.com"], False, False),
    ],
    ids=["with a resource", "in a list of one", "not named"],
)
def test_of_several_audiences_one_must_be_ours(
    cluster: Cluster,
    token_file: Path,
    tmp_path: Path,
    others: list[str],
    named: bool,
    passes: bool,
) -> None:
    """A resource indicator makes a list of the audience, and adds `azp`."""
    with issuer_in_thread() as (issuer, _):
        flags = trusting(cluster, token_file, issuer.url, issuer.client_id, issuer.ca_file)
        audience = [issuer.client_id if named else "another-client", *others]
        token = issuer.token(ALICE.login, aud=audience, azp=audience[0])
        with Serve(tmp_path, *flags) as serve:
            serve.wait_ready()
            if passes:
                assert serve.whoami(token)[0] == ALICE.login
            else:
                assert refused(serve, token) == (401, "audience_mismatch")
