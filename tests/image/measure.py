"""Prints how large the image is and how soon a container of it is alive.

TEST_IMAGE=$(tests/image/build) .venv/bin/python -m tests.image.measure
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.image.container import ContainedServe, inspect, run

STARTS = 5
MB = 1_000_000
FLAGS = (
    "--oidc-issuer-url=https://127.0.0.1:1",
    "--oidc-client-id=measure",
    "--upstream=https://127.0.0.1:2",
)


def seconds_until_alive(image: str, *podman_flags: str) -> float:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "token").write_text("of-the-proxy")
        serve = ContainedServe(
            image,
            folder,
            *FLAGS,
            f"--upstream-token-file={folder / 'token'}",
            podman_flags=podman_flags,
        )
        started = time.monotonic()
        with serve:
            return time.monotonic() - started


def compressed_size(image: str) -> int:
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["podman", "push", "--quiet", image, f"oci:{folder}"], check=True)
        return sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())


def main() -> int:
    image = os.environ["TEST_IMAGE"]
    added = int(run(image, "-sb", "/opt", flags=("--entrypoint=du",)).split()[0])
    lines = {
        "size": f"{inspect(image)['Size'] / MB:.0f} MB, {added / MB:.0f} MB of it on the base",
        "compressed": f"{compressed_size(image) / MB:.0f} MB",
    }
    for name, flags in (
        ("alive after", ()),
        ("without its bytecode", ("--env=PYTHONPYCACHEPREFIX=/nowhere",)),
    ):
        times = [seconds_until_alive(image, *flags) for _ in range(STARTS)]
        lines[name] = f"{statistics.median(times):.2f} s from podman run to /livez, of {STARTS}"
    sys.stdout.writelines(f"{name:22}{value}\n" for name, value in lines.items())
    return 0


if __name__ == "__main__":
    sys.exit(main())
