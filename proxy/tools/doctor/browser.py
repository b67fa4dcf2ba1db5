"""Trust 1: the browser and the Headlamp address. Its TLS, and that what answers is Headlamp.

Without an address, as in the pod, Headlamp is asked on the pod's own loopback, where it listens;
what browsers see then stays unknown.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import AsyncIterator
from ipaddress import ip_address
from urllib.parse import urlsplit

from proxy.tls import client_context
from proxy.tools.doctor import causes, headlamp
from proxy.tools.doctor.answer import Answer
from proxy.tools.doctor.ask import NoAnswer, ask
from proxy.tools.doctor.examination import Examination
from proxy.tools.doctor.trouble import Trouble
from proxy.tools.doctor.tsidp import on_tailnet
from proxy.tools.doctor.verdict import Verdict, failed, noted, ok, unknown
from proxy.tools.doctor.ways import Way, ends_soon


async def examine(x: Examination) -> AsyncIterator[Verdict]:
    """Examine the way from a browser to Headlamp, and hear what Headlamp has to say."""
    url = x.asked.headlamp_url
    if not url:
        yield await _from_within(x)
        return
    async for verdict in _address(x, url):
        yield verdict


async def _address(x: Examination, url: str, *, followed: bool = False) -> AsyncIterator[Verdict]:
    tls = _context(x)
    way = Way(
        "--headlamp-url",
        url,
        "--headlamp-ca-file",
        tls,
        causes=causes.HEADLAMP_WAY,
        has_ca_file=x.asked.headlamp_ca_file is not None,
    )
    x.say(f"connecting to {url}")
    try:
        reached = await way.go(url)
    except Trouble as trouble:
        yield way.verdict(url, trouble)
        return
    if (soon := ends_soon(url, reached)) is not None:
        yield soon
    x.say(f"asking {url}/config")
    try:
        answer = await ask(x.session, f"{url}/config", tls=tls)
        clusters = headlamp.clusters_of(answer.json()) if answer.status == 200 else None
        if not followed and (better := _with_tls(url, answer)) is not None:
            yield noted(causes.HEADLAMP_REDIRECTS, f"{url} leads browsers to {better}")
            async for verdict in _address(x, better, followed=True):
                yield verdict
            return
        if clusters is None:
            yield await _not_headlamp(x, url, answer, tls)
            return
        x.say(f"asking {url}/oidc where it sends people")
        x.known.headlamp = await headlamp.look(x.session, url, tls, clusters)
    except NoAnswer as error:
        mend = "see what Headlamp's pod does: kubectl -n headlamp describe pod,svc,ingress"
        yield failed(causes.HEADLAMP_NO_ANSWER, str(error), mend)
        return
    for verdict in _as_such(url, reached.addresses):
        yield verdict
    shown = f", certificate from {reached.peer.issuer}" if reached.peer else ""
    yield ok(f"Headlamp answers at {url}{shown}")


def _context(x: Examination) -> ssl.SSLContext:
    """Return what browsers trust: the system's roots, and what is given besides."""
    context = client_context(None)
    if x.asked.headlamp_ca_file is not None:
        context.load_verify_locations(x.asked.headlamp_ca_file)
    return context


async def _from_within(x: Examination) -> Verdict:
    mend = "headlamp-auth-proxy doctor --headlamp-url=https://YOUR-HEADLAMP  # where browsers are"
    if not os.environ.get("KUBERNETES_SERVICE_HOST"):
        return unknown(causes.NOT_ASKED, "no address of Headlamp was given", mend)
    x.say(f"asking {headlamp.IN_POD}, where Headlamp listens if this is its pod")
    try:
        answer = await ask(x.session, f"{headlamp.IN_POD}/config")
        clusters = headlamp.clusters_of(answer.json())
        if clusters is not None:
            seen = await headlamp.look(x.session, headlamp.IN_POD, None, clusters)
            x.known.headlamp = seen
            if seen.asks and seen.asks.redirect_uri.startswith("https://"):
                mend = mend.replace(
                    "https://YOUR-HEADLAMP", seen.asks.redirect_uri.removesuffix("/oidc-callback")
                )
            saw = (
                "Headlamp answers inside the pod; what browsers see of it cannot be told from here"
            )
            return unknown(causes.HEADLAMP_NOT_SEEN_FROM_HERE, saw, mend)
    except NoAnswer:
        pass
    return unknown(causes.NOT_ASKED, "no address of Headlamp was given", mend)


