"""Trust 5 on the real API server: what is wrong with a user's bindings, and the mend pasted.

A row breaks one thing; doctor, with a kubeconfig that may read bindings, names it. Where it pays,
the mend is pasted into a shell as it stands, and doctor then says that all is well.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.real import doctoring
from tests.real.cluster import Cluster
from tests.real.doctoring import RBAC, Scene, Wrong, each, flags, group, hold, scene_of, user

READER = "system:aggregate-to-view"  # "view" itself is empty without its controller


@pytest.fixture
def scene(cluster: Cluster, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Scene:
    """A user whom the proxy may impersonate, of a group, and an administrator who asks."""
    made = scene_of(cluster, tmp_path, capsys)
    made.flags["user"] = made.user
    made.flags["group"] = made.group
    made.flags["admin-kubeconfig"] = str(cluster.admin_kubeconfig)
    return made


def people(scene: Scene, *subjects: Any, role: str = READER, namespace: str = "") -> None:
    scene.bind(*subjects, role=role, name=f"{scene.name}-people", namespace=namespace)


@dataclass(frozen=True)
class Row(doctoring.Row):
    """One whose mend is pasted, unless it says otherwise."""

    mended: bool = True
    status: str = "failed"


def as_token(scene: Scene, **claims: Any) -> None:
    scene.flags["user"] = scene.flags["group"] = None
    scene.flags["token-file"] = str(scene.user_token(**claims))


def of_token(wrong: Wrong, **claims: Any) -> Wrong:
    def both(scene: Scene) -> None:
        wrong(scene)
        as_token(scene, **claims)

    return both


def prefixed(scene: Scene) -> None:
    """The user's prefix is configured and may be impersonated; the binding was made without it."""
    bare = scene.user
    scene.user = scene.flags["user"] = f"tsidp:{bare}"
    scene.flags["oidc-username-prefix"] = "tsidp:"
    scene.role(
        [
            {
                "apiGroups": [""],
                "resources": ["users", "groups"],
                "verbs": ["impersonate"],
                "resourceNames": [
                    scene.user,
                    scene.group,
                    "headlamp-auth-proxy:authenticated",
                ],
            }
        ]
    )
    people(scene, user(bare))


def role_in_namespace(scene: Scene) -> None:
    document = {
        "apiVersion": f"{RBAC}/v1",
        "kind": "RoleBinding",
        "metadata": {"name": f"{scene.name}-people", "namespace": scene.name},
        "roleRef": {"apiGroup": RBAC, "kind": "Role", "name": READER},
        "subjects": [user(scene.user)],
    }
    scene.flags["namespace"] = scene.name
    scene.apply(document)


