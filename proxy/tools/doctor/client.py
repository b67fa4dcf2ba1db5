"""Trust 3: the issuer and Headlamp as its client, as far as can be told without a person.

The authorize endpoint is asked what Headlamp asks. tsidp gives a code to whoever is on the tailnet,
without a page; such a code is left alone.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from typing import Final
from urllib.parse import urlsplit

from authlib.oauth2.rfc6749.parameters import prepare_grant_uri

from proxy.authn.fetch import Fetcher, FetchError
from proxy.tools.doctor import causes, tokens
from proxy.tools.doctor.answer import Answer
from proxy.tools.doctor.ask import NoAnswer, ask
from proxy.tools.doctor.authorize import judge
from proxy.tools.doctor.examination import Examination, Provider
from proxy.tools.doctor.exchange import exchanged, proves_secret
from proxy.tools.doctor.token_endpoint import secret
from proxy.tools.doctor.verdict import Status, Verdict, failed, noted, skipped, unknown

MADE_UP: Final = "https://headlamp.invalid/oidc-callback"
LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "::1"})


async def examine(x: Examination) -> AsyncIterator[Verdict]:
    """Examine the client id and the callback, and what a login has shown of the rest."""
    provider = provider_of(x)
    if provider is None:
        yield skipped(causes.DEPENDS_ON_FAILED, "the issuer itself (trust 2) comes first")
        return
    client_id = client_of(x, provider)
    asks = x.known.headlamp.asks if x.known.headlamp else None
    if client_id != client_id.strip():
        yield failed(
            causes.CLIENT_UNKNOWN,
            f"Headlamp's client id is {client_id!a}: a blank or a line break belongs to it",
            "kubectl -n headlamp patch secret headlamp-oidc -p "
            f'\'{{"stringData":{{"OIDC_CLIENT_ID":"{client_id.strip()}"}}}}\'',
        )
    elif asks and client_id not in provider.plan.rules.audiences:
        yield failed(
            causes.TOKEN_CAUSES["audience_mismatch"],
            f"Headlamp signs people in as the client {client_id}; tokens are accepted for "
            f"{', '.join(sorted(provider.plan.rules.audiences))}",
            f"--oidc-client-id={client_id}",
        )
    for verdict in _callback(x):
        yield verdict
    for verdict in exchanged(x.known.headlamp, client_id, provider):
        yield verdict
    if x.known.login is None or x.known.login.status is not Status.OK:
        yield await _asked(x, provider, client_id)
    if x.known.login is not None:
        yield x.known.login
    elif x.asked.client_secret:
        yield await secret(x, provider, client_id, callback_of(x) or MADE_UP)
    elif x.asked.token is None and not proves_secret(x.known.headlamp, provider):
        mend = "headlamp-auth-proxy doctor --login --client-secret-file=FILE  # a real login"
        yield unknown(causes.SECRET_NOT_CHECKED, "the secret shows only in a real login", mend)
    async for verdict in tokens.examine(x, 3):
        yield verdict


def provider_of(x: Examination) -> Provider | None:
    """Return the issuer that Headlamp is a client of, of those that are known to be well."""
    asks = x.known.headlamp.asks if x.known.headlamp else None
    for provider in x.known.providers:
        if asks and provider.metadata.get("authorization_endpoint") == asks.endpoint:
            return provider
    return x.known.providers[0] if x.known.providers else None


def client_of(x: Examination, provider: Provider) -> str:
    """Return Headlamp's client id: what it says itself, else what is configured here."""
    seen = x.known.headlamp
    return seen.asks.client_id if seen and seen.asks else min(provider.plan.rules.audiences)


def callback_of(x: Examination) -> str | None:
    """Return the callback that Headlamp names to the issuer, if it can be known."""
    seen = x.known.headlamp
    asks = seen.asks if seen else None
    if seen and asks and not (seen.in_pod and urlsplit(asks.redirect_uri).hostname in LOOPBACK):
        return asks.redirect_uri
    url = seen.url if seen and not seen.in_pod else x.asked.headlamp_url
    return f"{url}/oidc-callback" if url else None


def _callback(x: Examination) -> list[Verdict]:
    """Say so if the callback that Headlamp names does not lead to the address that it has."""
    seen = x.known.headlamp
    if seen is None or seen.asks is None or seen.in_pod:
        return []
    url = seen.url
    expected, named = f"{url}/oidc-callback", seen.asks.redirect_uri
    ours, theirs = urlsplit(expected), urlsplit(named)
    if (ours.scheme, ours.netloc, ours.path) == (theirs.scheme, theirs.netloc, theirs.path):
        return []
    if ours.hostname in LOOPBACK and theirs.hostname not in LOOPBACK:
        saw = f"Headlamp is reached at {url} here, and browsers come back to {named}"
        mend = f"headlamp-auth-proxy doctor --headlamp-url={named.removesuffix('/oidc-callback')}"
        return [noted(causes.CALLBACK_ELSEWHERE, saw, mend)]
    why = ""
    if (ours.scheme, theirs.scheme) == ("https", "http"):
        why = "; what stands before it does not send X-Forwarded-Proto"
    return [
        failed(
            causes.CALLBACK_ELSEWHERE,
            f"Headlamp at {url} names the callback {named}{why}",
            f"-oidc-callback-url={expected}  # Headlamp's flag; in its Secret: OIDC_CALLBACK_URL",
        )
    ]


async def _asked(x: Examination, provider: Provider, client_id: str) -> Verdict:
    callback = callback_of(x)
    endpoint = str(provider.metadata["authorization_endpoint"])
    x.say(f"asking {endpoint} for a login to Headlamp")
    url = prepare_grant_uri(
        endpoint,
        client_id,
        "code",
        callback or MADE_UP,
        " ".join(x.known.scopes or ("openid", "email", "profile")),
        secrets.token_urlsafe(16),
    )
    try:
        answer = await answer_of(provider, url)
    except (NoAnswer, FetchError) as error:
        return unknown(causes.AUTHORIZE_FAILED, str(error), "try again where browsers are")
    return judge(answer, client_id, callback or MADE_UP, guessed=callback is None)


async def answer_of(provider: Provider, url: str) -> Answer:
    """Ask an issuer as serve would go there. Raises NoAnswer and FetchError."""
    settings = provider.plan.settings
    http_proxy = settings.proxy if settings.proxy and settings.proxy.startswith("http:") else None
    async with Fetcher(settings.ca, settings.proxy).session() as session:
        return await ask(session, url, proxy=http_proxy, headers={"Accept": "text/html,*/*"})
