"""helm as the tests run it: rendered, linted and installed by version 3 and 4 alike."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.fetch_helm import folder, is_complete

ROOT = Path(__file__).parents[2]
CHART = ROOT / "deploy" / "helm" / "headlamp-auth-proxy"
HEADLAMP = Path(__file__).with_name("chart")
OVERLAY = ROOT / "deploy" / "headlamp" / "values-sidecar.yaml"
OVERLAY_BEFORE_1_29 = OVERLAY.with_name("values-sidecar-before-1.29.yaml")
NAMESPACE = "headlamp"

Object = dict[str, Any]


class Helm:
    """One helm; ``home`` keeps its files away from the person's own."""

    def __init__(self, program: Path, home: Path) -> None:
        self._program = program
        self._environment = {"PATH": os.environ["PATH"], "HOME": str(home)}

    def run(self, *arguments: str | Path, check: bool = True) -> subprocess.CompletedProcess[str]:
        run = subprocess.run(
            [self._program, *arguments],
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if check:
            assert run.returncode == 0, run.stderr
        return run

    def template(self, chart: Path, *arguments: str | Path) -> list[Object]:
        run = self.run("template", "headlamp", chart, f"--namespace={NAMESPACE}", *arguments)
        return [d for d in yaml.safe_load_all(run.stdout) if d]


def find_helm(name: str, home: Path) -> Helm:
    """Return ``helm3`` or ``helm4``; skips the test where they were not fetched."""
    if not is_complete(folder()):
        reason = "no helm: run `make test-deploy`"
        if os.environ.get("TEST_REQUIRE_REAL") == "1":
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)
    return Helm(folder() / name, home)


def of_kind(documents: list[Object], kind: str, name: str = "") -> Object:
    """Return the one document of a kind, or the one whose name ends with ``name``."""
    (found,) = [d for d in documents if d["kind"] == kind and d["metadata"]["name"].endswith(name)]
    return found
