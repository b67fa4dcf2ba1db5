"""The proxy's audit log and the API server's own, of the same requests, event by event.

Both have the same policy, and an event of one stands against the event of the other that has its
audit ID and its stage. Who is a user here is the impersonated user there. What the API server has
from bodies and from its own work is left aside: the name of what is created, messages, annotations.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import ssl
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from proxy.rights import ALLOW_IMPERSONATION, Rule
from proxy.tools.audit.events import parse
from tests.real.cluster import Cluster
from tests.real.granting import proxy_with, role, user, user_token
from tests.serving import Serve

ALICE, BOB, MALLORY = (f"{name}@audit.example" for name in ("alice", "bob", "mallory"))
POLICY = """
apiVersion: audit.k8s.io/v1
kind: Policy
rules:
- level: None
  userGroups: ["system:authenticated"]
  nonResourceURLs: ["/healthz*"]
- level: None
  users: [alice@audit.example]
  verbs: [get]
  resources: [{group: "", resources: [configmaps], resourceNames: [unseen]}]
- level: Metadata
  resources: [{group: "", resources: [secrets]}]
  omitStages: [RequestReceived]
- level: Metadata
"""
IN_DEFAULT = "namespaces/default"
NS = f"/api/v1/{IN_DEFAULT}"
PODS = f"{NS}/pods"
APPS = "/apis/apps/v1/namespaces/default/deployments"
NAMED_BY_FIELD = f"{PODS}?fieldSelector=metadata.name%3Dweb"
MERGE = {"Content-Type": "application/merge-patch+json"}
CONFIGMAP = {"metadata": {"name": "made"}, "data": {"k": "v"}}
REVIEW = {
    "apiVersion": "authorization.k8s.io/v1",
    "kind": "SelfSubjectAccessReview",
    "spec": {"resourceAttributes": {"verb": "get", "resource": "pods"}},
}
UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Protocol": "v5.channel.k8s.io",
}

Case = tuple[str, str, str, Any, Mapping[str, str]]


def case(method: str, path: str, body: Any = None, who: str = ALICE, **headers: str) -> Case:
    return method, path, who, body, {name.replace("_", "-"): v for name, v in headers.items()}


CASES: dict[str, Case] = {
    "get of the core group": case("GET", f"{PODS}/web"),
    "list of the core group": case("GET", PODS),
    "list over all namespaces": case("GET", "/api/v1/pods?limit=5"),
    "list without a namespace": case("GET", "/api/v1/nodes"),
    "head": case("HEAD", f"{PODS}/web"),
    "a namespace itself": case("GET", NS),
    "a namespace's status": case("GET", f"{NS}/status"),
    "a named group": case("GET", APPS),
    "a sub-resource": case("GET", f"{APPS}/web/scale"),
    "status": case("PUT", f"{PODS}/web/status", {"metadata": {"name": "web"}}),
    "watch by query": case("GET", f"{PODS}?watch=1&timeoutSeconds=1"),
    "watch by old path": case("GET", f"/api/v1/watch/{IN_DEFAULT}/pods?timeoutSeconds=1"),
    "watch of one by path": case("GET", f"/api/v1/watch/{IN_DEFAULT}/pods/web?timeoutSeconds=1"),
    "watch=false": case("GET", f"{PODS}?watch=false"),
    "watch=0": case("GET", f"{PODS}?watch=0"),
    "list by name": case("GET", NAMED_BY_FIELD),
    "watch by name": case("GET", f"{NAMED_BY_FIELD}&watch=true&timeoutSeconds=1"),
    "list by another field": case("GET", f"{PODS}?fieldSelector=spec.nodeName%3Da"),
    "create": case("POST", f"{NS}/configmaps", CONFIGMAP),
    "create by dry run": case("POST", f"{NS}/configmaps?dryRun=All", CONFIGMAP),
    "update": case("PUT", f"{NS}/configmaps/made", CONFIGMAP),
    "patch": case("PATCH", f"{NS}/configmaps/made", {"data": {"k": "w"}}, **MERGE),
    "delete": case("DELETE", f"{NS}/configmaps/gone"),
    "deletecollection": case("DELETE", f"{NS}/configmaps?labelSelector=a%3Db"),
    "a secret": case("GET", f"{NS}/secrets/s"),
    "eviction": case("POST", f"{PODS}/web/eviction", {"metadata": {"name": "web"}}),
    "token request": case("POST", f"{NS}/serviceaccounts/a/token", {}),
    "exec": case("GET", f"{PODS}/web/exec?command=sh&command=-c&stdin=true", **UPGRADE),
    "exec by post": case("POST", f"{PODS}/web/exec?command=ls"),
    "attach": case("GET", f"{PODS}/web/attach?stdout=true", **UPGRADE),
    "port-forward": case("GET", f"{PODS}/web/portforward?ports=80", **UPGRADE),
    "log": case("GET", f"{PODS}/web/log?follow=true"),
    "nodes/proxy": case("GET", "/api/v1/nodes/n/proxy/metrics"),
    "nodes/proxy by old path": case("GET", "/api/v1/proxy/nodes/n/metrics"),
    "services/proxy": case("GET", f"{NS}/services/https:s:443/proxy/a/b%2Fc?x=1&y=2"),
    "services/proxy without a path": case("POST", f"{NS}/services/s/proxy", {}),
    "pods/proxy": case("DELETE", f"{PODS}/web:80/proxy/x"),
    "version": case("GET", "/version"),
    "discovery": case("GET", "/apis"),
    "discovery of a group": case("GET", "/apis/apps"),
    "discovery of a version": case("GET", "/apis/apps/v1"),
    "discovery of the core group": case("GET", "/api/v1"),
    "openapi": case("GET", "/openapi/v3"),
    "nothing there": case("GET", "/nothing/there?x=1"),
    "nothing there in a group": case("GET", "/apis/no.example/v1/things/a/b/c/d"),
    "a slash at the end": case("GET", f"{PODS}/"),
    "escapes in the path": case("GET", f"{PODS}/%77eb"),
    "an unknown verb": case("OPTIONS", PODS),
    "a review": case("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", REVIEW),
    "refused by RBAC": case("GET", f"{NS}/secrets", who=MALLORY),
    "a write refused by RBAC": case("DELETE", f"{PODS}/web", who=MALLORY),
    "watch refused by RBAC": case("GET", f"{PODS}?watch=1", who=MALLORY),
    "a long user agent": case("GET", f"{PODS}/web", User_Agent="a" * 1500),
    "impersonation": case("GET", f"{PODS}/web", Impersonate_User=BOB),
    "impersonation, watched": case("GET", f"{PODS}?watch=1&timeoutSeconds=1", Impersonate_User=BOB),
}  # fmt: skip
UNSEEN: dict[str, Case] = {
    "a path that the policy leaves out": case("GET", "/healthz/ping"),
    "a name that the policy leaves out": case("GET", f"{NS}/configmaps/unseen"),
}


@dataclass
class Logs:
    """What both logs say of each case, by the audit ID that its answer named, then by stage."""

    ids: dict[str, str]
    ours: dict[str, dict[str, dict[str, Any]]]
    theirs: dict[str, dict[str, dict[str, Any]]]


@pytest.fixture(scope="module")
def logs(assets: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Logs]:
    folder = tmp_path_factory.mktemp("audit")
    policy, log = folder / "policy.yaml", folder / "ours.log"
    policy.write_text(POLICY)
    flags = (f"--audit-policy-file={policy}", f"--audit-log-path={log}", "--allow-impersonation")
    impersonate = Rule(("impersonate",), ("",), ("users", "groups"))
    cluster_folder = tmp_path_factory.mktemp("audited")
    with Cluster.run(assets, cluster_folder, f"--audit-policy-file={policy}") as cluster:
        cluster.kubectl("create", "namespace", "audit")
        everything = (Rule(("*",), ("*",), ("*",)), impersonate)
        for name in ALICE, BOB:
            cluster.apply(role(name.partition("@")[0], *everything, subject=user(name)))
        granted = (impersonate, *ALLOW_IMPERSONATION)
        with proxy_with(cluster, "audit", folder, *granted, flags=flags) as serve:
            serve.wait_ready()
            ids = {name: ask(serve, *one) for name, one in (CASES | UNSEEN).items()}
        wanted = {ids[name] for name in CASES}
        cluster.wait_for_audit_event(
            lambda _: wanted <= {e["auditID"] for e in cluster.audit_events() if complete(e)}
        )
        yield Logs(
            ids,
            by_stage(map(json.loads, log.read_text().splitlines())),
            by_stage(cluster.audit_events()),
        )


def complete(event: dict[str, Any]) -> bool:
    return bool(event["stage"] == "ResponseComplete")


def by_stage(events: Any) -> dict[str, dict[str, dict[str, Any]]]:
    found: dict[str, dict[str, dict[str, Any]]] = defaultdict(dict)
    for event in events:
        assert event["stage"] not in found[event["auditID"]], "told twice"
        found[event["auditID"]][event["stage"]] = event
    return found


def ask(
    serve: Serve, method: str, path: str, who: str, body: Any, headers: Mapping[str, str]
) -> str:
    """Make a request and return its audit ID."""
    sent = {"Content-Type": "application/json", "User-Agent": "audited/1", **headers}
    sent |= {"Authorization": f"Bearer {user_token(who, 'team')}"}
    tls = ssl.create_default_context(cafile=str(serve.ca_file))
    connection = http.client.HTTPSConnection("127.0.0.1", serve.port, context=tls, timeout=30)
    with contextlib.closing(connection):
        connection.request(method, path, None if body is None else json.dumps(body), sent)
        with connection.getresponse() as answer:
            answer.read()
            (audit_id,) = answer.headers.get_all("Audit-Id", [])
            return str(audit_id)


@pytest.mark.parametrize("name", CASES)
def test_both_logs_say_the_same_of_a_request(logs: Logs, name: str) -> None:
    ours, theirs = logs.ours[logs.ids[name]], logs.theirs[logs.ids[name]]
    assert sorted(ours) == sorted(theirs)
    # What was received, the API server writes before it looks at impersonation.
    acting = theirs["ResponseComplete"]["impersonatedUser"]
    for stage in ours:
        expected = expected_of(theirs[stage], acting, impersonates="impersonation" in name)
        assert comparable(ours[stage]) == expected, stage
    received = {event["requestReceivedTimestamp"] for event in ours.values()}
    assert len(received) == 1
    for log in ours, theirs:  # it was received when it came, though it is told later
        if (event := log.get("RequestReceived")) is not None:
            assert event["stageTimestamp"] == event["requestReceivedTimestamp"]


@pytest.mark.parametrize("name", CASES)
def test_what_rbac_refuses_is_said_to_be_of_rbac_in_both_logs(logs: Logs, name: str) -> None:
    ours, theirs = (parse(line_of(log[logs.ids[name]])) for log in (logs.ours, logs.theirs))
    assert ours.denied_by == theirs.denied_by
    refused = "refused by RBAC" in name or name == "nothing there"  # alice may ask for no such path
    assert (theirs.denied_by == "RBAC") == refused


def line_of(stages: Mapping[str, Any]) -> bytes:
    return json.dumps(stages["ResponseComplete"]).encode()


def comparable(event: dict[str, Any]) -> dict[str, Any]:
    """An event less its times and what goes with its answer, but for the code."""
    left = {"requestReceivedTimestamp", "stageTimestamp", "annotations", "responseStatus"}
    kept = {key: value for key, value in event.items() if key not in left}
    return kept | {"code": event.get("responseStatus", {}).get("code")}


def expected_of(
    event: dict[str, Any], acting: dict[str, Any], *, impersonates: bool
) -> dict[str, Any]:
    """The API server's event as this proxy should write it; who it is by its own account."""
    expected = comparable(event)
    for unknown in ("authenticationMetadata", "impersonatedUser"):
        expected.pop(unknown, None)
    for from_the_body in ("uid", "resourceVersion"):
        expected.get("objectRef", {}).pop(from_the_body, None)
    if event["verb"] == "create" and expected["objectRef"].get("name") == "made":
        del expected["objectRef"]["name"]
    if not impersonates:
        return expected | {"user": acting}
    alice = {"username": ALICE, "groups": ["team", "system:authenticated"]}
    return expected | {"user": alice, "impersonatedUser": acting}


@pytest.mark.parametrize("name", UNSEEN)
def test_neither_log_has_what_the_policy_leaves_out(logs: Logs, name: str) -> None:
    assert logs.ids[name] not in logs.ours