ROWS = [
    Row("nobody is bound", "nothing_granted", "nothing beyond discovery", "ClusterRoleBinding",
        lambda _: None, mended=False),
    Row("another case", "binding_near_name", "upper and lower case", "kubectl patch",
        lambda s: people(s, user(s.user.upper()))),
    Row("a capital only", "binding_near_name", "compares to the letter", "kubectl patch",
        lambda s: people(s, user(s.user.replace("amelia", "Amelia")))),
    Row("a blank behind it", "binding_near_name", "differs by blanks", "kubectl patch",
        lambda s: people(s, user(f"{s.user} "))),
    Row("without its domain", "binding_near_name", "only a part", "subjects/-",
        lambda s: people(s, user(s.user.partition("@")[0]))),
    Row("another domain", "binding_near_name", "another domain", "subjects/-",
        lambda s: people(s, user(s.user.replace(".com", ".org")))),
    Row("misspelt", "binding_near_name", "spelt almost the same", "subjects/-",
        lambda s: people(s, user(s.user.replace("amelia", "ameila")))),
    Row("without the prefix", "binding_near_name", "differs by a prefix", "tsidp:", prefixed),
    Row("a prefix too many", "binding_near_name", "differs by a prefix", "kubectl patch",
        lambda s: people(s, user(f"oidc:{s.user}"))),
    Row("the issuer as prefix", "binding_near_name", "differs by a prefix", "kubectl patch",
        lambda s: people(s, user(f"https://idp.tail1234.ts.net#{s.user}"))),
    Row("the user as a Group", "binding_wrong_kind", "a User", '"kind":"User"',
        lambda s: people(s, group(s.user))),
    Row("the group as a User", "binding_wrong_kind", "a Group", '"kind":"Group"',
        lambda s: people(s, user(s.group))),
    Row("the group as a ServiceAccount", "binding_wrong_kind", "a Group", '"kind":"Group"',
        lambda s: people(s, s.proxy(s.group))),
    Row("the group's name", "binding_near_name", "spelt almost the same", "subjects/-",
        lambda s: people(s, group(s.group.removesuffix("s")))),
    Row("the group in capitals", "binding_near_name", "upper and lower case", "kubectl patch",
        lambda s: people(s, group(s.group.title()))),
    Row("a group with tsidp's tag: before it", "binding_near_name", "a prefix", "kubectl patch",
        lambda s: people(s, group(f"tag:{s.group}"))),
    Row("a role that does not exist", "role_missing", "there is a ClusterRole", READER,
        lambda s: people(s, user(s.user), role=f"{READER}er")),
    Row("a role like none", "role_missing", "does not exist", "view",
        lambda s: people(s, user(s.user), role="no-such-thing"), mended=False),
    Row("a ClusterRole taken for a Role", "role_missing", "there is a ClusterRole", "reconcile",
        role_in_namespace),
    Row("a role without rules", "role_empty", "no rules", "clusterrole",
        each(lambda s: s.role([], f"{s.name}-empty"),
             lambda s: people(s, user(s.user), role=f"{s.name}-empty")),
        mended=False),
    Row("only in another namespace", "granted_elsewhere", "--namespace=", "ClusterRoleBinding",
        lambda s: people(s, user(s.user), namespace=s.name)),
    Row("in another than asked", "granted_elsewhere", "nothing in kube-public", "RoleBinding",
        each(lambda s: people(s, user(s.user), namespace=s.name), flags(namespace="kube-public"))),
    Row("a reserved user", "username_reserved", "system:admin", "--oidc-username-prefix",
        flags(user="system:admin"), mended=False),
    Row("a reserved group", "group_reserved", "system:masters", "--groups-allow",
        flags(group="system:masters"), mended=False),
    Row("a blank in the user", "username_malformed", "blank", "--oidc-username-claim",
        flags(user=" x@example.com"), mended=False),
    Row("the claim sub", "binding_other_claim", "the claim sub", "kubectl patch",
        of_token(lambda s: people(s, user("userid:5738291046173829")),
                 sub="userid:5738291046173829")),
    Row("the claim preferred_username", "binding_other_claim", "preferred_username", "patch",
        of_token(lambda s: people(s, user("melly")), preferred_username="melly")),
    Row("a group that --groups-allow drops", "binding_dropped_group", "--groups-allow drops",
        "--groups-allow=",
        of_token(each(lambda s: people(s, group(s.group)), flags(groups_allow="k8s-*"))),
        mended=False),
    Row("groups in a claim that is not read", "groups_not_read", "has them in groups",
        "--oidc-groups-claim=groups",
        of_token(each(lambda s: people(s, group(s.group)), flags(oidc_groups_claim="roles"))),
        mended=False),
]  # fmt: skip


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_what_is_wrong_is_named_and_the_mend_mends(scene: Scene, row: Row) -> None:
    row.wrong(scene)
    hold(scene, 5, row, row.status)


def test_whoever_is_bound_is_well_and_it_says_by_what(scene: Scene) -> None:
    people(scene, group(scene.group))
    found = scene.trust(5)
    assert found["status"] == "ok"
    assert "get, list, watch on" in found["saw"]
    assert f"by ClusterRoleBinding {scene.name}-people (Group '{scene.group}')" in found["saw"]


def test_the_binding_that_is_printed_gives_the_role_once_it_has_rules(scene: Scene) -> None:
    printed = scene.trust(5)["mend"]
    scene.paste(printed.replace("name: view", f"name: {READER}"))
    assert scene.trust(5)["status"] == "ok"


def test_without_an_administrator_the_rights_show_and_the_bindings_do_not(scene: Scene) -> None:
    scene.flags["admin-kubeconfig"] = None
    people(scene, user(scene.user.upper()))
    found = scene.trust(5)
    assert found["cause"] == "nothing_granted"
    assert "--admin-kubeconfig" in found["saw"]
    scene.cluster.kubectl("delete", "clusterrolebinding", f"{scene.name}-people")
    people(scene, user(scene.user), role="no-such-role")
    assert scene.trust(5)["cause"] == "role_missing"
    scene.cluster.kubectl("delete", "clusterrolebinding", f"{scene.name}-people")
    people(scene, user(scene.user))
    assert scene.trust(5)["status"] == "ok"


def test_from_a_laptop_an_administrator_asks_as_the_user(scene: Scene) -> None:
    for flag in ("upstream", "upstream-ca-file", "upstream-token-file"):
        scene.flags[flag] = None
    assert scene.trust(5)["cause"] == "nothing_granted"
    people(scene, user(scene.user))
    assert scene.trust(5)["status"] == "ok"


def test_whom_the_account_may_not_impersonate_is_unknown_without_an_administrator(
    scene: Scene,
) -> None:
    scene.flags["admin-kubeconfig"] = None
    scene.flags["user"] = "somebody@example.com"
    found = scene.trust(5)
    assert (found["status"], found["cause"]) == ("unknown", "user_not_impersonated")
