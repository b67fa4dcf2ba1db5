"""Charts as releases on a real kube-apiserver, and pods as a controller would make them.

There is no controller and no kubelet: a pod is made from a Deployment's template by the test.
Headlamp's chart is the stand-in of tests/deploy; images are names that nobody pulls.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml

from tests.deploy.helm import HEADLAMP, OVERLAY, Helm, Object
from tests.deploy.pods import pod
from tests.real.cluster import Cluster

ALICE = "alice@example.com"

SECRET = "--set=oidc.existingSecret=headlamp-oidc"

NAMED = f'--set-json=rbac.users=["{ALICE}"]'


@contextmanager
def installed(
    helm: Helm, cluster: Cluster, name: str, chart: Path, namespace: str, *values: str | Path
) -> Iterator[str]:
    """The chart, installed as a release; what helm said. Gone at the end."""
    where = (f"--namespace={namespace}", f"--kubeconfig={cluster.admin_kubeconfig}")
    yield helm.run("upgrade", "--install", name, chart, *where, *values).stdout
    helm.run("uninstall", name, *where)


def create_pod(
    cluster: Cluster, namespace: str, spec: Object, labels: dict[str, str], check: bool = True
) -> subprocess.CompletedProcess[str]:
    manifest = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"generateName": "headlamp-", "namespace": namespace, "labels": labels},
        "spec": spec,
    }
    arguments = ("create", "--filename=-", "--output=json")
    return cluster.kubectl(*arguments, stdin=json.dumps(manifest), check=check)


def headlamp_pod(helm: Helm, *values: str | Path) -> Object:
    return pod(helm.template(HEADLAMP, *values))


def stock_pod(helm: Helm) -> Object:
    """Headlamp's pod without the proxy, with as much as "restricted" demands of any pod."""
    context = yaml.safe_load(OVERLAY.read_text())["securityContext"]
    return headlamp_pod(helm, f"--set-json=securityContext={json.dumps(context)}")
