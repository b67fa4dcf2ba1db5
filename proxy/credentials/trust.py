"""What Headlamp mounts in place of its service-account directory.

client-go's ``rest.InClusterConfig`` wants three files there: the CA that it verifies us with, a
token that it reads but does not use, and the namespace. Nothing in this directory is secret, and
no key ever comes here. A file that already says the right thing is left alone.
"""

from __future__ import annotations

import logging
from pathlib import Path

from proxy.credentials.certificates import CertificateError
from proxy.files import SERVICE_ACCOUNT, explain, write_atomically

PLACEHOLDER_TOKEN = (
    b"This is not a token. Headlamp holds none: headlamp-auth-proxy adds its own to each request."
)

_log = logging.getLogger(__name__)


def write_trust_directory(
    trust_dir: Path, ca: bytes, namespace_file: Path = SERVICE_ACCOUNT / "namespace"
) -> None:
    """Write ``ca.crt``, ``token`` and ``namespace``, readable by all. Raises CertificateError."""
    contents = {
        "ca.crt": ca,
        "token": PLACEHOLDER_TOKEN,
        "namespace": _own_namespace(namespace_file),
    }
    try:
        if not trust_dir.is_dir():
            trust_dir.mkdir(parents=True)
            trust_dir.chmod(0o755)
        for name, content in contents.items():
            _write_if_different(trust_dir / name, content)
    except OSError as error:
        where = error.filename or trust_dir
        raise CertificateError(f"--trust-dir: {where}: {explain(error)}.") from error


def _write_if_different(path: Path, content: bytes) -> None:
    present = path.read_bytes() if path.exists() else None
    if present == content:
        return
    write_atomically(path, content, 0o644)
    if present is not None and path.name == "ca.crt":
        _log.warning("%s held another CA; restart Headlamp, which still trusts that one", path)


def _own_namespace(path: Path) -> bytes:
    try:
        return path.read_bytes().strip() or b"default"
    except OSError:
        return b"default"  # not in a cluster, or without a service account
