"""Codes, access tokens and refresh tokens: who may have which, once (tsidp's server/token.go).

A code or refresh token is gone as soon as it was shown, even to a client that then fails to
authenticate. A refreshed token is made from the login as it was: a group that somebody has lost
since stays in it. Nothing here is kept beyond the process.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from proxy.tools.demo.issuer.protocol import AuthorizationRequest, Client, Login, Refused

ACCESS_LIFETIME: Final = 300  # seconds
REFRESH_LIFETIME: Final = 30 * 24 * 3600  # seconds
_VERIFIER: Final = re.compile(r"[A-Za-z0-9\-._~]{43,128}")  # RFC 7636, section 4.1


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a client says that it is, in the Authorization header or in the form."""

    client_id: str
    secret: str


@dataclass(frozen=True, slots=True)
class Issued:
    """The two opaque tokens beside an ID token."""

    access_token: str
    refresh_token: str


class Sessions:
    """The logins under way of one client."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._codes: dict[str, Login] = {}
        self._access: dict[str, tuple[Login, float]] = {}
        self._refresh: dict[str, tuple[Login, float]] = {}

    def begin(self, login: Login) -> str:
        """Return a code for ``login``."""
        code = secrets.token_hex(16)
        self._codes[code] = login
        return code

    def redeem(self, form: Mapping[str, str], credentials: Credentials) -> Login:
        """Return the login of a code. Raises Refused."""
        code = _required(form, "code")
        login = self._codes.pop(code, None)
        if login is None:
            raise Refused(400, "invalid_grant", "code not found")
        self._authenticate(credentials)
        if form.get("redirect_uri", "") != login.request.redirect_uri:
            raise Refused(400, "invalid_request", "redirect_uri mismatch")
        if login.request.challenge:
            _verify(_required(form, "code_verifier"), login.request)
        return login

    def refresh(self, form: Mapping[str, str], credentials: Credentials, now: float) -> Login:
        """Return the login of a refresh token. Raises Refused."""
        token = _required(form, "refresh_token")
        login, valid_till = self._refresh.pop(token, (None, 0.0))
        if login is None or valid_till < now:
            raise Refused(400, "invalid_grant", "invalid refresh token")
        self._authenticate(credentials)
        return login

    def issue(self, login: Login, now: float) -> Issued:
        issued = Issued(secrets.token_hex(16), secrets.token_hex(16))
        self._access[issued.access_token] = login, now + ACCESS_LIFETIME
        self._refresh[issued.refresh_token] = login, now + REFRESH_LIFETIME
        return issued

    def login_of(self, access_token: str, now: float) -> Login:
        """Return who an access token speaks for. Raises Refused."""
        login, valid_till = self._access.get(access_token, (None, 0.0))
        if login is None or valid_till < now:
            raise Refused(400, "invalid_request", "invalid token")
        return login

    def _authenticate(self, credentials: Credentials) -> None:
        failed = "client authentication failed"
        if not credentials.client_id or not credentials.secret:
            raise Refused(401, "invalid_client", failed)
        if credentials.client_id != self._client.id:
            raise Refused(400, "invalid_client", failed)
        if not hmac.compare_digest(credentials.secret.encode(), self._client.secret.encode()):
            raise Refused(401, "invalid_client", failed)


def s256(verifier: str) -> str:
    """Return the PKCE challenge of a verifier (RFC 7636, section 4.2)."""
    digest = hashlib.sha256(verifier.encode()).digest()
    return urlsafe_b64encode(digest).rstrip(b"=").decode()


def _verify(verifier: str, request: AuthorizationRequest) -> None:
    challenge = s256(verifier) if request.challenge_method == "S256" else verifier
    if not _VERIFIER.fullmatch(verifier) or challenge != request.challenge:
        raise Refused(400, "invalid_grant", "code verification failed")


def _required(form: Mapping[str, str], name: str) -> str:
    value = form.get(name, "")
    if not value:
        raise Refused(400, "invalid_request", f"{name} is required")
    return value
