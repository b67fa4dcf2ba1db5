"""What of a pod is the sidecar, to be compared whoever has put it there."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import yaml

from proxy.tools.deploy.workload import headlamp_container
from tests.deploy.helm import HEADLAMP, ROOT, Helm, Object, of_kind
from tests.kubectl import find_kubectl


def pod(documents: list[Object]) -> Object:
    spec: Object = of_kind(documents, "Deployment")["spec"]["template"]["spec"]
    return spec


def parts(spec: Object) -> dict[str, Any]:
    """What of a pod is the sidecar, in an order that does not depend on who wrote it."""
    headlamp = headlamp_container(spec)
    assert headlamp is not None
    ours = [c for c in [*spec["initContainers"], *spec["containers"]] if "auth-proxy" in c["name"]]
    mounts = {m["mountPath"]: m for m in headlamp["volumeMounts"]}
    return {
        "containers": ours,
        "first": spec["initContainers"][0]["name"],
        "env": {e["name"]: e["value"] for e in headlamp["env"]},
        "mount": mounts["/var/run/secrets/kubernetes.io/serviceaccount"],
        "volumes": {v["name"]: v for v in spec["volumes"] if "auth-proxy" in v["name"]},
        "automount": spec["automountServiceAccountToken"],
    }


def kustomized(helm: Helm, folder: Path, patch: str = "") -> Object:
    """Headlamp's pod with the component, and then ``patch`` as the documentation has it applied."""
    rendered = helm.template(HEADLAMP, "--set=clusterRoleBinding.create=false")
    (folder / "headlamp.yaml").write_text(yaml.safe_dump_all(rendered))
    component = Path("../" * len(folder.parts[1:])) / ROOT.relative_to("/") / "deploy/kustomize"
    kustomization: Object = {"resources": ["headlamp.yaml"], "components": [str(component)]}
    if patch:
        (folder / "audit.yaml").write_text(patch)
        target = {"kind": "Deployment", "labelSelector": "app.kubernetes.io/name=headlamp"}
        kustomization["patches"] = [{"path": "audit.yaml", "target": target}]
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
    run = subprocess.run(
        [find_kubectl(), "kustomize", folder], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    return pod(list(yaml.safe_load_all(run.stdout)))
