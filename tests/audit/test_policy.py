"""Which rule matches which request: kube-apiserver's table (audit/policy/checker.go), in ours."""

from __future__ import annotations

import pytest

from proxy.audit.policy import NO_STAGES, STAGES, GroupResources, Policy, Rule
from proxy.requestinfo import RequestInfo, resolve

POD = resolve(b"GET", b"/api/v1/namespaces/default/pods/web")
LOG = resolve(b"GET", b"/api/v1/namespaces/default/pods/web/log")
PODS = resolve(b"GET", b"/api/v1/pods")
NODE = resolve(b"DELETE", b"/api/v1/nodes/n")
SCALE = resolve(b"PATCH", b"/apis/apps/v1/namespaces/prod/deployments/d/scale")
LOGS = resolve(b"GET", b"/logs/subdir/a")
ALL = frozenset(STAGES)


def of(group: str = "", *resources: str, names: tuple[str, ...] = ()) -> tuple[GroupResources, ...]:
    return (GroupResources(group, resources, frozenset(names)),)


def some(*names: str) -> frozenset[str]:
    return frozenset(names)


@pytest.mark.parametrize(
    ("rule", "info", "matches"),
    [
        (Rule(ALL), POD, True),
        (Rule(ALL), LOGS, True),
        (Rule(ALL, users=some("tim")), POD, True),
        (Rule(ALL, users=some("tom")), POD, False),
        (Rule(ALL, user_groups=some("humans", "x")), POD, True),
        (Rule(ALL, user_groups=some("robots")), POD, False),
        (Rule(ALL, users=some("tim"), user_groups=some("robots")), POD, False),
        (Rule(ALL, verbs=some("get")), POD, True),
        (Rule(ALL, verbs=some("list", "watch")), POD, False),
        (Rule(ALL, verbs=some("list")), PODS, True),
        (Rule(ALL, namespaces=some("default")), POD, True),
        (Rule(ALL, namespaces=some("prod")), POD, False),
        (Rule(ALL, namespaces=some("")), NODE, True),
        (Rule(ALL, namespaces=some("")), LOGS, False),
        (Rule(ALL, resources=of()), POD, True),
        (Rule(ALL, resources=of("apps")), POD, False),
        (Rule(ALL, resources=of("apps")), SCALE, True),
        (Rule(ALL, resources=of("*", "pods")), POD, True),
        (Rule(ALL, resources=of("*", "deployments/scale")), SCALE, True),
        (Rule(ALL, resources=of("", "pods")), POD, True),
        (Rule(ALL, resources=of("", "pods")), LOG, False),
        (Rule(ALL, resources=of("", "pods/log")), LOG, True),
        (Rule(ALL, resources=of("", "pods/log")), POD, False),
        (Rule(ALL, resources=of("", "pods/*")), LOG, True),
        (Rule(ALL, resources=of("", "pods/*")), POD, True),  # as there, whatever the docs say
        (Rule(ALL, resources=of("", "*/log")), LOG, True),
        (Rule(ALL, resources=of("", "*/log")), POD, False),
        (Rule(ALL, resources=of("", "*")), LOG, True),
        (Rule(ALL, resources=of("", "*")), SCALE, False),
        (Rule(ALL, resources=of("", "pods", names=("web",))), POD, True),
        (Rule(ALL, resources=of("", "pods", names=("db",))), POD, False),
        (Rule(ALL, resources=of("", "pods", names=("web",))), PODS, False),
        (Rule(ALL, resources=of("", "pods", names=("",))), PODS, True),
        (Rule(ALL, resources=of("", "pods")), LOGS, False),
        (Rule(ALL, resources=(*of("apps"), *of("", "pods"))), POD, True),
        (Rule(ALL, resources=of("", "pods"), namespaces=some("prod")), POD, False),
        (Rule(ALL, non_resource_urls=("/logs*",)), LOGS, True),
        (Rule(ALL, non_resource_urls=("/logs/*",)), LOGS, True),
        (Rule(ALL, non_resource_urls=("*",)), LOGS, True),
        (Rule(ALL, non_resource_urls=("/logs",)), LOGS, False),
        (Rule(ALL, non_resource_urls=("/metrics", "/logs/subdir/a")), LOGS, True),
        (Rule(ALL, non_resource_urls=("*",)), POD, False),
    ],
)  # fmt: skip
def test_a_rule_matches_as_in_kube_apiserver(rule: Rule, info: RequestInfo, matches: bool) -> None:
    found = Policy([rule]).stages("tim", ("humans", "system:authenticated"), info)
    assert found == (ALL if matches else NO_STAGES)


def test_whom_nobody_knows_is_matched_by_no_rule_about_people() -> None:
    for rule in Rule(ALL, users=some("tim")), Rule(ALL, user_groups=some("humans")):
        assert Policy([rule]).stages(None, (), POD) == NO_STAGES
    assert Policy([Rule(ALL)]).stages(None, (), POD) == ALL


def test_the_first_rule_that_matches_counts() -> None:
    complete = Rule(frozenset({"ResponseComplete"}), verbs=some("get"))
    policy = Policy([Rule(NO_STAGES, users=some("tom")), complete, Rule(ALL)])
    assert policy.stages("tim", (), POD) == {"ResponseComplete"}
    assert policy.stages("tom", (), POD) == NO_STAGES
    assert policy.stages("tim", (), NODE) == ALL
