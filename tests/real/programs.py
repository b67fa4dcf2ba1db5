"""Where the programs are that tests against a real cluster start: found, never built here."""

from __future__ import annotations

import subprocess
from pathlib import Path

BUILD = Path(__file__).parent.parent / "kube" / "build"


def find_assets() -> Path | None:
    """The folder that holds kube-apiserver and etcd, or None where they were never built."""
    run = subprocess.run([BUILD, "--print"], stdout=subprocess.PIPE, text=True, check=True)
    folder = run.stdout.strip()
    return Path(folder) if folder else None
