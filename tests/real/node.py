"""A node of the real cluster, whose pods run: see tests/kubelet for what of it is Kubernetes' own.

Its containers are processes of this machine without any isolation. Each has a folder here, its
working directory, in which a test finds what the process has written.
"""

from __future__ import annotations

import json
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tests.process import Process, free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.real.cluster import Cluster

PATIENCE = 30.0  # seconds
STOP_GRACE = 10.0  # seconds
CONTAINER = "main"


class Node:
    """A stand-in kubelet, registered as a Node; ``kill`` and ``start`` as a machine would."""

    def __init__(self, cluster: Cluster, programs: Path, folder: Path, name: str) -> None:
        self.name = name
        self._cluster = cluster
        self._folder = folder
        self._log = folder / "kubelet.log"
        certificate, key = cluster.issue(f"{name}-serving", cluster.host)
        own, own_key = cluster.issue(name, user=f"system:node:{name}", group="system:nodes")
        user = {"client-certificate": str(own), "client-key": str(own_key)}
        self._argv: list[str | Path] = [
            programs / "kubelet",
            f"--kubeconfig={cluster.write_kubeconfig(name, user)}",
            f"--node-name={name}",
            f"--port={free_port()}",
            f"--tls-cert-file={certificate}",
            f"--tls-private-key-file={key}",
            f"--client-ca-file={cluster.ca_file}",
            f"--root-dir={folder / 'containers'}",
        ]
        self._process: Process | None = None

    @classmethod
    @contextmanager
    def run(cls, cluster: Cluster, programs: Path, folder: Path, name: str) -> Iterator[Node]:
        node = cls(cluster, programs, folder, name)
        try:
            node.start()
            yield node
        finally:
            node.stop()

    def start(self) -> None:
        self._process = Process(self._argv, self._log)

    def stop(self) -> None:
        if self._process is not None:
            self._process.stop(STOP_GRACE)
            self._process = None

    def kill(self) -> None:
        """Ends the node and all of its processes at once."""
        assert self._process is not None
        self._process.kill()
        self._process = None

    def pod(self, namespace: str, name: str, *command: str, tty: bool = False) -> Path:
        """Runs a pod, bound to this node, until its command ends; returns its folder."""
        folder = self._folder / "containers" / namespace / name / CONTAINER
        folder.mkdir(parents=True, exist_ok=True)
        self._cluster.apply(
            json.dumps(
                {
                    "apiVersion": "v1",
                    "kind": "Pod",
                    "metadata": {"name": name, "namespace": namespace},
                    "spec": {
                        "nodeName": self.name,
                        "automountServiceAccountToken": False,
                        "containers": [
                            {
                                "name": CONTAINER,
                                "image": "none",
                                "command": list(command),
                                "stdin": True,
                                "tty": tty,
                            }
                        ],
                    },
                }
            )
        )
        self.wait_until(lambda: self._phase(namespace, name) == "Running", f"{name} running")
        return folder

    def wait_until(self, condition: Callable[[], bool], what: str) -> None:
        """Polls, for as long as the node lives and at most PATIENCE."""
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert self._process is not None
            self._process.raise_if_exited()
            if time.monotonic() > deadline:
                raise AssertionError(f"not {what} in time\n{self._process.log_tail()}")
            time.sleep(0.05)

    def _phase(self, namespace: str, name: str) -> str:
        output = "--output=jsonpath={.status.phase}"
        return self._cluster.kubectl("-n", namespace, "get", "pod", name, output).stdout
