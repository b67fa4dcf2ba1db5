"""What keeps the proxy out of a pod, and what is only warned of."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.tools.deploy.findings import obstacles, remarks
from proxy.tools.deploy.sidecar import ACCOUNT, KEYS, SERVICE_ACCOUNT, Sidecar
from proxy.tools.deploy.workload import inject

BINDING = {
    "kind": "ClusterRoleBinding",
    "metadata": {"name": "headlamp-admin"},
    "roleRef": {"name": "cluster-admin"},
    "subjects": [{"kind": "ServiceAccount", "name": "headlamp"}],
}


@pytest.mark.parametrize(
    ("spec", "container", "others", "words"),
    [
        ({}, {"args": ["-unsafe-use-service-account-token"]}, [], "drops its users' tokens"),
        ({}, {"args": ["-base-url=/ui"]}, [], "never refreshes"),
        ({"hostNetwork": True}, {}, [], "the node's network"),
        ({"serviceAccountName": "headlamp"}, {}, [BINDING], "headlamp-admin"),
    ],
)
def test_what_would_defeat_the_purpose_is_said(
    spec: dict[str, Any], container: dict[str, Any], others: list[Any], words: str
) -> None:
    (remark,) = remarks(others, spec, container)
    assert words in remark


def test_nothing_is_said_of_what_does_no_harm() -> None:
    spec = {"serviceAccountName": "headlamp"}
    view = BINDING | {"roleRef": {"name": "view"}}
    other = BINDING | {"subjects": [{"kind": "ServiceAccount", "name": "other"}]}
    assert remarks([view, other], spec, {"args": ["-in-cluster", "-base-url="]}) == []


def projected(*sources: Any) -> dict[str, Any]:
    return {"name": "v", "projected": {"sources": list(sources)}}


TOKEN = projected({"configMap": {"name": "c"}}, {"serviceAccountToken": {"path": "token"}})
ELSEWHERE = projected({"serviceAccountToken": {"path": "t", "audience": "sts.amazonaws.com"}})


def pod(volume: dict[str, Any], mount: str, path: str, kind: str = "containers") -> dict[str, Any]:
    other = {"name": "other", "volumeMounts": [{"name": mount, "mountPath": path}]}
    spec: dict[str, Any] = {"containers": [{"name": "headlamp"}], "volumes": [volume]}
    spec.setdefault(kind, []).append(other)
    return spec


@pytest.mark.parametrize("kind", ["containers", "initContainers", "ephemeralContainers"])
@pytest.mark.parametrize(
    ("volume", "mount"), [(TOKEN, "v"), (ELSEWHERE, ACCOUNT), (ELSEWHERE, KEYS)]
)
def test_a_pod_that_would_hand_the_token_to_another_container_is_refused(
    volume: dict[str, Any], mount: str, kind: str
) -> None:
    spec = pod(volume, mount, "/tokens", kind)
    (found,) = obstacles(spec, spec["containers"][0])
    assert f"the container other mounts the volume {mount}" in found


def test_headlamp_itself_may_not_hold_it_either() -> None:
    spec = pod(TOKEN, "v", "/tokens")
    assert len(obstacles(spec, spec["containers"][1])) == 1


@pytest.mark.parametrize("key", ["shareProcessNamespace", "hostPID"])
def test_containers_that_see_each_others_processes_are_refused(key: str) -> None:
    (found,) = obstacles({"containers": [], key: True}, {})
    assert key in found


@pytest.mark.parametrize(
    ("volume", "path"),
    [
        (ELSEWHERE, "/var/run/secrets/eks.amazonaws.com/serviceaccount"),
        (TOKEN, SERVICE_ACCOUNT),  # where the admission plugin puts it, and inject takes it away
        (projected("text"), "/x"),
    ],
)
def test_what_is_no_token_for_the_api_server_is_no_obstacle(
    volume: dict[str, Any], path: str
) -> None:
    spec = pod(volume, "v", path)
    assert obstacles(spec, spec["containers"][0]) == []


def test_what_was_injected_may_be_injected_again() -> None:
    spec: dict[str, Any] = {"containers": [{"name": "headlamp"}]}
    inject(spec, spec["containers"][0], Sidecar(image="proxy:1"))
    assert obstacles(spec, spec["containers"][0]) == []
