"""The sidecar in the words of a values file and of a kustomize patch, as YAML.

The files under ``deploy/`` hold these between marks, and are written anew by ``make docs``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import yaml

from proxy.tools.deploy.cel import injection, refusals, token_volumes
from proxy.tools.deploy.rbac import cap
from proxy.tools.deploy.sidecar import (
    ACCOUNT,
    HEADLAMP_GROUP,
    HEADLAMP_USER,
    USER,
    Sidecar,
    default_image,
    headlamp_environment,
    headlamp_mounts,
    pod_settings,
    restricted,
    volumes,
)

SECRET: Final = "headlamp-oidc"  # noqa: S105 - the name of one


class _Dumper(yaml.SafeDumper):
    """Indents lists under their key, writes lines as lines, and never writes an alias."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:  # noqa: ARG002
        super().increase_indent(flow, indentless=False)

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)


def as_yaml(content: Any) -> str:
    """Return ``content`` as block YAML, in its own order, on lines as long as it takes."""
    return yaml.dump(content, Dumper=_Dumper, sort_keys=False, width=1000)


def overlay(*, native: bool) -> str:
    """Return what of a values file for Headlamp's chart is the sidecar."""
    sidecar = _sidecar(native=native)
    values: dict[str, Any] = {
        "automountServiceAccountToken": False,
        "env": headlamp_environment(),
        "volumeMounts": headlamp_mounts(),
        "volumes": volumes(),
        "securityContext": restricted(HEADLAMP_USER, HEADLAMP_GROUP),
        "initContainers": sidecar.init_containers,
    }
    if sidecar.containers:
        values["extraContainers"] = sidecar.containers
    return as_yaml(values)


def patch() -> str:
    """Return a strategic merge patch that puts the sidecar into the Deployment ``headlamp``."""
    container = {
        "name": "headlamp",
        "env": headlamp_environment(),
        "volumeMounts": headlamp_mounts(),
    }
    spec = {
        **pod_settings(),
        "initContainers": _sidecar(native=True).init_containers,
        "containers": [container],
        "volumes": volumes(),
    }
    return as_yaml(
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "headlamp"},
            "spec": {"template": {"spec": spec}},
        }
    )


def _sidecar(*, native: bool) -> Sidecar:
    return Sidecar(image=default_image(), secret=SECRET, native=native)


# Whole files of the chart, which its templates take in.
CHART_FILES: Final[dict[str, Callable[[], str]]] = {
    "cap.yaml": lambda: as_yaml(cap(read_only=False)),
    "cap-read-only.yaml": lambda: as_yaml(cap(read_only=True)),
    "injection.cel": lambda: f"{injection()}\n",
    "refusals.yaml": lambda: as_yaml(
        {
            "variables": [{"name": "tokens", "expression": token_volumes()}],
            "validations": refusals(),
        }
    ),
    "restricted.yaml": lambda: as_yaml(restricted(USER, USER)),
    "account-volume.yaml": lambda: as_yaml(
        [volume for volume in volumes() if ACCOUNT in volume.values()]
    ),
}
FRAGMENTS: Final[dict[str, Callable[[], str]]] = {
    "overlay": lambda: overlay(native=True),
    "overlay_before_1_29": lambda: overlay(native=False),
    "patch": patch,
}
