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
from proxy.tools.doctor.headlamp import Seen
from proxy.tools.doctor.token_endpoint import secret
from proxy.tools.doctor.tsidp import gates_by_scope
from proxy.tools.doctor.verdict import Status, Verdict, failed, noted, skipped, unknown

MADE_UP: Final = "https://headlamp.invalid/oidc-callback"
LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "::1"})


async def examine(x: Examination) -> AsyncIterator[Verdict]:
    """Examine the client id and the callback, and what a login has shown of the rest."""
    provider = provider_of(x)
    if provider is None:
        yield skipped(causes.DEPENDS_ON_FAILED, "the issuer itself (trust 2) comes first")
        return
    asks = x.known.headlamp.asks if x.known.headlamp else None
    if asks and not asks.at(provider.metadata):
        saw = "Headlamp is the client of another issuer (trust 2), which comes first"
        yield skipped(causes.DEPENDS_ON_FAILED, saw)
    else:
        async for verdict in _as_client(x, provider):
            yield verdict
    async for verdict in tokens.examine(x, 3):
        yield verdict


async def _as_client(x: Examination, provider: Provider) -> AsyncIterator[Verdict]:
    """Say what of the client is wrong, and then ask as if that were mended."""
    client_id, callback = client_of(x, provider), callback_of(x)
    asks = x.known.headlamp.asks if x.known.headlamp else None
    if client_id != client_id.strip():
        yield failed(
            causes.CLIENT_UNKNOWN,
            f"Headlamp's client id is {client_id!a}: a blank or a line break belongs to it",
            "kubectl -n headlamp patch secret headlamp-oidc -p "
            f'\'{{"stringData":{{"OIDC_CLIENT_ID":"{client_id.strip()}"}}}}\'',
        )
        client_id = client_id.strip()
    elif asks and client_id not in provider.plan.rules.audiences:
        yield failed(
            causes.TOKEN_CAUSES["audience_mismatch"],
            f"Headlamp signs people in as the client {client_id}; tokens are accepted for "
            f"{', '.join(sorted(provider.plan.rules.audiences))}",
            f"--oidc-client-id={client_id}",
        )
    if x.known.headlamp is not None and (elsewhere := _callback(x.known.headlamp)) is not None:
        yield elsewhere
        if elsewhere.status is Status.FAILED:
            callback = f"{x.known.headlamp.url}/oidc-callback"
    login, is_refused = x.known.login, False
    if login is None or login.status is not Status.OK:
        asked = await _asked(x, provider, client_id, callback)
        yield asked
        if asked.cause == causes.CLIENT_UNKNOWN.id:  # so its secret is not known either
            return
        is_refused = asked.status is Status.FAILED
    for verdict in exchanged(x.known.headlamp, client_id, provider):
        yield verdict
    if login is not None:
        if not (is_refused and login.cause == causes.LOGIN_FAILED.id):  # for the same reason
            yield login
    elif x.asked.client_secret:
        yield await secret(x, provider, client_id, callback or MADE_UP)
    elif x.asked.token is None and not proves_secret(x.known.headlamp, provider):
        mend = "headlamp-auth-proxy doctor --login --client-secret-file=FILE  # a real login"
        yield unknown(causes.SECRET_NOT_CHECKED, "the secret shows only in a real login", mend)


def provider_of(x: Examination) -> Provider | None:
    """Return the issuer that Headlamp is a client of, of those that are known to be well."""
    asks = x.known.headlamp.asks if x.known.headlamp else None
    for provider in x.known.providers:
        if asks and asks.at(provider.metadata):
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


def callback_is_known(x: Examination) -> bool:
    """Say whether ``callback_of`` is that of a Headlamp, and not of an address where none is."""
    return x.known.headlamp is not None and callback_of(x) is not None


def _callback(seen: Seen) -> Verdict | None:
    """Say so if the callback that Headlamp names does not lead to the address that it has."""
    if seen.asks is None or seen.in_pod:
        return None
    url = seen.url
    expected, named = f"{url}/oidc-callback", seen.asks.redirect_uri
    ours, theirs = urlsplit(expected), urlsplit(named)
    if (ours.scheme, ours.netloc, ours.path) == (theirs.scheme, theirs.netloc, theirs.path):
        return None
    if ours.hostname in LOOPBACK and theirs.hostname not in LOOPBACK:
        saw = f"Headlamp is reached at {url} here, and browsers come back to {named}"
        mend = f"headlamp-auth-proxy doctor --headlamp-url={named.removesuffix('/oidc-callback')}"
        return noted(causes.CALLBACK_ELSEWHERE, saw, mend)
    why = ""
    if (ours.scheme, theirs.scheme) == ("https", "http"):
        why = "; what stands before it does not send X-Forwarded-Proto"
    return failed(
        causes.CALLBACK_ELSEWHERE,
        f"Headlamp at {url} names the callback {named}{why}",
        f"-oidc-callback-url={expected}  # Headlamp's flag; in its Secret: OIDC_CALLBACK_URL",
    )


async def _asked(
    x: Examination, provider: Provider, client_id: str, callback: str | None
) -> Verdict:
    endpoint = str(provider.metadata["authorization_endpoint"])
    x.say(f"asking {endpoint} for a login to Headlamp")
    url = prepare_grant_uri(
        endpoint,
        client_id,
        "code",
        callback or MADE_UP,
        " ".join(_scopes(x, provider)),
        secrets.token_urlsafe(16),
    )
    try:
        answer = await answer_of(provider, url)
    except (NoAnswer, FetchError) as error:
        return unknown(causes.AUTHORIZE_FAILED, str(error), "try again where browsers are")
    return judge(answer, client_id, callback or MADE_UP, guessed=not callback_is_known(x))


def _scopes(x: Examination, provider: Provider) -> tuple[str, ...]:
    """Return what Headlamp asks for, without the scopes of which trust 2 says all there is to."""
    scopes = x.known.scopes or ("openid", "email", "profile")
    supported = provider.metadata.get("scopes_supported")
    if not gates_by_scope(provider.metadata) or not isinstance(supported, list):
        return scopes
    return tuple(scope for scope in scopes if scope in supported)


async def answer_of(provider: Provider, url: str) -> Answer:
    """Ask an issuer as serve would go there. Raises NoAnswer and FetchError."""
    settings = provider.plan.settings
    http_proxy = settings.proxy if settings.proxy and settings.proxy.startswith("http:") else None
    async with Fetcher(settings.ca, settings.proxy).session() as session:
        return await ask(session, url, proxy=http_proxy, headers={"Accept": "text/html,*/*"})
