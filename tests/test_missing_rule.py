"""Which rule a refused request lacked, and what an administrator is given to paste."""

from __future__ import annotations

import pytest
import yaml

from proxy.missing_rule import LONGEST, MissingRule, manifest, missing_rule, shown, view_binding
from proxy.requestinfo import resolve


def refused(verb: str, what: str) -> bytes:
    """The beginning of kube-apiserver's Status for somebody, as JSON."""
    return (
        f'{{"kind":"Status","message":"x is forbidden: User \\"al@example.com\\" '
        f'cannot {verb} {what} in API group \\"\\" at the cluster scope","code":403}}'
    ).encode()


PODS = 'resource \\"pods\\"'


@pytest.mark.parametrize(
    ("method", "target", "verb", "rule"),
    [
        ("GET", "/api/v1/pods", "list", MissingRule("list", "", "pods")),
        ("GET", "/api/v1/pods?watch=1", "watch", MissingRule("watch", "", "pods")),
        (
            "GET",
            "/api/v1/namespaces/a/pods/x/log",
            "get",
            MissingRule("get", "", "pods", "log", "x", "a"),
        ),
        (
            "DELETE",
            "/apis/apps/v1/namespaces/a/deployments/web",
            "delete",
            MissingRule("delete", "apps", "deployments", "", "web", "a"),
        ),
        # A WebSocket asks with GET, and newer API servers ask RBAC about "create".
        (
            "GET",
            "/api/v1/namespaces/a/pods/x/exec?command=sh",
            "create",
            MissingRule("create", "", "pods", "exec", "x", "a"),
        ),
        ("GET", "/api/v1/namespaces/a", "get", MissingRule("get", "", "namespaces", "", "a")),
    ],
)
def test_the_rule_is_that_of_the_request_and_the_verb_that_of_the_refusal(
    method: str, target: str, verb: str, rule: MissingRule
) -> None:
    info = resolve(method.encode(), target.encode())
    assert missing_rule(info, refused(verb, PODS)) == rule


def test_a_path_that_is_no_resource() -> None:
    info = resolve(b"GET", b"/metrics?x=1")
    words = b'forbidden: User \\"al\\" cannot get path \\"/metrics\\"'
    assert missing_rule(info, words) == MissingRule("get", path="/metrics")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b'pods \\"x\\" is forbidden: exceeded quota: small',
        b'pods \\"x\\" is forbidden: violates PodSecurity \\"restricted:latest\\"',
        b"Access denied by the service behind the proxy subresource",
        b'users \\"al\\" is forbidden: User \\"sa\\" cannot impersonate resource \\"users\\"',
        b'is forbidden: user \\"al\\" (groups=[]) is attempting to grant RBAC permissions',
    ],
)
def test_a_403_that_is_not_rbacs_names_no_rule(body: bytes) -> None:
    assert missing_rule(resolve(b"GET", b"/api/v1/pods"), body) is None


def test_what_is_too_long_to_be_a_name_names_no_rule() -> None:
    info = resolve(b"GET", b"/api/v1/namespaces/a/pods/" + b"x" * (LONGEST + 1))
    assert missing_rule(info, refused("get", PODS)) is None


@pytest.mark.parametrize(
    ("rule", "kinds", "granted"),
    [
        (
            MissingRule("get", "apps", "deployments", "scale", "web", "shop"),
            ["Role", "RoleBinding"],
            {
                "verbs": ["get"],
                "apiGroups": ["apps"],
                "resources": ["deployments/scale"],
                "resourceNames": ["web"],
            },
        ),
        (
            MissingRule("create", "", "pods", name="web", namespace="shop"),
            ["Role", "RoleBinding"],  # a name is not known when something is created
            {"verbs": ["create"], "apiGroups": [""], "resources": ["pods"]},
        ),
        (
            MissingRule("list", "", "nodes"),
            ["ClusterRole", "ClusterRoleBinding"],
            {"verbs": ["list"], "apiGroups": [""], "resources": ["nodes"]},
        ),
        (
            MissingRule("get", path="/metrics"),
            ["ClusterRole", "ClusterRoleBinding"],
            {"verbs": ["get"], "nonResourceURLs": ["/metrics"]},
        ),
    ],
)
def test_what_is_pasted_grants_exactly_that_to_that_user(
    rule: MissingRule, kinds: list[str], granted: dict[str, list[str]]
) -> None:
    role, binding = yaml.safe_load_all(manifest(rule, "al@example.com"))
    assert [role["kind"], binding["kind"]] == kinds
    assert role["rules"] == [granted]
    assert binding["roleRef"]["name"] == role["metadata"]["name"]
    assert [subject["name"] for subject in binding["subjects"]] == ["al@example.com"]
    assert role["metadata"].get("namespace", "") == rule.namespace


HOSTILE = [
    'al"\nsubjects: [{kind: Group, name: system:masters}]',
    "true",
    "~",
    "1e3",
    "'; kubectl delete ns --all #",
    "{a: b}",
    "---",
    "al\u202egro.elpmaxe",
    "al\x7f\x85\u2028",
    "\U0001f984 al \\ &anchor *alias !tag",
    "$(reboot)`reboot`",
]


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_stays_one_name(name: str) -> None:
    for text in (manifest(MissingRule("list", "", "pods"), name), view_binding(name)):
        documents = list(yaml.safe_load_all(text))
        assert [s["name"] for s in documents[-1]["subjects"]] == [name]
        assert set(documents[-1]) == {"apiVersion", "kind", "metadata", "roleRef", "subjects"}
        assert all(char.isprintable() or char == "\n" for char in text)


def test_pasting_for_one_user_takes_nothing_from_another() -> None:
    rule = MissingRule("list", "", "pods")
    names = {
        yaml.safe_load(view_binding(user))["metadata"]["name"] for user in ("al", "bo", "cy")
    } | {
        next(iter(yaml.safe_load_all(manifest(rule, user))))["metadata"]["name"]
        for user in ("al", "bo", "cy")
    }
    assert len(names) == 6


def test_what_cannot_be_seen_is_shown_as_an_escape() -> None:
    assert shown("a\u202eb\x00\U000e0001é") == "a\\u202eb\\u0000\\U000e0001é"
