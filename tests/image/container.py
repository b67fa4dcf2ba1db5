"""The image in a container as strict as a pod may be: read-only root, no capability, no new rights.

The network is the machine's own, so that a test can reach what listens on loopback, as Headlamp
does in the same pod.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from tests.serving import Serve

RUN = (
    "podman",
    "run",
    "--rm",
    "--network=host",
    "--read-only",
    "--read-only-tmpfs=false",
    "--cap-drop=all",
    "--security-opt=no-new-privileges",
    "--ulimit=nofile=1024:1024",  # podman would raise these two, which not every machine allows
    "--ulimit=nproc=1024:1024",
)
PYTHON = "--entrypoint=/opt/venv/bin/python"


def run(image: str, *arguments: str, flags: tuple[str, ...] = ()) -> str:
    """Run the image to its end; ``flags`` are podman's. Returns what it wrote to stdout."""
    return _output(*RUN, *flags, image, *arguments)


def inspect(image: str) -> dict[str, Any]:
    described: list[dict[str, Any]] = json.loads(_output("podman", "image", "inspect", image))
    return described[0]


class ContainedServe(Serve):
    """``serve`` in a container; the folders that it writes to are as open as an emptyDir is."""

    def __init__(
        self, image: str, folder: Path, *flags: str, podman_flags: tuple[str, ...] = ()
    ) -> None:
        super().__init__(folder, *flags, every_sink=False)  # another user's, who cannot write there
        folder.chmod(0o755)
        for name in ("trust", "certs"):
            (folder / name).mkdir(exist_ok=True)
            (folder / name).chmod(0o777)
        mount = f"--volume={folder}:{folder}"
        self.argv = [*RUN, *podman_flags, mount, image, *self.argv[1:]]


def _output(*argv: str) -> str:
    done = subprocess.run(argv, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout
