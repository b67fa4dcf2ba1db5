"""Who this proxy itself is towards the API server.

Kubernetes rotates a service account's token by swapping files, so they are looked at again, at
most once a second and only when a request needs them; between two looks a credential costs a
comparison, which whoever asks for each request makes himself. Nothing is served from memory that is
no longer in its file: a token that was taken away, or has expired (the kubelet may leave one behind
for hours), is an error that says so, and never an unauthenticated request.

No token is part of any message or repr.
"""

from __future__ import annotations

import contextlib
import math
import re
import ssl
from abc import ABC, abstractmethod
from pathlib import Path

import jwt

from proxy.credentials.client_tls import ClientTLS
from proxy.errors import CredentialUnavailable
from proxy.files import FollowedFile, Source, SourceError

LOOK_EVERY = 1.0  # seconds
MAX_TOKEN_BYTES = 64 * 1024
_TOKEN = re.compile(rb"[!-~]+")  # what may stand behind "Bearer " and means one thing only


class Credential(ABC):
    """A credential for the API server: a header line, a client certificate, or both.

    All times are unix seconds. A clock that was set back means another look, not a longer wait.
    From ``looked_at`` until ``settled_until``, ``line`` is what ``header`` would return; ``tls`` is
    what ``ssl_context`` would, None before the first look. ``bare`` is for connections that show
    nothing of ours.
    """

    def __init__(self, client_tls: ClientTLS) -> None:
        self.changes = 0  # how often the token has changed since the first
        self._client_tls = client_tls
        self.tls: ssl.SSLContext | None = None
        self.bare = BareTLS(client_tls.without_certificate())
        self.line = b""
        self._failure = ""  # of the last look
        self.looked_at = math.inf
        self.settled_until = -math.inf

    def header(self, now: float) -> bytes | None:
        """Return the Authorization line, complete, or ``b""`` if a certificate is all there is.

        None means that ``renew`` must be awaited first. Once a line was returned, ``ssl_context``
        does not fail. Raises CredentialUnavailable.
        """
        if not self.looked_at <= now < self.looked_at + LOOK_EVERY:
            self.looked_at, self.settled_until = now, -math.inf
            self._look()
        if self._failure:
            raise CredentialUnavailable(self._failure)
        return self._judge(now)

    @abstractmethod
    async def renew(self) -> None:
        """Obtain what ``header`` lacks; for most kinds there is nothing to do.

        It does not fail: ``header`` says afterwards what there is, or why there is nothing.
        """

    def reread(self) -> None:
        """Forget what is known: the API server did not accept it."""
        self._look_again()
        self._client_tls.forget()

    def ssl_context(self) -> ssl.SSLContext:
        """Return the context for new connections: another object only if settings have changed.

        Raises CredentialUnavailable.
        """
        try:
            self.tls = self._client_tls.context()
        except SourceError as error:
            raise CredentialUnavailable(str(error)) from error
        return self.tls

    @property
    @abstractmethod
    def expires_at(self) -> float | None:
        """Return when the credential last seen ends, if it says so."""

    def problem(self, now: float) -> str | None:
        """Return what stands against using the credential, for the log, or None."""
        try:
            line = self.header(now)
        except CredentialUnavailable as error:
            return error.detail
        return "it is due to be renewed" if line is None else None

    @abstractmethod
    def _judge(self, now: float) -> bytes | None:
        """Return the line, knowing that the last look found nothing wrong."""

    def _look(self) -> None:
        try:
            self._client_tls.look()
            self.tls = self._client_tls.context()
            self._failure = ""
        except SourceError as error:
            self._failure = str(error)

    def _look_again(self) -> None:
        self.looked_at, self.settled_until = math.inf, -math.inf

    def _settle(self, until: float) -> bytes:
        self.settled_until = min(self.looked_at + LOOK_EVERY, until)
        return self.line


class BareTLS:
    """The settings for connections that show nothing of ours; see ``http.pool.TLSSettings``.

    Nobody else looks at their files, so whoever asks does.
    """

    def __init__(self, client_tls: ClientTLS) -> None:
        self._client_tls = client_tls

    @property
    def tls(self) -> ssl.SSLContext:
        return self.ssl_context()

    def ssl_context(self) -> ssl.SSLContext:
        """Return the context for new connections; else as ``Credential.ssl_context``."""
        try:
            self._client_tls.look()
            return self._client_tls.context()
        except SourceError as error:
            raise CredentialUnavailable(str(error)) from error


class HeldCredential(Credential):
    """A token in a file or given as it is, a client certificate likewise, or both."""

    def __init__(self, client_tls: ClientTLS, token: Source | None) -> None:
        super().__init__(client_tls)
        self._token = token
        self._token_expires_at: float | None = None

    @property
    def expires_at(self) -> float | None:
        return earliest(self._token_expires_at, self._client_tls.not_after)

    async def renew(self) -> None:
        """There is nothing to obtain: files are looked at when they are needed."""

    def reread(self) -> None:
        super().reread()
        if self._token is not None:
            self._token.forget()

    def _look(self) -> None:
        super()._look()
        if self._token is None:
            return
        try:
            token = bearer_token(self._token.read(), self._token.origin)
        except SourceError as error:
            self._failure = str(error)
            return
        line = authorization(token)
        if line != self.line:
            self.changes += bool(self.line)
            self.line, self._token_expires_at = line, token_expiry(token)

    def _judge(self, now: float) -> bytes:
        expires_at = self.expires_at
        if expires_at is not None and now >= expires_at:
            raise CredentialUnavailable(
                f"{self._expired(now)} expired {now - expires_at:.0f} s ago"
            )
        return self._settle(math.inf if expires_at is None else expires_at)

    def _expired(self, now: float) -> str:
        if self._token is not None and now >= (self._token_expires_at or math.inf):
            return self._token.origin
        return "the client certificate"


async def readiness(credential: Credential, now: float) -> str | None:
    """Return what stands against using ``credential`` after obtaining it if that was due."""
    with contextlib.suppress(CredentialUnavailable):
        if credential.header(now) is None:
            await credential.renew()
    return credential.problem(now)


def from_files(token_file: Path, ca_file: Path | None) -> Credential:
    """Return the credential of a service account; without ``ca_file``, system roots are trusted.

    Nothing is read yet, and nothing here needs to exist when the proxy starts.
    """
    ca = None if ca_file is None else FollowedFile(ca_file, "--upstream-ca-file")
    return HeldCredential(ClientTLS(ca), FollowedFile(token_file, "--upstream-token-file"))


def bearer_token(raw: bytes, origin: str) -> bytes:
    """Return the token in ``raw``, as client-go trims it. Raises SourceError if it is none."""
    token = raw.strip()
    if not token:
        raise SourceError(f"{origin} is empty")
    if len(token) > MAX_TOKEN_BYTES:
        raise SourceError(f"{origin} is larger than {MAX_TOKEN_BYTES} bytes")
    if not _TOKEN.fullmatch(token):
        raise SourceError(f"{origin} holds blanks, control or non-ASCII characters: not a token")
    return token


def authorization(token: bytes) -> bytes:
    return b"Authorization: Bearer %s\r\n" % token


def token_expiry(token: bytes) -> float | None:
    """Return the ``exp`` of our own token if it is a JWT; it is a hint, so nothing is verified."""
    try:
        expiry = jwt.decode(token, options={"verify_signature": False}).get("exp")
        if isinstance(expiry, bool) or not isinstance(expiry, int | float):
            return None
        return float(expiry) if math.isfinite(expiry) else None
    except (jwt.InvalidTokenError, OverflowError):
        return None


def earliest(*times: float | None) -> float | None:
    return min((time for time in times if time is not None), default=None)
