"""The rights of the proxy's account, in each mode, and the command that prints them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import yaml

from proxy.cli import main
from proxy.reviews.privileges import CANARY
from proxy.rights import TOKEN_FACTS
from proxy.tools.deploy.rbac import Mode, Rights, account_manifests, people_manifests, rules

OWN = "headlamp-auth-proxy:authenticated"
RIGHTS = Rights(
    mode=Mode.NAMED,
    users=("alice@example.com",),
    groups=("k8s-admins",),
    own_group=OWN,
    namespace="headlamp",
    account="proxy",
)


def allowed(mode: Mode, *, read_only: bool = False) -> list[dict[str, Any]]:
    return rules(replace(RIGHTS, mode=mode, read_only=read_only))


def test_named_lets_nobody_be_impersonated_but_these() -> None:
    users, groups = allowed(Mode.NAMED)
    assert users["resourceNames"] == [CANARY, "alice@example.com"]
    assert groups["resourceNames"] == [OWN, "k8s-admins"]
    assert {v for rule in (users, groups) for v in rule["verbs"]} == {"impersonate"}


def test_constrained_never_holds_the_verb_that_knows_no_cap() -> None:
    verbs = {verb for rule in allowed(Mode.CONSTRAINED) for verb in rule["verbs"]}
    assert "impersonate" not in verbs
    assert all(v.startswith(("impersonate:user-info", "impersonate-on:user-info:")) for v in verbs)


def test_reading_only_leaves_no_way_to_write_or_to_open_a_shell() -> None:
    capped = allowed(Mode.CONSTRAINED, read_only=True)
    for rule in capped:
        writes = [v for v in rule["verbs"] if v.rpartition(":")[2] not in {"get", "list", "watch"}]
        writes = [v for v in writes if v != "impersonate:user-info"]
        if writes:
            assert all(name.startswith("selfsubject") for name in rule["resources"])
        if "" in rule.get("apiGroups", ()):
            assert "*" not in rule["resources"]
            assert not {"pods/exec", "pods/attach", "pods/portforward"} & set(rule["resources"])
            assert not [name for name in rule["resources"] if name.endswith("/proxy")]
            assert "secrets" not in rule["resources"]


def test_constrained_names_the_canary_where_it_names_anybody() -> None:
    assert allowed(Mode.CONSTRAINED)[0]["resourceNames"] == [CANARY, "alice@example.com"]
    assert "resourceNames" not in rules(replace(RIGHTS, mode=Mode.CONSTRAINED, users=()))[0]


def test_wide_names_nobody() -> None:
    (rule,) = allowed(Mode.WIDE)
    assert "resourceNames" not in rule


@pytest.mark.parametrize("mode", Mode)
def test_nothing_but_impersonation_is_granted(mode: Mode) -> None:
    assert all(verb.startswith("impersonate") for rule in allowed(mode) for verb in rule["verbs"])


def test_the_account_is_bound_and_the_people_get_their_role() -> None:
    role, binding = account_manifests(RIGHTS)
    assert binding["roleRef"]["name"] == role["metadata"]["name"]
    assert binding["subjects"] == [
        {"kind": "ServiceAccount", "name": "proxy", "namespace": "headlamp"}
    ]
    (people,) = people_manifests(replace(RIGHTS, role="edit"))
    assert people["roleRef"]["name"] == "edit"
    assert [(s["kind"], s["name"]) for s in people["subjects"]] == [
        ("User", "alice@example.com"),
        ("Group", "k8s-admins"),
    ]
    assert people_manifests(replace(RIGHTS, users=(), groups=())) == []


def test_the_command_prints_what_can_be_applied(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--mode=named", "--user", "tsidp:alice@example.com", "--group=k8s-admins"]
    assert main(["rbac", *arguments, "--authenticated-group=ours"]) == 0
    captured = capsys.readouterr()
    role, binding, people = yaml.safe_load_all(captured.out)
    assert role["rules"][1]["resourceNames"] == ["ours", "k8s-admins"]
    assert [d["kind"] for d in (binding, people)] == ["ClusterRoleBinding"] * 2
    assert captured.err == ""


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--mode=wide"], "can become anybody"),
        (["--mode=constrained"], "no --user"),
        (["--mode=named", "--user=alice@example.com"], "on GKE"),
        (["--mode=named", "--user=tsidp:alice", "--role=edit"], "exec into the proxy's pod"),
    ],
)
def test_what_is_dangerous_is_said(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["rbac", *arguments]) == 0
    captured = capsys.readouterr()
    assert words in captured.err
    assert words in captured.out.partition("---")[0]  # for whoever reads the file later


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "--mode '': choose one of constrained, named, wide"),
        (["--mode=named"], "--user: name at least one"),
        (["--mode=wide", "--read-only"], "only the constrained mode"),
        (["--mode=wide", "--user=system:admin"], "never asserts it"),
        (["--mode=wide", "--group=system:masters"], "reserved"),
        (["--mode=wide", "--user=a\nb@example.com"], "control character"),
        (["--mode=wide", "--user="], "is empty"),
        (["--mode=wide", "--group= admins"], "blank"),
        (["--mode=wide", "--service-account=a/b/c"], "NAMESPACE/NAME"),
        (["--mode=wide", "--service-account=headlamp"], "NAMESPACE/NAME"),
        (["--mode=wide", "more"], "'more': unexpected argument"),
    ],
)
def test_wrong_use_says_what_is_wrong(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["rbac", *arguments]) == 2
    captured = capsys.readouterr()
    assert words in captured.err
    assert captured.out == ""


NAMES = ("a: b", "- x", "yes", "1e3", "{{x}}", "'\"", "*", "&a", "#no", "~", "ü@example.com", "!t")


def test_names_are_what_they_are_whatever_yaml_makes_of_them(
    capsys: pytest.CaptureFixture[str],
) -> None:
    flags = [flag for name in NAMES for flag in ("--user", name, "--group", name)]
    assert main(["rbac", "--mode=named", *flags]) == 0
    role, _, people = yaml.safe_load_all(capsys.readouterr().out)
    assert role["rules"][0]["resourceNames"] == [CANARY, *NAMES]
    assert role["rules"][1]["resourceNames"] == [OWN, *NAMES]
    assert [s["name"] for s in people["subjects"]] == [*NAMES, *NAMES]


def test_a_reserved_group_is_granted_where_the_proxy_lets_it_pass() -> None:
    arguments = ["--mode=wide", "--group=system:monitoring"]
    assert main(["rbac", *arguments]) == 2
    assert main(["rbac", *arguments, "--allow-reserved-group=system:monitoring"]) == 0


def test_without_a_role_the_people_are_bound_by_somebody_else(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["rbac", "--mode=named", "--user=tsidp:alice", "--role="]) == 0
    assert len(list(yaml.safe_load_all(capsys.readouterr().out))) == 2


@pytest.mark.parametrize("mode", ["named", "constrained", "wide"])
def test_a_setting_that_needs_a_right_of_its_own_gets_it_and_only_then(
    mode: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def granted(*flags: str) -> set[tuple[str, str]]:
        assert main(["rbac", f"--mode={mode}", "--user=tsidp:alice", *flags]) == 0
        role = next(yaml.safe_load_all(capsys.readouterr().out))
        return {
            (verb, resource)
            for rule in role["rules"]
            for verb in rule["verbs"]
            for resource in rule.get("resources", ())
        }

    become = "impersonate:user-info" if mode == "constrained" else "impersonate"
    original = "userextras/headlamp-auth-proxy.dev/original-user"
    credential = "userextras/authentication.kubernetes.io/credential-id"
    usual = granted()
    assert granted("--token-passthrough") - usual == {("create", "tokenreviews")}
    assert granted("--allow-impersonation") - usual == {
        ("create", "subjectaccessreviews"),
        (become, original),
    }
    assert granted("--send-credential-id") - usual == {(become, credential)}
    assert granted("--send-token-facts") - usual == {
        (become, f"userextras/{key}") for key in TOKEN_FACTS
    }
