"""TLS contexts from PEM in memory, for both sides, and what OpenSSL makes awkward about them.

A key never touches a disk on its way into OpenSSL where the kernel can help it, and a pair is
tried on a context of its own first: ``load_cert_chain`` that fails half-way leaves a context with
the new certificate and without its key. Strict X.509 is asked of nobody else's CA: many clusters'
would not pass it, and kube-apiserver's own clients do not ask it either.
"""

from __future__ import annotations

import os
import ssl
import tempfile
from pathlib import Path

from cryptography import x509


def server_context() -> ssl.SSLContext:
    """Return a context for the listener, still without a certificate.

    It gives no session tickets in TLS 1.3. Go's clients take none up unless they are told to, and
    two cost a seventh of a handshake (``python -m bench.parts``). In TLS 1.2 a client can resume:
    without tickets OpenSSL would keep its sessions in our memory instead.
    """
    context = _common(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
    context.num_tickets = 0
    return context


def client_context(ca: bytes | None) -> ssl.SSLContext:
    """Return a context that verifies the peer against ``ca`` (PEM), or the system's roots.

    Raises ValueError or ssl.SSLError where ``ca`` holds no certificate.
    """
    context = _common(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
    context.check_hostname = True
    context.verify_mode = ssl.CERT_REQUIRED
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # as Go: any given certificate is a root
    if ca is None:
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    else:
        context.load_verify_locations(cadata=ca.decode("ascii", "ignore"))
    return context


def _common(context: ssl.SSLContext) -> ssl.SSLContext:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # No renegotiation: as Go, and so that what is written never has to wait for what is read.
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["http/1.1"])
    return context


def check_pair(certificate: bytes, key: bytes) -> None:
    """Raise ssl.SSLError or ValueError unless the two PEM texts belong together."""
    load_pair(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), certificate, key)


def load_pair(context: ssl.SSLContext, certificate: bytes, key: bytes) -> None:
    """Load a chain and its key; the key is put first, so that no other one is found before it."""
    pem = key + b"\n" + certificate
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("certificate", os.MFD_CLOEXEC)
        with os.fdopen(descriptor, "wb") as file:
            file.write(pem)
            file.flush()
            _load(context, f"/proc/self/fd/{descriptor}")
    else:
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory, "pair.pem")
            path.touch(mode=0o600)
            path.write_bytes(pem)
            _load(context, str(path))


def _load(context: ssl.SSLContext, path: str) -> None:
    # The empty password keeps OpenSSL from asking for one on the terminal.
    context.load_cert_chain(path, password="")


def not_after(certificate: bytes) -> float:
    """Return when the first certificate of a PEM text ends (unix seconds). Raises ValueError."""
    return x509.load_pem_x509_certificates(certificate)[0].not_valid_after_utc.timestamp()
