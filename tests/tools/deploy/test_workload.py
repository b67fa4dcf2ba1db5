"""What is added to Headlamp's pod, and what is not touched."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from proxy.tools.deploy.sidecar import ACCOUNT, KEYS, NAME, PREPARE, SERVICE_ACCOUNT, TRUST, Sidecar
from proxy.tools.deploy.workload import (
    UnfitError,
    headlamp_container,
    inject,
    objects,
    pod_spec,
)

SIDECAR = Sidecar(image="proxy:1", flags=("--oidc-client-id=c",))


def pod(**spec: Any) -> dict[str, Any]:
    return {"containers": [{"name": "headlamp", "image": "ghcr.io/x/headlamp:v1"}]} | spec


def injected(spec: dict[str, Any], sidecar: Sidecar = SIDECAR) -> dict[str, Any]:
    container = headlamp_container(spec)
    assert container is not None
    inject(spec, container, sidecar)
    return spec


def mounts(container: dict[str, Any]) -> dict[str, str]:
    return {m["mountPath"]: m["name"] for m in container.get("volumeMounts", [])}


def test_headlamp_finds_the_proxy_where_it_looks_for_the_api_server() -> None:
    (container,) = injected(pod())["containers"]
    assert {e["name"]: e["value"] for e in container["env"]} == {
        "KUBERNETES_SERVICE_HOST": "127.0.0.1",
        "KUBERNETES_SERVICE_PORT": "6443",
    }
    assert mounts(container) == {SERVICE_ACCOUNT: TRUST}


def test_the_proxy_is_there_before_anything_else_starts() -> None:
    spec = injected(pod(initContainers=[{"name": "plugins"}]))
    assert [c["name"] for c in spec["initContainers"]] == [NAME, "plugins"]
    assert spec["initContainers"][0]["restartPolicy"] == "Always"
    assert spec["initContainers"][0]["startupProbe"]["httpGet"]["path"] == "/livez"


@pytest.mark.parametrize("native", [True, False])
def test_the_token_and_the_keys_are_mounted_into_the_proxy_only(native: bool) -> None:
    spec = injected(pod(), Sidecar(image="proxy:1", native=native))
    ours = {NAME, PREPARE}
    for container in [*spec["containers"], *spec["initContainers"]]:
        secret = {KEYS, ACCOUNT} & set(mounts(container).values())
        assert secret == ({KEYS, ACCOUNT} if container["name"] in ours else set())
    assert spec["automountServiceAccountToken"] is False


def test_without_native_sidecars_an_init_container_writes_the_files() -> None:
    spec = injected(pod(), Sidecar(image="proxy:1", flags=("--x=y",), native=False))
    (files,) = spec["initContainers"]
    assert (files["name"], files["args"][0]) == (PREPARE, "prepare")
    assert "restartPolicy" not in files
    headlamp, proxy = spec["containers"]
    assert (headlamp["name"], proxy["name"]) == ("headlamp", NAME)
    assert files["args"][1:] == proxy["args"][1:]  # they must agree on where the files are


def test_the_flags_follow_serve() -> None:
    assert injected(pod())["initContainers"][0]["args"][0] == "serve"
    assert injected(pod())["initContainers"][0]["args"][-1] == "--oidc-client-id=c"


def test_a_second_time_changes_nothing() -> None:
    once = injected(pod())
    twice = injected(copy.deepcopy(once))
    assert twice == once


def test_another_sidecar_takes_the_place_of_the_one_before() -> None:
    spec = injected(pod(), Sidecar(image="proxy:1", native=False))
    injected(spec, Sidecar(image="proxy:2"))
    assert [c["name"] for c in spec["initContainers"]] == [NAME]
    assert [c["name"] for c in spec["containers"]] == ["headlamp"]
    assert spec["initContainers"][0]["image"] == "proxy:2"


def test_what_stood_in_the_same_place_is_replaced_and_the_rest_stays() -> None:
    container: dict[str, Any] = {
        "name": "headlamp",
        "env": [{"name": "KUBERNETES_SERVICE_HOST", "value": "other"}, {"name": "A", "value": "1"}],
        "volumeMounts": [
            {"name": "kube-api-access", "mountPath": SERVICE_ACCOUNT},
            {"name": "plugins", "mountPath": "/plugins"},
        ],
    }
    injected({"containers": [container]})
    assert {"name": "A", "value": "1"} in container["env"]
    assert [e["name"] for e in container["env"]].count("KUBERNETES_SERVICE_HOST") == 1
    assert mounts(container) == {SERVICE_ACCOUNT: TRUST, "/plugins": "plugins"}


@pytest.mark.parametrize(("given", "wanted"), [(None, 45), (10, 45), (300, 300)])
def test_the_pod_has_longer_to_end_than_the_proxy(given: int | None, wanted: int) -> None:
    spec = pod() if given is None else pod(terminationGracePeriodSeconds=given)
    assert injected(spec)["terminationGracePeriodSeconds"] == wanted


@pytest.mark.parametrize(
    ("containers", "name", "found"),
    [
        ([{"name": "headlamp", "image": "x"}], None, "headlamp"),
        ([{"name": "ui", "image": "ghcr.io/headlamp-k8s/headlamp@sha256:00"}], None, "ui"),
        ([{"name": "ui", "image": "localhost:5000/headlamp:v1"}], None, "ui"),
        ([{"name": "ui", "image": "ghcr.io/headlamp-k8s/other"}], None, None),
        ([{"name": "ui", "image": "mine"}], "ui", "ui"),
        ([{"name": "ui", "image": "x/headlamp"}], "other", None),
        (
            [{"name": "headlamp", "image": "x"}, {"name": "b", "image": "headlamp"}],
            None,
            "headlamp",
        ),
    ],
)
def test_headlamp_is_known_by_name_or_image(
    containers: list[dict[str, str]], name: str | None, found: str | None
) -> None:
    container = headlamp_container({"containers": containers}, name)
    assert (container["name"] if container else None) == found


def test_two_containers_that_could_be_headlamp_are_not_guessed_between() -> None:
    containers = [{"name": n, "image": "x/headlamp"} for n in "ab"]
    with pytest.raises(UnfitError, match="a, b"):
        headlamp_container({"containers": containers})


@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet", "DaemonSet", "ReplicaSet"])
def test_the_pods_of_a_workload_are_found(kind: str) -> None:
    assert pod_spec({"kind": kind, "spec": {"template": {"spec": {"a": 1}}}}) == {"a": 1}


def test_a_pod_is_its_own_workload_and_anything_else_is_none() -> None:
    assert pod_spec({"kind": "Pod", "spec": {"a": 1}}) == {"a": 1}
    for item in (
        {"kind": "Job", "spec": {}},
        {"kind": "Deployment"},
        {"kind": "Pod", "spec": None},
    ):
        assert pod_spec(item) is None


def test_lists_are_looked_into() -> None:
    inner = {"kind": "List", "items": [{"kind": "Pod"}]}
    assert list(objects({"kind": "List", "items": [inner, {"kind": "Service"}]})) == [
        {"kind": "Pod"},
        {"kind": "Service"},
    ]
    assert list(objects(None)) == list(objects(["kind"])) == []


def test_no_other_container_keeps_a_mount_where_tokens_are() -> None:
    automatic = {"name": "kube-api-access-abcde", "mountPath": SERVICE_ACCOUNT}
    data = {"name": "data", "mountPath": "/data"}
    spec = injected(
        pod(initContainers=[{"name": "plugins", "volumeMounts": [automatic, data, automatic]}])
    )
    assert spec["initContainers"][1]["volumeMounts"] == [data]


@pytest.mark.parametrize("key", ["initContainers", "volumes"])
def test_what_is_not_a_list_is_not_overwritten(key: str) -> None:
    with pytest.raises(UnfitError, match=f"{key} is not a list"):
        injected(pod(**{key: "text"}))


@pytest.mark.parametrize(
    "item",
    [
        {"kind": "List", "items": 5},
        {"kind": ["List"]},
        {"kind": "Pod", "spec": {"containers": 5}},
        {"kind": "Deployment", "spec": {"template": []}},
    ],
)
def test_what_is_no_manifest_has_no_workload(item: dict[str, Any]) -> None:
    for found in objects(item):
        spec = pod_spec(found)
        assert spec is None or headlamp_container(spec) is None
