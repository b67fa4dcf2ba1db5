"""Injection by admission policy on a real kube-apiserver: what it makes, and what it refuses."""

from __future__ import annotations

import json

import pytest

from tests.deploy.helm import CHART, OVERLAY, Helm, Object
from tests.deploy.installing import NAMED, SECRET, create_pod, headlamp_pod, installed, stock_pod
from tests.deploy.pods import parts, pod
from tests.deploy.test_chart import STANDALONE
from tests.deploy.test_records import EVERYTHING
from tests.real.cluster import Cluster


def test_the_policy_injects_the_pod_that_the_values_file_makes(
    helm: Helm, cluster: Cluster, restricted: str
) -> None:
    stock = stock_pod(helm)
    overlay = headlamp_pod(helm, "--values", OVERLAY)
    cluster.kubectl("-n", restricted, "create", "serviceaccount", "headlamp")
    label = {"headlamp-auth-proxy/inject": "true"}
    by_hand = json.loads(create_pod(cluster, restricted, overlay, {}).stdout)["spec"]
    injection = "--set=injection.enabled=true"
    with installed(helm, cluster, "proxy", CHART, restricted, SECRET, NAMED, injection):
        spec = _injected(cluster, restricted, stock, label)
        untouched = json.loads(create_pod(cluster, restricted, stock, {}).stdout)["spec"]
    assert parts(spec) == parts(by_hand)
    assert spec["enableServiceLinks"] is False
    assert spec["terminationGracePeriodSeconds"] == 45
    assert "initContainers" not in untouched


@pytest.mark.parametrize("own_group", [None, 101])
def test_the_policy_injects_the_audit_and_recordings_of_the_standalone_proxy(
    helm4: Helm, cluster: Cluster, restricted: str, own_group: int | None
) -> None:
    cluster.kubectl("-n", restricted, "create", "serviceaccount", "headlamp")
    values = (*EVERYTHING, SECRET, NAMED, "--set=fullnameOverride=proxy")
    alone = pod(helm4.template(CHART, STANDALONE, *values)) | {"serviceAccountName": "headlamp"}
    stock = stock_pod(helm4)
    if own_group is not None:
        stock["securityContext"] = {"fsGroup": own_group}
    label = {"headlamp-auth-proxy/inject": "true"}
    injection = "--set=injection.enabled=true"
    with installed(helm4, cluster, "proxy", CHART, restricted, *values, injection):
        spec = _injected(cluster, restricted, stock, label)
        wanted = json.loads(create_pod(cluster, restricted, alone, {}).stdout)["spec"]
    assert _records(spec["initContainers"][0], spec) == _records(wanted["containers"][0], wanted)
    context = {"fsGroup": own_group} if own_group else wanted["securityContext"]
    assert spec["securityContext"] == context


def _records(container: Object, spec: Object) -> dict[str, list[Object]]:
    """What of a pod is the audit's and the recordings'; everything of it is known by its name."""
    words = ("audit", "record")
    return {
        "args": [a for a in container["args"] if any(word in a for word in words)],
        "env": container["env"],
        "mounts": [
            m for m in container["volumeMounts"] if any(word in m["name"] for word in words)
        ],
        "volumes": [v for v in spec["volumes"] if any(word in v["name"] for word in words)],
    }


def _injected(cluster: Cluster, namespace: str, spec: Object, labels: dict[str, str]) -> Object:
    """Create a pod once the API server has taken up the policies, which takes it a moment."""
    said = ""
    for _ in range(100):
        run = create_pod(cluster, namespace, spec, labels, check=False)
        said = run.stderr
        made: Object = json.loads(run.stdout)["spec"] if run.returncode == 0 else {}
        if "initContainers" in made:
            return made
    raise AssertionError(f"the policy never injected: {said}")


