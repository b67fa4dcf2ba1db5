"""The words of OAuth that the issuer's parts share: its client, a login, and two ways to say no."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from proxy.tools.demo.people import Person

REDIRECT_URIS = (
    "http://localhost:4466/oidc-callback",  # Headlamp's own
    "http://127.0.0.1:4466/oidc-callback",
    "http://localhost:8000",  # kubelogin's, and that of the kubeconfigs made here
)


@dataclass(frozen=True, slots=True)
class Client:
    """The one registered client; tsidp has no public ones, so there always is a secret."""

    id: str
    secret: str = field(repr=False)
    redirect_uris: tuple[str, ...] = REDIRECT_URIS


@dataclass(frozen=True, slots=True)
class AuthorizationRequest:
    """What a client asked of /authorize, once it has been found to be in order."""

    client_id: str
    redirect_uri: str
    scopes: tuple[str, ...]
    nonce: str
    state: str
    challenge: str
    challenge_method: str

    def answer(self, **parameters: str) -> str:
        """Return where the browser goes with a code; a query that was there is dropped."""
        parts = urlsplit(self.redirect_uri)
        query = {"state": self.state, **parameters} if self.state else parameters
        return urlunsplit(parts._replace(query=urlencode(sorted(query.items()))))


@dataclass(frozen=True, slots=True)
class Login:
    """Somebody who signed in for a request; every token of the login is made from this alone."""

    person: Person
    request: AuthorizationRequest


class Refused(Exception):
    """An answer of the issuer itself: HTTP status, OAuth error and description."""

    def __init__(self, status: int, error: str, description: str) -> None:
        super().__init__(description)
        self.status, self.error, self.description = status, error, description


class SentBack(Exception):
    """A no that the client hears of: ``location`` is its redirect URI with the error in it."""

    def __init__(self, redirect_uri: str, error: str, description: str, state: str) -> None:
        super().__init__(description)
        parts = urlsplit(redirect_uri)
        query = dict(parse_qsl(parts.query)) | {"error": error, "error_description": description}
        if state:
            query["state"] = state
        self.location = urlunsplit(parts._replace(query=urlencode(sorted(query.items()))))
