"""A real Prometheus for tests: what it scrapes, what its rules say, what a query returns."""

from __future__ import annotations

import json
import os
import shutil
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.process import Process, free_port

PATIENCE = 60.0  # seconds


def find(program: str) -> str:
    """Return the path of ``prometheus`` or ``promtool``; skips the test where there is none."""
    path = shutil.which(program)
    if path is None:
        reason = f"no {program}: install Debian's package prometheus"
        if os.environ.get("TEST_REQUIRE_REAL") == "1":
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)
    return path


class Prometheus:
    """Scrapes ``targets`` (name of the pod to host:port) every ``interval`` seconds."""

    def __init__(
        self, folder: Path, targets: Mapping[str, str], rules: Path, interval: str = "1s"
    ) -> None:
        self.url = f"http://127.0.0.1:{free_port()}"
        config = {
            "global": {"scrape_interval": interval, "evaluation_interval": interval},
            "rule_files": [str(rules)],
            "scrape_configs": [
                {
                    "job_name": "headlamp-auth-proxy",
                    "static_configs": [
                        {"targets": [address], "labels": {"namespace": "headlamp", "pod": pod}}
                        for pod, address in targets.items()
                    ],
                }
            ],
        }
        (folder / "prometheus.yaml").write_text(yaml.safe_dump(config))
        self._argv: Sequence[str] = (
            find("prometheus"),
            f"--config.file={folder / 'prometheus.yaml'}",
            f"--storage.tsdb.path={folder / 'tsdb'}",
            f"--web.listen-address={self.url.removeprefix('http://')}",
        )
        self._log = folder / "prometheus.log"
        self._process: Process | None = None

    def __enter__(self) -> Prometheus:
        self._process = Process(self._argv, self._log)
        self.wait_until(lambda: self._answers("/-/ready"), "ready")
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.stop(10)

    def wait_until(self, condition: Callable[[], bool], what: str) -> None:
        """Poll, for as long as the process lives and at most PATIENCE."""
        assert self._process is not None
        deadline = time.monotonic() + PATIENCE
        while not condition():
            self._process.raise_if_exited()
            assert time.monotonic() < deadline, f"not {what}\n{self._process.log_tail()}"
            time.sleep(0.1)

    def api(self, path: str, **parameters: str) -> Any:
        """Return the ``data`` of an answer of the HTTP API."""
        query = urllib.parse.urlencode(parameters)
        with urllib.request.urlopen(f"{self.url}/api/v1/{path}?{query}", timeout=10) as answer:
            document = json.load(answer)
        assert document["status"] == "success", document
        return document["data"]

    def query(self, expression: str) -> list[tuple[dict[str, str], float]]:
        """Return the samples of an instant query: labels and value."""
        result = self.api("query", query=expression)["result"]
        return [(sample["metric"], float(sample["value"][1])) for sample in result]

    def firing(self) -> set[str]:
        """Return the names of the alerts that fire now."""
        alerts = self.api("alerts")["alerts"]
        return {a["labels"]["alertname"] for a in alerts if a["state"] == "firing"}

    def rules_health(self) -> dict[str, str]:
        """Return what became of each rule: ok, or unknown until it was evaluated, or err."""
        groups = self.api("rules")["groups"]
        return {rule["name"]: rule["health"] for group in groups for rule in group["rules"]}

    def _answers(self, path: str) -> bool:
        try:
            with urllib.request.urlopen(self.url + path, timeout=5):
                return True
        except OSError:
            return False
