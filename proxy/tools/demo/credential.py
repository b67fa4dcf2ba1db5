"""``demo credential``: signs somebody in at the demo's issuer and prints the token for kubectl.

The code flow as any client would go through it, with PKCE; only that the page on which one
chooses who to be is skipped by naming the choice.
"""

from __future__ import annotations

import argparse
import base64
import http.client
import json
import secrets
import ssl
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, urlencode, urlsplit

from proxy.tools.demo.issuer.protocol import REDIRECT_URIS
from proxy.tools.demo.issuer.sessions import s256

TIMEOUT: Final = 10.0  # seconds
_REDIRECT_URI: Final = REDIRECT_URIS[-1]  # nobody listens there: the code is read from the answer


class SignInError(Exception):
    """The issuer said no, or said nothing that can be used."""


@dataclass(frozen=True, slots=True)
class _Reply:
    status: int
    location: str
    body: str


def run(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser("headlamp-auth-proxy demo credential", add_help=False)
    for name in ("user", "issuer-url", "issuer-ca", "client-id", "client-secret-file"):
        parser.add_argument(f"--{name}", required=True)
    options = parser.parse_args(arguments)
    try:
        secret = Path(options.client_secret_file).read_text().strip()
        issuer = _Issuer(options.issuer_url, options.issuer_ca, options.client_id, secret)
        token = issuer.sign_in(options.user)
        credential = exec_credential(token)
    except (SignInError, OSError, http.client.HTTPException) as error:
        sys.stderr.write(f"cannot sign in as {options.user}: {error}\n")
        return 1
    sys.stdout.write(json.dumps(credential) + "\n")
    return 0


def exec_credential(id_token: str) -> Mapping[str, Any]:
    """Return the ExecCredential of a token (client.authentication.k8s.io/v1)."""
    payload = id_token.split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    expires = datetime.fromtimestamp(claims["exp"], UTC)
    return {
        "kind": "ExecCredential",
        "apiVersion": "client.authentication.k8s.io/v1",
        "status": {"token": id_token, "expirationTimestamp": f"{expires:%Y-%m-%dT%H:%M:%SZ}"},
    }


class _Issuer:
    def __init__(self, url: str, ca_file: str, client_id: str, secret: str) -> None:
        self._url = urlsplit(url)
        self._tls = ssl.create_default_context(cafile=ca_file)
        self._client_id, self._secret = client_id, secret

    def sign_in(self, user: str) -> str:
        """Return an ID token. Raises SignInError, OSError and HTTPException."""
        verifier, state = secrets.token_urlsafe(48), secrets.token_urlsafe(16)
        return self._token(self._code(user, s256(verifier), state), verifier)

    def _code(self, user: str, challenge: str, state: str) -> str:
        query = {
            "client_id": self._client_id,
            "redirect_uri": _REDIRECT_URI,
            "response_type": "code",
            "scope": "openid email profile",
            "state": state,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
            "user": user,
        }
        reply = self._ask("GET", f"/authorize?{urlencode(query)}")
        answer = {
            name: values[0] for name, values in parse_qs(urlsplit(reply.location).query).items()
        }
        if "error" in answer:
            raise SignInError(f"{answer['error']} - {answer.get('error_description')}")
        if reply.status == http.HTTPStatus.OK:
            raise SignInError("the issuer knows nobody of that name")
        if "code" not in answer or answer.get("state") != state:
            raise SignInError(reply.body.strip() or f"/authorize answered {reply.status}")
        return answer["code"]

    def _token(self, code: str, verifier: str) -> str:
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": _REDIRECT_URI,
            "code_verifier": verifier,
        }
        basic = base64.b64encode(f"{self._client_id}:{self._secret}".encode()).decode()
        headers = {
            "Authorization": f"Basic {basic}",
            "Content-Type": "application/x-www-form-urlencoded",
        }
        reply = self._ask("POST", "/token", urlencode(form), headers)
        if reply.status != http.HTTPStatus.OK:
            raise SignInError(reply.body.strip())
        return str(json.loads(reply.body)["id_token"])

    def _ask(
        self, method: str, target: str, body: str = "", headers: Mapping[str, str] | None = None
    ) -> _Reply:
        connection = http.client.HTTPSConnection(
            self._url.hostname or "", self._url.port, timeout=TIMEOUT, context=self._tls
        )
        try:
            connection.request(method, target, body, headers or {})
            answer = connection.getresponse()
            return _Reply(answer.status, answer.getheader("Location", ""), answer.read().decode())
        finally:
            connection.close()
