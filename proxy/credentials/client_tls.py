"""The TLS context for new connections to the API server, following the files that it is made of.

The context is made anew only when the content of the CA or of the client certificate changed, so
its identity says whether connections that are open already were made under the same settings.
"""

from __future__ import annotations

import logging
import ssl

from proxy import tls
from proxy.files import Source, SourceError
from proxy.outage import Outage

_log = logging.getLogger(__name__)


class ClientTLS:
    """Whom we believe (``ca``, or the system's roots), and the certificate that we show, if any.

    A certificate source that is empty is one that there is none in yet.
    """

    def __init__(
        self, ca: Source | None, certificate: Source | None = None, key: Source | None = None
    ) -> None:
        self._ca, self._certificate, self._key = ca, certificate, key
        self._material: tuple[bytes | None, bytes, bytes] | None = None
        self._context: ssl.SSLContext | None = None
        self._outage = Outage()
        self.not_after: float | None = None  # of the client certificate in use, unix seconds

    def context(self) -> ssl.SSLContext:
        """Return what ``look`` last made, looking first if it never did. Raises SourceError."""
        if self._context is None:
            self.look()
        assert self._context is not None
        return self._context

    def without_certificate(self) -> ClientTLS:
        """Return the same but for the client certificate, which is not shown."""
        return ClientTLS(self._ca)

    def look(self) -> None:
        """Look at the sources. Raises SourceError, but only where no earlier context can serve."""
        try:
            self._update()
        except SourceError as error:
            if self._context is None:
                raise
            if self._outage.fails(str(error)):
                _log.error("The TLS settings for the API server stay as they were: %s", error)
        else:
            if self._outage.ends():
                _log.info("The TLS settings for the API server can be used again.")

    def forget(self) -> None:
        for source in (self._ca, self._certificate, self._key):
            if source is not None:
                source.forget()

    def _update(self) -> None:
        ca = None if self._ca is None else self._ca.read()
        certificate = b"" if self._certificate is None else self._certificate.read()
        key = b"" if self._key is None else self._key.read()
        if (ca, certificate, key) == self._material:
            return
        context, not_after = self._trusting(ca), None
        if certificate or key:
            not_after = self._show(context, certificate, key)
        self._context, self.not_after = context, not_after
        self._material = (ca, certificate, key)

    def _trusting(self, ca: bytes | None) -> ssl.SSLContext:
        try:
            return tls.client_context(ca)
        except (ValueError, ssl.SSLError) as error:
            origin = self._ca.origin if self._ca else "the system's roots"
            raise SourceError(f"{origin} holds no usable CA certificate in PEM") from error

    def _show(self, context: ssl.SSLContext, certificate: bytes, key: bytes) -> float:
        assert self._certificate is not None
        assert self._key is not None
        try:
            tls.load_pair(context, certificate, key)
            return tls.not_after(certificate)
        except (ValueError, ssl.SSLError) as error:
            raise SourceError(
                f"{self._certificate.origin} and {self._key.origin} are not a certificate and its "
                "unencrypted private key, in PEM"
            ) from error
