"""The issuer on a socket: who is asked for what, and how answers and errors look on the wire.

As with tsidp there are no cache headers, except on errors; an error's text is JSON only for those
who accept JSON, and is called text/plain either way; the URLs in the discovery document are the
issuer's own, by whatever name it was reached.
"""

from __future__ import annotations

import base64
import binascii
import json
import time
from collections.abc import Mapping
from typing import Any, Final

from aiohttp import web

from proxy.tools.demo.issuer.authorize import (
    CHALLENGE_METHODS,
    SCOPES,
    authorization_request,
    check_identity,
)
from proxy.tools.demo.issuer.claims import LIFETIME, id_token_claims, user_info
from proxy.tools.demo.issuer.page import HEADERS, sign_in_page
from proxy.tools.demo.issuer.protocol import Client, Login, Refused, SentBack
from proxy.tools.demo.issuer.sessions import Credentials, Sessions
from proxy.tools.demo.issuer.signing import SigningKey, go_json
from proxy.tools.demo.people import EVERYONE

DISCOVERY: Final = "/.well-known/openid-configuration"
JWKS: Final = "/.well-known/jwks.json"
_CORS: Final = {"Access-Control-Allow-Origin": "*"}


class Issuer:
    """The provider at ``url``; ``app`` serves it."""

    def __init__(self, url: str, client: Client) -> None:
        self.url, self.client = url, client
        self._sessions = Sessions(client)
        self._key = SigningKey()

    def app(self) -> web.Application:
        app = web.Application(middlewares=[_errors])
        app.router.add_get(DISCOVERY, self._discovery)
        app.router.add_get(JWKS, self._key_set)
        app.router.add_route("*", "/authorize", self._authorize)
        app.router.add_route("*", "/token", self._token)
        app.router.add_get("/userinfo", self._user_info)
        return app

    async def _discovery(self, _: web.Request) -> web.Response:
        return _document(discovery_document(self.url))

    async def _key_set(self, _: web.Request) -> web.Response:
        return _document(self._key.key_set())

    async def _authorize(self, request: web.Request) -> web.Response:
        if request.method not in ("GET", "POST"):
            raise Refused(405, "invalid_request", "method not allowed")
        asked = authorization_request(request.query, self.client)
        person = EVERYONE.get(request.query.get("user", ""))
        if person is None:
            page = sign_in_page(request.query, EVERYONE.values())
            return web.Response(text=page, content_type="text/html", headers=HEADERS)
        check_identity(person, asked)
        code = self._sessions.begin(Login(person, asked))
        return _redirect(asked.answer(code=code))

    async def _token(self, request: web.Request) -> web.Response:
        if request.method == "OPTIONS":
            return web.Response(status=204, headers=_CORS)
        if request.method != "POST":
            raise Refused(405, "invalid_request", "method not allowed")
        form = {name: str(value) for name, value in (await request.post()).items()}
        now = time.time()
        login = self._grant(form, _credentials(request, form), now)
        issued = self._sessions.issue(login, now)
        answer = {
            "id_token": self._key.token(id_token_claims(login, self.url, now)),
            "token_type": "Bearer",
            "access_token": issued.access_token,
            "refresh_token": issued.refresh_token,
            "expires_in": LIFETIME,
        }
        text = json.dumps(answer, separators=(",", ":")) + "\n"
        return web.Response(body=text.encode(), content_type="application/json", headers=_CORS)

    def _grant(self, form: Mapping[str, str], credentials: Credentials, now: float) -> Login:
        match form.get("grant_type"):
            case "authorization_code":
                return self._sessions.redeem(form, credentials)
            case "refresh_token":
                return self._sessions.refresh(form, credentials, now)
            case "urn:ietf:params:oauth:grant-type:token-exchange":
                raise Refused(400, "unsupported_grant_type", "token exchange not enabled")
            case _:
                raise Refused(400, "unsupported_grant_type", "unsupported grant type")

    async def _user_info(self, request: web.Request) -> web.Response:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme != "Bearer":
            raise Refused(400, "invalid_request", "missing or invalid Authorization header")
        text = go_json(user_info(self._sessions.login_of(token, time.time()))) + "\n"
        return web.Response(body=text.encode(), content_type="application/json", headers=_CORS)


def discovery_document(url: str) -> dict[str, object]:
    return {
        "issuer": url,
        "authorization_endpoint": f"{url}/authorize",
        "token_endpoint": f"{url}/token",
        "userinfo_endpoint": f"{url}/userinfo",
        "introspection_endpoint": f"{url}/introspect",
        "registration_endpoint": f"{url}/register",
        "jwks_uri": f"{url}{JWKS}",
        "scopes_supported": SCOPES,
        "response_types_supported": ["id_token", "code"],
        "subject_types_supported": ["public"],
        "claims_supported": [
            *["sub", "aud", "exp", "iat", "iss", "jti", "nbf", "username", "email", "key"],
            *["addresses", "nid", "node", "tailnet", "tags", "user", "uid"],
        ],
        "id_token_signing_alg_values_supported": ["RS256"],
        "grant_types_supported": ["authorization_code", "refresh_token"],
        "token_endpoint_auth_methods_supported": ["client_secret_post", "client_secret_basic"],
        "code_challenge_methods_supported": CHALLENGE_METHODS,
    }


def _credentials(request: web.Request, form: Mapping[str, str]) -> Credentials:
    """Read them from the header where there is one (RFC 6749, section 2.3.1), else the form."""
    scheme, _, encoded = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "basic":
        try:
            client_id, _, secret = base64.b64decode(encoded, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return Credentials("", "")
        return Credentials(client_id, secret)
    return Credentials(form.get("client_id", ""), form.get("client_secret", ""))


@web.middleware
async def _errors(request: web.Request, handler: Any) -> web.StreamResponse:
    try:
        answer: web.StreamResponse = await handler(request)
    except SentBack as sent_back:
        return _redirect(sent_back.location)
    except Refused as refused:
        if "application/json" in request.headers.get("Accept", ""):
            error = {"error": refused.error, "error_description": refused.description}
            text = json.dumps(error, separators=(",", ":")) + "\n"
        else:
            text = f"Error {refused.status}: {refused.error} - {refused.description}\n"
        return web.Response(status=refused.status, text=text, headers={"Cache-Control": "no-store"})
    return answer


def _redirect(location: str) -> web.Response:
    return web.Response(status=302, headers={"Location": location})


def _document(document: Mapping[str, object]) -> web.Response:
    body = (json.dumps(document, indent=2) + "\n").encode()
    return web.Response(body=body, content_type="application/json", headers=_CORS)
