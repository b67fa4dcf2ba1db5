"""Trust 4, the side of Headlamp: a running proxy, its directory, and Headlamp's pod.

The proxy is the program itself, before the real API server. Headlamp's Deployment is one that
``inject`` would make, on the real API server, with one thing wrong; no pod of it runs.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import trustme

from proxy.tools.deploy.sidecar import SERVICE_ACCOUNT, Sidecar
from proxy.tools.deploy.workload import inject
from tests.process import free_port
from tests.real import fronts
from tests.real.cluster import Cluster
from tests.real.doctoring import Object, Scene, hold, scene_of
from tests.serving import Serve, issuer_in_thread


@pytest.fixture
def scene(cluster: Cluster, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Scene:
    return scene_of(cluster, tmp_path, capsys)


@contextmanager
def served(scene: Scene, *more: str) -> Iterator[Serve]:
    """Run the proxy with doctor's settings; ``more`` are its alone."""
    given = [f"--{k}={v}" for k, v in scene.flags.items() if v and "listen" not in k]
    with Serve(scene.folder, *given, *more) as serve:
        serve.wait_until(lambda: serve.probe("/readyz")[0] in {200, 503}, "asked")
        scene.flags |= {
            "listen": f"127.0.0.1:{serve.port}",
            "admin-listen": f"127.0.0.1:{serve.admin_port}",
            "trust-dir": str(scene.folder / "trust"),
            "cert-dir": str(scene.folder / "certs"),
        }
        yield serve


def test_a_whole_and_running_proxy_is_well(scene: Scene) -> None:
    with issuer_in_thread() as (issuer, _):
        scene.flags |= {
            "oidc-issuer-url": issuer.url,
            "oidc-client-id": issuer.client_id,
            "oidc-ca-file": str(issuer.ca_file),
            "oidc-jwks-file": None,
        }
        with served(scene) as serve:
            serve.wait_ready()
            found = scene.trust(4)
    assert found["status"] == "ok", found
    assert any("Headlamp meets this proxy" in v["saw"] for v in [found, *found["notes"]])


# --- The running proxy ---------------------------------------------------------------------------


def other_ca(scene: Scene) -> None:
    trustme.CA().cert_pem.write_to_path(scene.folder / "trust" / "ca.crt")


def in_trust(name: str, content: bytes) -> Callable[[Scene], Any]:
    return lambda scene: (scene.folder / "trust" / name).write_bytes(content)


@pytest.mark.parametrize(
    ("wrong", "cause", "saw", "mend"),
    [
        (other_ca, "trust_dir_stale", "another CA", "restart the whole pod"),
        (
            lambda s: (s.folder / "trust" / "token").unlink(),
            "trust_dir_unusable",
            "no such file",
            "before Headlamp starts",
        ),
        (in_trust("token", b""), "trust_dir_unusable", "is empty", "restart the whole pod"),
        (in_trust("ca.crt", b"none"), "trust_dir_unusable", "no certificate", "restart"),
        (
            lambda s: (s.folder / "trust").chmod(0o700),
            "trust_dir_unusable",
            "may not be read",
            "chmod 755",
        ),
        (
            lambda s: s.flags.update({"trust-dir": str(s.folder / "elsewhere")}),
            "trust_dir_unusable",
            "no such file",
            "a volume that both mount",
        ),
        (
            lambda s: in_trust("token", s.token_file.read_bytes())(s),
            "token_shared",
            "a real token",
            "a directory of its own",
        ),
        (
            lambda s: s.flags.update({"listen": f"127.0.0.1:{free_port()}"}),
            "proxy_unreachable",
            "refuses",
            "start serve",
        ),
    ],
    ids=[
        "another CA",
        "no token",
        "an empty token",
        "no CA",
        "shut",
        "elsewhere",
        "a real token",
        "another port",
    ],
)
def test_what_headlamp_would_meet(
    scene: Scene, wrong: Callable[[Scene], Any], cause: str, saw: str, mend: str
) -> None:
    with served(scene):
        wrong(scene)
        found = scene.trust(4)
    assert (found["status"], found["cause"]) == ("failed", cause), found
    assert saw in found["saw"]
    assert mend in found["mend"]


def test_a_ca_that_the_running_proxy_no_longer_signs_with(scene: Scene) -> None:
    """Both directories are of a later start; the listener is of an earlier one."""
    with served(scene):
        for name in ("trust", "certs"):
            (scene.folder / name).rename(scene.folder / f"old-{name}")
        given = [f"--{k}={v}" for k, v in scene.flags.items() if v and "listen" not in k]
        with Serve(scene.folder, *given):
            pass
        found = scene.trust(4)
    assert (found["status"], found["cause"]) == ("failed", "trust_dir_stale"), found
    assert "restart the whole pod" in found["mend"]


def test_a_proxy_that_is_not_ready_for_a_reason_of_its_own(scene: Scene) -> None:
    with served(scene, "--upstream-token-file=/nowhere/token"):
        found = scene.trust(4)
    assert (found["status"], found["cause"]) == ("failed", "proxy_not_ready"), found
    assert "credential" in found["saw"]


@pytest.mark.parametrize("tls", [True, False], ids=["with TLS", "without"])
def test_something_else_listens(scene: Scene, tls: bool) -> None:
    with served(scene):
        pass
    pair = (scene.folder / "certs" / "tls.crt", scene.folder / "certs" / "tls.key")
    with fronts.answering(fronts.page, pair if tls else None) as port:
        scene.flags["listen"] = f"127.0.0.1:{port}"
        found = scene.trust(4)
    assert (found["status"], found["cause"]) == ("failed", "proxy_not_ours"), found
    assert "listen" in found["mend"]


@pytest.mark.parametrize(
    ("name", "days", "words"), [("headlamp.example.com", 9, "not for"), ("127.0.0.1", -1, "ended")]
)
def test_a_certificate_of_its_own_that_is_not_right(
    scene: Scene, name: str, days: int, words: str
) -> None:
    end = datetime.now(UTC) + timedelta(days=days)
    issued = trustme.CA().issue_cert(name, not_before=end - timedelta(99), not_after=end)
    pair = {"tls-cert-file": "own.crt", "tls-private-key-file": "own.key"}
    scene.flags |= {flag: str(scene.folder / file) for flag, file in pair.items()}
    issued.cert_chain_pems[0].write_to_path(scene.folder / "own.crt")
    issued.private_key_pem.write_to_path(scene.folder / "own.key")
    given = [f"--{k}={v}" for k, v in scene.flags.items() if v and "listen" not in k]
    with Serve(scene.folder, *given, "--trust-dir=", "--cert-dir=") as serve:
        scene.flags["listen"] = f"127.0.0.1:{serve.port}"
        scene.flags["admin-listen"] = f"127.0.0.1:{serve.admin_port}"
        found = scene.trust(4)
    assert (found["status"], found["cause"]) == ("failed", "proxy_certificate"), found
    assert words in found["saw"]


# --- Headlamp's pod ------------------------------------------------------------------------------


def deployment(scene: Scene) -> Object:
    container: Object = {"name": "headlamp", "image": "ghcr.io/headlamp-k8s/headlamp:v0.45.0"}
    spec: Object = {"serviceAccountName": "proxy", "containers": [container]}
    inject(spec, container, Sidecar("headlamp-auth-proxy:test", ("--oidc-client-id=x",)))
    labels = {"app": "headlamp"}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "headlamp", "namespace": scene.name},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": spec},
        },
    }


@dataclass(frozen=True)
class Pod:
    name: str
    cause: str
    saw: str
    mend: str
    wrong: Callable[[Object], Any]
    mended: bool = True


def headlamp(spec: Object) -> Object:
    found: Object = spec["containers"][0]
    return found


