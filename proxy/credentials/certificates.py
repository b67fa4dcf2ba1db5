"""The certificate authority and the serving certificate that we make for ourselves.

Headlamp reads our CA once, when it starts. So the CA must never change while its directory lives:
not on a restart, not when two processes start at once, not when a file turns out to be broken.
Everything is done under a lock on the directory, the CA's key gets its name before its certificate
does, and a CA that cannot be used is an error for a person to look at. Only two states are made
good without asking: an empty directory, and a key without a certificate (a first start that was
cut short: nobody can have trusted more than that key). The leaf is ours to replace at any time.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from proxy.credentials import issuing
from proxy.credentials.issuing import Pair
from proxy.files import explain, write_atomically

_START_OVER = "empty the directory and restart the whole pod, so that Headlamp reads the new CA"


class CertificateError(Exception):
    """A certificate cannot be made, kept or used; the message says which file and what to do."""


@dataclass(frozen=True, slots=True)
class Issued:
    """A leaf in use: PEM blocks ready to serve, and when it is due for renewal (unix seconds)."""

    ca: bytes
    certificate: bytes
    key: bytes
    not_after: float
    renew_at: float

    def __repr__(self) -> str:
        return f"Issued(not_after={self.not_after:.0f}, renew_at={self.renew_at:.0f})"


def ensure_certificates(cert_dir: Path, serving_names: Sequence[str], now: float) -> Issued:
    """Return the leaf for loopback and ``serving_names`` (DNS names or addresses) in ``cert_dir``.

    What is missing is made; a leaf that does not fit, or is past two thirds of its life, is made
    anew. Raises CertificateError.
    """
    moment = datetime.fromtimestamp(now, UTC)
    try:
        names = issuing.subject_alternative_names(serving_names)
        with _locked(cert_dir):
            authority = _ensure_authority(cert_dir, moment)
            leaf = _load_leaf(cert_dir)
            if leaf is None or not issuing.fits(leaf, authority, names, moment):
                leaf = issuing.issue(authority, names, moment)
                write_atomically(cert_dir / "tls.key", issuing.key_pem(leaf.key), 0o600)
                write_atomically(cert_dir / "tls.crt", issuing.pem(leaf.certificate), 0o644)
    except ValueError as error:
        raise CertificateError(f"{error}.") from error
    except OSError as error:
        where = error.filename or cert_dir
        raise CertificateError(f"--cert-dir: {where}: {explain(error)}.") from error
    return Issued(
        ca=issuing.pem(authority.certificate),
        certificate=issuing.pem(leaf.certificate),
        key=issuing.key_pem(leaf.key),
        not_after=leaf.certificate.not_valid_after_utc.timestamp(),
        renew_at=issuing.renewal(leaf.certificate).timestamp(),
    )


@contextlib.contextmanager
def _locked(directory: Path) -> Iterator[None]:
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


# --- The authority -------------------------------------------------------------------------------


def _ensure_authority(cert_dir: Path, now: datetime) -> Pair:
    key_file, certificate_file = cert_dir / "ca.key", cert_dir / "ca.crt"
    if not key_file.exists():
        if certificate_file.exists():
            raise CertificateError(f"--cert-dir: {key_file} is missing; {_START_OVER}.")
        write_atomically(key_file, issuing.key_pem(issuing.new_key()), 0o600)
    key = _load_authority_key(key_file)
    if not certificate_file.exists():
        write_atomically(certificate_file, issuing.pem(issuing.self_sign(key, now)), 0o644)
    authority = Pair(_load_authority_certificate(certificate_file), key)
    _check_authority(certificate_file, authority, now)
    return authority


def _load_authority_key(path: Path) -> ec.EllipticCurvePrivateKey:
    try:
        return issuing.parse_key(path.read_bytes())
    except (ValueError, TypeError) as error:
        raise CertificateError(
            f"--cert-dir: {path} is not an EC private key; {_START_OVER}."
        ) from error


def _load_authority_certificate(path: Path) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except ValueError as error:
        raise CertificateError(
            f"--cert-dir: {path} is not a certificate; {_START_OVER}."
        ) from error


def _check_authority(path: Path, authority: Pair, now: datetime) -> None:
    certificate = authority.certificate
    if not authority.matches:
        raise CertificateError(f"--cert-dir: {path} does not belong to ca.key; {_START_OVER}.")
    if now < certificate.not_valid_before_utc:
        raise CertificateError(
            f"--cert-dir: {path} is not valid before {certificate.not_valid_before_utc:%Y-%m-%d}; "
            f"set this machine's clock, or {_START_OVER}."
        )
    if now >= certificate.not_valid_after_utc:
        expiry = f"{certificate.not_valid_after_utc:%Y-%m-%d}"
        raise CertificateError(f"--cert-dir: {path} expired on {expiry}; {_START_OVER}.")


def _load_leaf(cert_dir: Path) -> Pair | None:
    """Return the leaf that is there, or None where anything is wrong with it."""
    try:
        certificate = x509.load_pem_x509_certificate((cert_dir / "tls.crt").read_bytes())
        return Pair(certificate, issuing.parse_key((cert_dir / "tls.key").read_bytes()))
    except (OSError, ValueError, TypeError):
        return None
