"""The token endpoint, asked as Headlamp asks it. Authlib writes the request, and the credentials.

Many issuers look at the client's secret before the code, so a code that cannot be theirs already
shows a wrong secret there. tsidp looks at the code first.
"""

from __future__ import annotations

import secrets

from authlib.oauth2.auth import ClientAuth
from authlib.oauth2.rfc6749.parameters import prepare_token_request

from proxy.authn.fetch import Fetcher, FetchError
from proxy.tools.doctor import causes
from proxy.tools.doctor.answer import Answer
from proxy.tools.doctor.ask import NoAnswer, ask
from proxy.tools.doctor.authorize import no_token, refusal_of
from proxy.tools.doctor.examination import Examination, Provider
from proxy.tools.doctor.tsidp import is_tsidp
from proxy.tools.doctor.verdict import Verdict, ok, unknown


async def redeem(
    x: Examination, provider: Provider, client_id: str, callback: str, code: str, verifier: str
) -> Answer:
    """Redeem a code, with the secret in the header or the form, as the issuer has it.

    Raises NoAnswer and FetchError.
    """
    methods = provider.metadata.get("token_endpoint_auth_methods_supported")
    method = "client_secret_basic"
    if isinstance(methods, list) and method not in methods:
        method = "client_secret_post"
    body = prepare_token_request(
        "authorization_code", code=code, redirect_uri=callback, code_verifier=verifier
    )
    secret = x.asked.client_secret
    auth = ClientAuth(client_id, secret, method if secret else "none")
    headers = {
        "Accept": "application/json",
        "Content-Type": "application/x-www-form-urlencoded",
    }
    endpoint = str(provider.metadata["token_endpoint"])
    url, headers, body = auth.prepare("POST", endpoint, headers, body)
    settings = provider.plan.settings
    http_proxy = settings.proxy if settings.proxy and settings.proxy.startswith("http:") else None
    async with Fetcher(settings.ca, settings.proxy).session() as session:
        return await ask(session, url, method="POST", body=body, headers=headers, proxy=http_proxy)


async def secret(x: Examination, provider: Provider, client_id: str, callback: str) -> Verdict:
    """Say what a code that cannot be good shows of the secret."""
    x.say(f"asking {provider.metadata['token_endpoint']} with the secret, and no good code")
    login = "headlamp-auth-proxy doctor --login --client-secret-file=FILE  # a real login"
    code, verifier = secrets.token_hex(16), secrets.token_urlsafe(48)
    try:
        answer = await redeem(x, provider, client_id, callback, code, verifier)
    except (NoAnswer, FetchError) as error:
        return unknown(causes.SECRET_NOT_CHECKED, str(error), login)
    refusal = refusal_of(answer)
    if answer.status == 401 or refusal.error in {"invalid_client", "unauthorized_client"}:
        return no_token(answer, client_id, callback, has_secret=True)
    if refusal.error == "invalid_grant" and not is_tsidp(provider.metadata):
        return ok(f"the issuer takes the secret of the client {client_id}")
    saw = "this issuer looks at the code before the secret, which shows in a real login only"
    return unknown(causes.SECRET_NOT_CHECKED, saw, login)
