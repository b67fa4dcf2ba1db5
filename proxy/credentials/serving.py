"""The certificate that clients see, and how it changes without a restart.

There is one context for the life of the listener: a new pair is loaded into it, which new
handshakes use and established connections do not notice. Where a new pair cannot be had, the one
in use stays, and the log says so once for each reason.
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from proxy import tls
from proxy.credentials.certificates import CertificateError, Issued, ensure_certificates
from proxy.files import FollowedFile, SourceError
from proxy.outage import Outage

_log = logging.getLogger(__name__)


class ServingCertificate(Protocol):
    """What the listener serves with, however it is come by."""

    @property
    def context(self) -> ssl.SSLContext: ...

    @property
    def not_after(self) -> float:
        """Return when the certificate in use ends, in unix seconds."""
        ...

    def refresh(self, now: float) -> bool:
        """Take up a new certificate if there is one; return whether it was. Never raises."""
        ...


class OwnCertificate:
    """The leaf of our own CA, renewed in place at two thirds of its life."""

    def __init__(self, cert_dir: Path, serving_names: Sequence[str], now: float) -> None:
        """Raise CertificateError if there is no certificate and none can be made."""
        self._cert_dir, self._serving_names = cert_dir, tuple(serving_names)
        self._outage = Outage()
        self.context = tls.server_context()
        self._issued = self._issue(now)

    @property
    def ca(self) -> bytes:
        """Return the CA certificate (PEM) that clients are to trust."""
        return self._issued.ca

    @property
    def not_after(self) -> float:
        return self._issued.not_after

    def refresh(self, now: float) -> bool:
        if now < self._issued.renew_at:
            return False
        try:
            self._issued = self._issue(now)
        except (CertificateError, OSError) as error:
            if self._outage.fails(str(error)):
                _log.error("The serving certificate could not be renewed. %s", error)
            return False
        self._outage.ends()
        _log.info("The serving certificate was renewed.")
        return True

    def _issue(self, now: float) -> Issued:
        issued = ensure_certificates(self._cert_dir, self._serving_names, now)
        tls.load_pair(self.context, issued.certificate, issued.key)
        return issued


class GivenCertificate:
    """The pair of --tls-cert-file and --tls-private-key-file, followed as others replace it."""

    def __init__(self, certificate: Path, key: Path) -> None:
        """Raise CertificateError if the two files are not a usable pair."""
        self._certificate = FollowedFile(certificate, "--tls-cert-file")
        self._key = FollowedFile(key, "--tls-private-key-file")
        self._outage = Outage()
        self._in_use: tuple[bytes, bytes] | None = None
        self.not_after = 0.0
        self.context = tls.server_context()
        self.context.sni_callback = self._choose
        self._take_up()

    def refresh(self, now: float) -> bool:  # noqa: ARG002 - these files tell the time themselves
        try:
            changed = self._take_up()
        except (CertificateError, OSError) as error:
            if self._outage.fails(str(error)):
                _log.error("The serving certificate in use stays. %s", error)
            return False
        ended = self._outage.ends()
        if changed:
            _log.info("The serving certificate was reloaded from %s.", self._certificate.path)
        elif ended:
            _log.info("The serving certificate in use is again what its files hold.")
        return changed

    def _take_up(self) -> bool:
        try:
            certificate, key = pair = self._certificate.read(), self._key.read()
            if pair == self._in_use:
                return False
            end = tls.not_after(certificate)
            tls.check_pair(certificate, key)
        except SourceError as error:
            raise CertificateError(f"{error}.") from error
        except (ValueError, ssl.SSLError) as error:
            raise CertificateError(
                f"{self._certificate.origin} and {self._key.origin} are not a certificate "
                "and its unencrypted private key, in PEM."
            ) from error
        current = tls.server_context()
        tls.load_pair(current, certificate, key)
        self._current, self._in_use, self.not_after = current, pair, end
        return True

    def _choose(self, handshake: ssl.SSLObject, _name: str | None, _: ssl.SSLContext) -> None:
        """Serve the pair in use: a context of its own each, for OpenSSL would keep one a key type.

        OpenSSL calls this for every handshake, whether the client names a server or not.
        """
        handshake.context = self._current