PODS = [
    Pod("without the proxy's address", "headlamp_bypasses_proxy", "no KUBERNETES_SERVICE_HOST",
        "set env", lambda spec: headlamp(spec)["env"].clear()),
    Pod("with the API server's address", "headlamp_bypasses_proxy", "10.96.0.1", "set env",
        lambda spec: headlamp(spec)["env"][0].update(value="10.96.0.1")),
    Pod("with another port", "headlamp_bypasses_proxy", "'443'", "KUBERNETES_SERVICE_PORT=6443",
        lambda spec: headlamp(spec)["env"][1].update(value="443")),
    Pod("with its own account", "headlamp_own_account", "mounts nothing", SERVICE_ACCOUNT,
        lambda spec: headlamp(spec)["volumeMounts"].clear()),
    Pod("with the wrong volume", "headlamp_trust_mount", "auth-proxy-keys", "auth-proxy-trust",
        lambda spec: headlamp(spec)["volumeMounts"][0].update(name="auth-proxy-keys")),
    Pod("without the proxy", "pod_without_proxy", "no proxy", "inject",
        lambda spec: spec["initContainers"].clear(), mended=False),
    Pod("as another account", "pod_other_account", "default", "set serviceaccount",
        lambda spec: spec.update(serviceAccountName="default")),
    Pod("with one more that has the token", "token_shared", "auth-proxy-account", "take the mount",
        lambda spec: spec["containers"].append({"name": "x", "image": "x", "volumeMounts": [
            {"name": "auth-proxy-account", "mountPath": "/token"}]}), mended=False),
]  # fmt: skip


@pytest.mark.parametrize("row", PODS, ids=lambda row: row.name)
def test_how_headlamps_pod_is_put_together(scene: Scene, row: Pod) -> None:
    scene.flags["admin-kubeconfig"] = str(scene.cluster.admin_kubeconfig)
    right = deployment(scene)
    wrong = copy.deepcopy(right)
    row.wrong(wrong["spec"]["template"]["spec"])
    scene.apply(wrong)
    hold(scene, 4, row)


def test_a_pod_as_it_is_deployed_is_well(scene: Scene) -> None:
    scene.flags["admin-kubeconfig"] = str(scene.cluster.admin_kubeconfig)
    scene.apply(deployment(scene))
    found = scene.trust(4)
    assert found["status"] == "ok"
    assert any("put before the proxy" in v["saw"] for v in [found, *found["notes"]])


def without_the_proxy(made: Object, host: str = "") -> Object:
    """Return a Deployment of Headlamp alone, sent to ``host`` for the API server."""
    spec = made["spec"]["template"]["spec"]
    spec["initContainers"].clear()
    env = [{"name": "KUBERNETES_SERVICE_HOST", "value": host}] if host else []
    headlamp(spec).update(env=env, volumeMounts=[])
    return made


def test_a_headlamp_that_is_sent_to_a_proxy_with_a_service_of_its_own_is_well(scene: Scene) -> None:
    scene.flags["admin-kubeconfig"] = str(scene.cluster.admin_kubeconfig)
    scene.apply(without_the_proxy(deployment(scene), f"auth-proxy.{scene.name}.svc"))
    found = scene.trust(4)
    assert found["status"] == "ok", found
    scene.apply(without_the_proxy(deployment(scene), "kubernetes.default.svc"))
    assert scene.trust(4)["cause"] == "pod_without_proxy"


def test_a_proxy_that_only_the_pods_have_is_found(scene: Scene) -> None:
    """An admission policy injects it; the Deployment says nothing of it."""
    scene.flags["admin-kubeconfig"] = str(scene.cluster.admin_kubeconfig)
    injected = deployment(scene)["spec"]["template"]
    scene.apply(without_the_proxy(deployment(scene)))
    assert scene.trust(4)["cause"] == "pod_without_proxy"
    metadata = {"name": "headlamp-1", "namespace": scene.name, **injected["metadata"]}
    metadata["ownerReferences"] = [
        {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "headlamp", "uid": "1"}
    ]
    scene.apply({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": injected["spec"]})
    assert scene.trust(4)["status"] == "ok"