def test_a_pod_that_cannot_be_injected_is_refused_in_words(
    helm: Helm, cluster: Cluster, restricted: str
) -> None:
    stock = stock_pod(helm)
    stock["containers"][0]["name"] = "other"
    cluster.kubectl("-n", restricted, "create", "serviceaccount", "headlamp")
    label = {"headlamp-auth-proxy/inject": "true"}
    values = (SECRET, NAMED, "--set=injection.enabled=true")
    with installed(helm, cluster, "proxy", CHART, restricted, *values):
        said = ""
        for _ in range(100):  # until the API server has taken up the policy
            said = create_pod(cluster, restricted, stock, label, check=False).stderr
            if said:
                break
    assert "no container of this pod is called headlamp (set injection.container" in said


TOKEN_VOLUME = {
    "name": "mine",
    "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]},
}

CLOUD_VOLUME = {
    "name": "mine",
    "projected": {
        "sources": [{"serviceAccountToken": {"path": "token", "audience": "sts.example.com"}}]
    },
}

STRANGER: Object = {
    "name": "stranger",
    "image": "x",
    "volumeMounts": [{"name": "mine", "mountPath": "/tokens"}],
}

PROXY_OF_OTHERS: Object = {"name": "auth-proxy", "image": "x"}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"containers": [STRANGER], "volumes": [TOKEN_VOLUME]}, "a container mounts a token"),
        ({"initContainers": [STRANGER], "volumes": [TOKEN_VOLUME]}, "a container mounts a token"),
        ({"containers": [STRANGER], "volumes": [CLOUD_VOLUME]}, ""),
        ({"initContainers": [PROXY_OF_OTHERS]}, "another one is called auth-proxy"),
        ({"shareProcessNamespace": True}, "see into the proxy"),
    ],
)
def test_the_policy_refuses_what_would_get_at_the_proxys_token(
    helm4: Helm, cluster: Cluster, namespace: str, change: Object, words: str
) -> None:
    cluster.kubectl("-n", namespace, "create", "serviceaccount", "headlamp")
    label = {"headlamp-auth-proxy/inject": "true"}
    stock = stock_pod(helm4)
    changed: Object = {
        key: [*stock.get(key, []), *value] if isinstance(value, list) else value
        for key, value in change.items()
    }
    values = (SECRET, NAMED, "--set=injection.enabled=true")
    with installed(helm4, cluster, "proxy", CHART, namespace, *values):
        spec = _injected(cluster, namespace, stock, label)
        _until_refused(cluster, namespace, label)
        run = create_pod(cluster, namespace, stock | changed, label, check=False)
    assert spec["initContainers"][0]["name"] == "auth-proxy"
    assert words in run.stderr
    assert (run.returncode == 0) == (words == "")


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"targetContainerName": "auth-proxy"}, "an ephemeral container would get at"),
        (
            {"volumeMounts": [{"name": "auth-proxy-account", "mountPath": "/t"}]},
            "an ephemeral container would get at",
        ),
        ({"targetContainerName": "headlamp"}, ""),
    ],
)
def test_the_policy_refuses_a_debugging_container_that_would(
    helm4: Helm, cluster: Cluster, namespace: str, more: Object, words: str
) -> None:
    cluster.kubectl("-n", namespace, "create", "serviceaccount", "headlamp")
    label = {"headlamp-auth-proxy/inject": "true"}
    values = (SECRET, NAMED, "--set=injection.enabled=true")
    with installed(helm4, cluster, "proxy", CHART, namespace, *values):
        _until_refused(cluster, namespace, label)
        made = json.loads(create_pod(cluster, namespace, stock_pod(helm4), label).stdout)
        made["spec"]["ephemeralContainers"] = [{"name": "debug", "image": "x", **more}]
        path = f"/api/v1/namespaces/{namespace}/pods/{made['metadata']['name']}/ephemeralcontainers"
        arguments = ("replace", "--filename=-", f"--raw={path}")
        run = cluster.kubectl(*arguments, stdin=json.dumps(made), check=False)
    assert words in run.stderr
    assert (run.returncode == 0) == (words == "")


def _until_refused(cluster: Cluster, namespace: str, labels: dict[str, str]) -> None:
    """Return once the API server has taken up the second policy too, which takes it a moment."""
    nothing: Object = {"containers": [{"name": "other", "image": "x"}]}
    for _ in range(100):
        if create_pod(cluster, namespace, nothing, labels, check=False).returncode:
            return
    raise AssertionError("the policy never refused")
