"""Programs that look at a fixed path below /var/run, and find a folder of the test's own there.

tailscale's client wants /var/run/tailscale, client-go /var/run/secrets/kubernetes.io. The path is
made in a mount namespace (mount_namespaces(7)) that the program alone sees and that ends with it:
nothing is ever made, or left, on the machine.
"""

from __future__ import annotations

import functools
import os
import subprocess
from pathlib import Path

import pytest

# /run is hidden as a whole, since the path to be mounted on must exist.
_SCRIPT = """
mount -t tmpfs tmpfs /run && mkdir -p "$1" && mount --bind "$0" "$1" && shift && exec "$@"
"""


def with_folder_at(path: str, folder: Path, *argv: str | Path) -> list[str | Path]:
    """The command that runs ``argv`` where ``path`` is ``folder``; skips where that cannot be."""
    if not _can_mount():
        reason = "no mount namespace here: be root, or allow user namespaces (unshare --mount)"
        if os.environ.get("TEST_REQUIRE_REAL") == "1":
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)
    return [*_unshare(), "sh", "-c", _SCRIPT, folder, path, *argv]


@functools.cache
def _can_mount() -> bool:
    command = [*_unshare(), "sh", "-c", "mount -t tmpfs tmpfs /run"]
    try:
        return subprocess.run(command, capture_output=True).returncode == 0
    except OSError:
        return False


def _unshare() -> list[str]:
    """Only root may mount; others may be root in a user namespace, where the machine has them."""
    return ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--map-root-user"])]
