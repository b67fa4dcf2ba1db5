"""What /authorize makes of its query, in tsidp's order and words (server/authorize.go).

Whatever is wrong with the client or its redirect URI is told to the browser, since nobody else can
be trusted with it (RFC 6749, section 4.1.2.1); all other errors go back to the client.
``response_type``, ``prompt``, ``max_age`` and ``resource`` are ignored, as tsidp ignores them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from proxy.tools.demo.issuer.protocol import AuthorizationRequest, Client, Refused, SentBack
from proxy.tools.demo.people import Person

SCOPES: Final = ("openid", "email", "profile")
CHALLENGE_METHODS: Final = ("plain", "S256")


def authorization_request(query: Mapping[str, str], client: Client) -> AuthorizationRequest:
    """Return the request that ``query`` makes. Raises Refused and SentBack."""
    redirect_uri, state = query.get("redirect_uri", ""), query.get("state", "")
    _check_client(query.get("client_id", ""), redirect_uri, client)
    scopes = tuple(query.get("scope", "").split()) or ("openid",)
    for scope in scopes:
        if scope not in SCOPES:
            description = f'invalid scope: unsupported scope: "{scope}"'
            raise SentBack(redirect_uri, "invalid_scope", description, state)
    method = query.get("code_challenge_method") or "plain"
    if query.get("code_challenge") and method not in CHALLENGE_METHODS:
        description = "unsupported code_challenge_method"
        raise SentBack(redirect_uri, "invalid_request", description, state)
    return AuthorizationRequest(
        client.id,
        redirect_uri,
        scopes,
        query.get("nonce", ""),
        state,
        query.get("code_challenge", ""),
        method,
    )


def check_identity(person: Person, request: AuthorizationRequest) -> None:
    """Raises SentBack for a device that belongs to nobody."""
    if person.tagged:
        description = "tagged node doesn't have a user identity"
        raise SentBack(request.redirect_uri, "access_denied", description, request.state)


def _check_client(client_id: str, redirect_uri: str, client: Client) -> None:
    if not redirect_uri:
        raise Refused(400, "invalid_request", "must specify redirect_uri")
    if not client_id:
        raise Refused(400, "invalid_request", "must specify client_id")
    if client_id != client.id:
        raise Refused(400, "invalid_client", "invalid client ID")
    if redirect_uri not in client.redirect_uris:
        raise Refused(400, "invalid_request", "redirect_uri mismatch")