async def _not_headlamp(x: Examination, url: str, answer: Answer, tls: ssl.SSLContext) -> Verdict:
    """Say what stands at the address in place of Headlamp."""
    saw = f"{answer.url} answers {answer.words}"
    host = urlsplit(url).netloc
    if 300 <= answer.status < 400:
        target = urlsplit(answer.location)
        if target.path.rstrip("/").endswith("/config"):
            better = answer.location.partition("?")[0].rstrip("/").removesuffix("/config")
            return failed(
                causes.HEADLAMP_REDIRECTS,
                f"{answer.url} redirects to {answer.location}",
                f"--headlamp-url={better}  # and the callback is {better}/oidc-callback",
            )
        return failed(
            causes.HEADLAMP_BEHIND_LOGIN,
            f"{answer.url} redirects to {answer.location.partition('?')[0]}",
            f"take the other login away from {host}, or let it pass /clusters, /oidc, /config and "
            "/oidc-callback; and if it sets an Authorization header, keep it from doing so",
        )
    if answer.status in {502, 503, 504}:
        mend = "kubectl -n headlamp get pods,endpointslices  # Headlamp must run and be ready"
        return failed(causes.HEADLAMP_BACKEND_DOWN, saw, mend)
    if answer.status == 403 and "invalid Host" in answer.text:
        mend = "take -listen-addr from Headlamp's arguments (config.extraArgs)"
        return failed(causes.HEADLAMP_REFUSES_HOST, saw, mend)
    if answer.status in {401, 403}:
        mend = f"let requests to {host} pass to Headlamp without a login of their own"
        return failed(causes.HEADLAMP_BEHIND_LOGIN, saw, mend)
    if urlsplit(url).path:
        root = url.removesuffix(urlsplit(url).path)
        if await _is_headlamp(x, root, tls):
            return failed(causes.NOT_HEADLAMP, saw, f"--headlamp-url={root}")
    return failed(causes.NOT_HEADLAMP, saw, "correct --headlamp-url, or the route of that name")


async def _is_headlamp(x: Examination, url: str, tls: ssl.SSLContext) -> bool:
    try:
        answer = await ask(x.session, f"{url}/config", tls=tls)
    except NoAnswer:
        return False
    return answer.status == 200 and headlamp.clusters_of(answer.json()) is not None


def _with_tls(url: str, answer: Answer) -> str | None:
    """Return the address with https to which one with http leads, as is usual and well."""
    if not 300 <= answer.status < 400 or urlsplit(url).scheme != "http":
        return None
    better = answer.location.partition("?")[0]
    target = urlsplit(better)
    if target.scheme != "https" or target.hostname != urlsplit(url).hostname:
        return None
    return better.removesuffix("/config") if target.path.endswith("/config") else None


def _as_such(url: str, addresses: tuple[str, ...]) -> list[Verdict]:
    """Say what there is to say of a Headlamp's address as such."""
    verdicts = []
    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.scheme == "http" and on_tailnet(host, addresses):
        saw = f"{url} has no TLS; inside the tailnet, WireGuard encrypts"
        verdicts.append(noted(causes.HEADLAMP_PLAIN_HTTP, saw))
    elif parts.scheme == "http" and not all(ip_address(a).is_loopback for a in addresses):
        saw = f"{url} has no TLS: whoever is on the way reads the tokens in the cookies"
        mend = f"serve Headlamp at https://{host}, and register https://{host}/oidc-callback"
        verdicts.append(failed(causes.HEADLAMP_PLAIN_HTTP, saw, mend))
    if parts.path.rstrip("/"):
        saw = f"Headlamp is under {parts.path}, and renews tokens only without a base path"
        mend = "helm upgrade ... --set config.baseURL=  # and give Headlamp a name of its own"
        verdicts.append(failed(causes.HEADLAMP_BASE_PATH, saw, mend))
    return verdicts
