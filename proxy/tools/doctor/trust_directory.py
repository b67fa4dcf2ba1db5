"""What Headlamp mounts in place of its service-account directory, as it is on the disk.

client-go reads it once, when Headlamp starts: a file that is missing then is missed for ever.
"""

from __future__ import annotations

import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from cryptography import x509

from proxy.files import SERVICE_ACCOUNT, explain
from proxy.tools.doctor import causes
from proxy.tools.doctor.own_token import parsed
from proxy.tools.doctor.verdict import Verdict, failed

FILES: Final = ("ca.crt", "token", "namespace")


def judged_directory(trust_dir: Path, cert_dir: Path | None) -> Iterator[Verdict]:
    """Yield what is wrong with the directory, the first only."""
    try:
        contents = {name: (trust_dir / name).read_bytes() for name in FILES}
        shut = [name for name in FILES if not (trust_dir / name).stat().st_mode & stat.S_IROTH]
        if not trust_dir.stat().st_mode & stat.S_IXOTH:
            shut = ["."]
    except OSError as error:
        yield failed(
            causes.TRUST_DIR_UNUSABLE,
            f"--trust-dir: {error.filename}: {explain(error)}",
            "start serve (or prepare) with this --trust-dir before Headlamp starts, on a volume "
            "that both mount",
        )
        return
    if shut:
        yield failed(
            causes.TRUST_DIR_UNUSABLE,
            f"--trust-dir: {trust_dir / shut[0]} may not be read by Headlamp's user",
            f"chmod 755 {trust_dir} && chmod 644 {trust_dir}/*",
        )
        return
    yield from _of_contents(contents, trust_dir, cert_dir)


def _of_contents(
    contents: dict[str, bytes], trust_dir: Path, cert_dir: Path | None
) -> Iterator[Verdict]:
    again = f"rm {trust_dir}/ca.crt, and restart the whole pod"
    empty = [name for name, content in contents.items() if not content.strip()]
    if empty:
        yield failed(
            causes.TRUST_DIR_UNUSABLE,
            f"--trust-dir: {trust_dir / empty[0]} is empty, and client-go then finds no cluster",
            "restart the whole pod, so that serve writes it anew before Headlamp starts",
        )
        return
    if parsed(contents["token"].strip()).is_jwt:
        yield failed(
            causes.TOKEN_SHARED,
            f"--trust-dir: {trust_dir}/token is a real token, and Headlamp mounts it",
            f"give --trust-dir a directory of its own, that is not {SERVICE_ACCOUNT}",
        )
        return
    try:
        certificates = x509.load_pem_x509_certificates(contents["ca.crt"])
    except ValueError:
        yield failed(
            causes.TRUST_DIR_UNUSABLE,
            f"--trust-dir: {trust_dir}/ca.crt holds no certificate in PEM",
            again,
        )
        return
    now = time.time()
    if now >= certificates[0].not_valid_after_utc.timestamp():
        yield failed(
            causes.TRUST_DIR_UNUSABLE,
            f"--trust-dir: {trust_dir}/ca.crt ended on {certificates[0].not_valid_after_utc:%F}",
            f"empty {cert_dir}, and restart the whole pod",
        )
        return
    try:
        own = (cert_dir / "ca.crt").read_bytes() if cert_dir else b""
    except OSError:
        return  # private to the proxy's user; the listener tells
    if own and own.strip() != contents["ca.crt"].strip():
        yield failed(
            causes.TRUST_DIR_STALE,
            f"{trust_dir}/ca.crt is another CA than {cert_dir}/ca.crt, with which serve signs",
            "restart the whole pod: serve writes its CA there, and Headlamp then reads it",
        )


def content_of(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None
