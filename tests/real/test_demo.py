"""The demo on a real kube-apiserver: the same tour, less what needs pods that run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from proxy.tools.demo.tour import steps_for
from tests import child_sinks, leaks
from tests.real.programs import find
from tests.sinks import EVERY_SINK


@pytest.mark.usefixtures("cluster")  # for its skip, where there are no programs
def test_the_tour_holds_on_a_real_kube_apiserver(tmp_path: Path) -> None:
    environment = {**os.environ, "KUBEBUILDER_ASSETS": str(find("kube")), "TMPDIR": str(tmp_path)}
    environment |= child_sinks.environment(tmp_path)
    run = subprocess.run(
        [sys.executable, "-m", "proxy", "demo", "--once"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert (run.returncode, run.stderr) == (0, ""), run.stdout
    assert f"All {len(steps_for(has_nodes=False))} steps ended as expected" in run.stdout
    assert "kube-apiserver from " in run.stdout
    assert list(tmp_path.glob("headlamp-demo-*")) == []
    assert child_sinks.check(tmp_path) == EVERY_SINK
    leaks.search({"the demo": run.stdout.encode()})
