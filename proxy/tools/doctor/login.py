"""``--login``: the real code flow, with PKCE, as Headlamp's client. Authlib writes and reads it.

tsidp hands its code to whoever asks from the tailnet, so there Headlamp's own callback is used and
no browser is needed: the redirect is read, not followed. Any other issuer wants a person in a
browser, who comes back to a loopback address, which must be registered for the client as well.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import sys
import webbrowser
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from aiohttp import web
from authlib.oauth2.rfc6749.parameters import prepare_grant_uri
from authlib.oauth2.rfc7636 import create_s256_code_challenge

from proxy.authn.fetch import FetchError
from proxy.tools.doctor import browser, causes, issuer
from proxy.tools.doctor.ask import NoAnswer
from proxy.tools.doctor.authorize import Refusal, no_token, refusal_of, returned, sent_back
from proxy.tools.doctor.client import (
    answer_of,
    callback_is_known,
    callback_of,
    client_of,
    provider_of,
)
from proxy.tools.doctor.examination import Examination, Provider
from proxy.tools.doctor.token_endpoint import redeem
from proxy.tools.doctor.verdict import Status, Verdict, failed, ok, unknown

CALLBACK: Final = "http://localhost:8000"  # kubelogin's, so it is often registered already
ANOTHER: Final = "http://localhost:18000"
PATIENCE: Final = 300.0  # seconds that a person has
_PAGE: Final = "<!doctype html><title>doctor</title><p>Back to the terminal; close this window."

Show = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class _Flow:
    """One login under way: what was sent along, to be compared and proved."""

    provider: Provider
    client_id: str
    callback: str
    state: str
    verifier: str

    def url(self, scopes: tuple[str, ...]) -> str:
        challenge = create_s256_code_challenge(self.verifier)
        url: str = prepare_grant_uri(
            str(self.provider.metadata["authorization_endpoint"]),
            self.client_id,
            "code",
            self.callback,
            " ".join(scopes),
            self.state,
            code_challenge=challenge,
            code_challenge_method="S256",
        )
        return url


async def login_first(x: Examination, seconds: float, show: Show) -> None:
    """Sign in before anything is said, so that each trust can say what the token shows of it.

    How it went, and the token, are then known to ``x``. Headlamp and the issuer are looked at for
    it within ``seconds``; if they cannot be, there is no login, and their own trusts say why.
    """
    with contextlib.suppress(Exception):
        async with asyncio.timeout(seconds):
            for examiner in (browser.examine, issuer.examine):
                async for _ in examiner(x):
                    pass
    await _sign_in(x, show)
    x.known.headlamp = None
    x.known.providers.clear()


async def _sign_in(x: Examination, show: Show) -> None:
    provider = provider_of(x)
    if provider is None:
        return
    try:
        x.known.login = await _signed_in(x, provider, show)
    except (NoAnswer, FetchError) as error:
        mend = "see what ails the issuer, or the way to it"
        x.known.login = failed(causes.LOGIN_FAILED, str(error), mend)
    except OSError as error:
        where = x.asked.login_callback or CALLBACK
        mend = f"register another address for the client: --login-callback={ANOTHER}"
        saw = f"cannot listen at {where} for the browser to come back: {error.strerror}"
        x.known.login = unknown(causes.LOGIN_NOT_FINISHED, saw, mend)


async def _signed_in(x: Examination, provider: Provider, show: Show) -> Verdict:
    scopes = x.known.scopes or ("openid", "email", "profile")
    wanted = x.asked.login_callback or callback_of(x) or CALLBACK
    flow = _flow(x, provider, wanted)
    x.say("signing in")
    answer = await answer_of(provider, flow.url(scopes))
    handed = returned(answer, flow.callback)
    if handed is None:
        if answer.status >= 400:
            saw = f"the issuer answers {answer.status}: {refusal_of(answer).words}"
            mend = (
                f"register {wanted} for the client {flow.client_id}, or give another one that is: "
                f"--login-callback={CALLBACK}"
            )
            if wanted == callback_of(x) and not callback_is_known(x):
                saw = f"{saw}; {wanted} was tried, and no Headlamp answers there (trust 1)"
                return unknown(causes.LOGIN_NOT_FINISHED, saw, mend)
            return failed(causes.LOGIN_FAILED, saw, mend)
        flow = _flow(x, provider, x.asked.login_callback or CALLBACK)
        handed = await _by_a_person(flow, scopes, show)
        if handed is None:
            saw = f"nobody came back to {flow.callback} within {PATIENCE:g} s"
            mend = (
                f"register {flow.callback} for the client {flow.client_id} as well, and try again"
            )
            return unknown(causes.LOGIN_NOT_FINISHED, saw, mend)
    if "error" in handed:
        verdict = sent_back(
            Refusal(handed["error"], handed.get("error_description", "")), flow.client_id
        )
        if verdict.status is Status.OK:  # the client is known, and still nobody is signed in
            return failed(causes.TAGGED_DEVICE, verdict.saw, "sign in from a person's own device")
        return verdict
    if handed.get("state") != flow.state or "code" not in handed:
        saw = "the issuer came back without the state or the code of this login"
        return failed(causes.LOGIN_FAILED, saw, "try again; another program may have answered")
    return await _redeemed(x, flow, handed["code"])


def _flow(x: Examination, provider: Provider, callback: str) -> _Flow:
    client_id = client_of(x, provider)
    state, verifier = secrets.token_urlsafe(24), secrets.token_urlsafe(48)
    return _Flow(provider, client_id, callback, state, verifier)


async def _redeemed(x: Examination, flow: _Flow, code: str) -> Verdict:
    endpoint = str(flow.provider.metadata["token_endpoint"])
    answer = await redeem(x, flow.provider, flow.client_id, flow.callback, code, flow.verifier)
    document = answer.json()
    if answer.status != 200 or not isinstance(document, dict):
        has_secret = bool(x.asked.client_secret)
        return no_token(answer, flow.client_id, flow.callback, has_secret=has_secret)
    token = document.get("id_token")
    if not isinstance(token, str):
        saw = f"{endpoint} gives {', '.join(sorted(map(str, document)))}, and no id_token"
        mend = "-oidc-scopes=email,profile  # Headlamp's flag: openid goes along of itself"
        return failed(causes.NO_ID_TOKEN, saw, mend)
    x.known.token = token.encode()
    return ok(f"a real login went well: client {flow.client_id}, its secret, {flow.callback}")


async def _by_a_person(flow: _Flow, scopes: tuple[str, ...], show: Show) -> dict[str, str] | None:
    """Have somebody sign in with a browser; return what the issuer hands to the callback."""
    came: asyncio.Future[dict[str, str]] = asyncio.get_running_loop().create_future()
    async with _listening(flow, came):
        url = flow.url(scopes)
        show(f"Sign in with a browser on this machine:\n\n    {url}\n")
        if os.environ.get("KUBERNETES_SERVICE_HOST"):
            port = urlsplit(flow.callback).port
            show(f"From elsewhere, first: kubectl port-forward POD {port}\n")
        if sys.stderr.isatty() and (os.environ.get("DISPLAY") or sys.platform == "darwin"):
            await asyncio.to_thread(webbrowser.open, url)
        try:
            async with asyncio.timeout(PATIENCE):
                return await came
        except TimeoutError:
            return None


@contextlib.asynccontextmanager
async def _listening(flow: _Flow, came: asyncio.Future[dict[str, str]]) -> AsyncIterator[None]:
    """Listen where the browser comes back to. Raises OSError."""
    parts = urlsplit(flow.callback)

    async def take(request: web.Request) -> web.Response:
        query = dict(request.query)
        if query.get("state") != flow.state:  # not ours: a stale tab, or somebody's attempt
            return web.Response(status=400, text="This is no answer to the login under way.\n")
        if not came.done():
            came.set_result(query)
        return web.Response(text=_PAGE, content_type="text/html")

    app = web.Application()
    app.router.add_get(parts.path or "/", take)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, parts.hostname, parts.port or 80).start()
        yield
    finally:
        await runner.cleanup()
