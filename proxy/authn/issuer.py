"""An issuer's keys, fetched and kept: the only I/O of authentication.

The last good key set is kept for ever, so that an issuer's outage locks nobody out whose token it
has already signed; it is fetched anew every few minutes, so that a withdrawn key goes; and once,
within a budget, when a token names a key that is not known, so that a new key works in seconds
however many tokens ask for it and whoever made them up.

tsidp sends no cache headers and has no overlap of keys; nothing here relies on either. No redirect
is followed, no proxy is taken from the environment, and size and time are bounded.
Source: OpenID Connect Discovery 1.0, section 4; kube-apiserver checks no more of the document.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import ssl
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import urlsplit

import aiohttp

from proxy.authn import gojson
from proxy.authn.keyset import InvalidKeySet, KeySet, parse_jwks
from proxy.files import FollowedFile, SourceError

FETCH_TIMEOUT: Final = 10.0  # seconds for one document, all of it
MAX_DOCUMENT_BYTES: Final = 1 << 20
UNKNOWN_KEY_INTERVAL: Final = 5.0  # seconds between two fetches that tokens can cause
REFRESH_INTERVAL: Final = 300.0  # seconds between two fetches in peace
FIRST_RETRY, LAST_RETRY = 1.0, 10.0  # seconds; kube-apiserver retries every 10
USER_AGENT: Final = "headlamp-auth-proxy"

FetchResult = Literal["success", "network", "http_error", "invalid"]

_log = logging.getLogger(__name__)


class FetchError(Exception):
    """A fetch failed; the message names what an operator could change."""

    def __init__(self, result: FetchResult, message: str) -> None:
        super().__init__(message)
        self.result = result


@dataclass(frozen=True, slots=True)
class IssuerSettings:
    """Where an issuer is and how it is reached; ``proxy`` is an http:// or socks5h:// URL."""

    issuer: str
    discovery_url: str | None = None
    ca_file: Path | None = None
    proxy: str | None = None

    @property
    def discovery(self) -> str:
        suffix = "/.well-known/openid-configuration"
        return self.discovery_url or self.issuer.removesuffix("/") + suffix


class Issuer:
    """The keys of one issuer. ``last_success`` is in unix seconds, 0 before the first."""

    def __init__(
        self,
        settings: IssuerSettings,
        *,
        on_fetch: Callable[[FetchResult, float], None],
        on_keys: Callable[[KeySet], None],
    ) -> None:
        self.keys: KeySet | None = None
        self.last_success = 0.0
        self._settings = settings
        self._on_fetch, self._on_keys = on_fetch, on_keys
        self._ca = FollowedFile(settings.ca_file, "--oidc-ca-file") if settings.ca_file else None
        self._tls: tuple[bytes, ssl.SSLContext] | None = None  # CA bundle, and its context
        self._fetching: asyncio.Task[bool] | None = None
        self._asked_at = -UNKNOWN_KEY_INTERVAL  # loop time of the last fetch that a token caused
        self._failure = ""
        self._loop = asyncio.get_running_loop()

    @property
    def healthy(self) -> bool:
        """Whether the last fetch went well."""
        return bool(self.last_success) and not self._failure

    async def run(self) -> None:
        """Keep the keys fresh until cancelled."""
        delay = FIRST_RETRY
        try:
            while True:
                if await self._fetch_once():
                    delay = FIRST_RETRY
                    await asyncio.sleep(REFRESH_INTERVAL)
                else:
                    await asyncio.sleep(delay * random.uniform(0.8, 1.2))  # noqa: S311
                    delay = min(delay * 2, LAST_RETRY)
        finally:
            if self._fetching is not None:
                self._fetching.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await self._fetching

    async def refresh(self) -> bool:
        """Fetch, or wait for the fetch that is under way, unless one was asked for lately."""
        if self._fetching is None:
            now = self._loop.time()
            if now - self._asked_at < UNKNOWN_KEY_INTERVAL:
                return False
            self._asked_at = now
        await self._fetch_once()
        return True

    async def _fetch_once(self) -> bool:
        """Fetch, all who want it together; return whether it succeeded."""
        if self._fetching is None:
            self._fetching = self._loop.create_task(self._fetch(), name="fetch keys")
            self._fetching.add_done_callback(self._fetched)
        return await asyncio.shield(self._fetching)

    def _fetched(self, _: asyncio.Task[bool]) -> None:
        self._fetching = None

    async def _fetch(self) -> bool:
        began = self._loop.time()
        result: FetchResult = "success"
        try:
            keys = await self._fetch_keys()
        except FetchError as error:
            result = error.result
            self._report(str(error))
        else:
            self._take(keys)
        self._on_fetch(result, self._loop.time() - began)
        return result == "success"

    def _take(self, keys: KeySet) -> None:
        self._report("")
        self.last_success = time.time()
        if keys == self.keys:
            return
        _log.info(
            "the issuer's keys have changed",
            extra={
                "issuer": self._settings.issuer,
                "keys": [key.kid for key in keys.keys],
                "unusable": keys.unusable,
            },
        )
        self.keys = keys
        self._on_keys(keys)

    def _report(self, failure: str) -> None:
        """Log a failure once for each cause, and the end of it."""
        if failure == self._failure:
            return
        fields = {"issuer": self._settings.issuer}
        if failure:
            held = "the keys held stay in use" if self.keys else "no token can be verified yet"
            _log.warning("the issuer's keys cannot be fetched: %s; %s", failure, held, extra=fields)
        elif self._failure:
            _log.info("the issuer's keys can be fetched again", extra=fields)
        self._failure = failure

    async def _fetch_keys(self) -> KeySet:
        async with self._session() as session:
            document = _json_object(await self._get(session, self._settings.discovery))
            issuer, jwks_uri = document.get("issuer"), document.get("jwks_uri")
            if issuer != self._settings.issuer:
                raise FetchError(
                    "invalid",
                    f"{self._settings.discovery} is the document of issuer {issuer!a:.200}; "
                    "--oidc-issuer-url must be that, letter by letter",
                )
            if not isinstance(jwks_uri, str) or not jwks_uri.lower().startswith("https://"):
                raise FetchError("invalid", "the discovery document has no jwks_uri with https")
            try:
                return parse_jwks(await self._get(session, jwks_uri))
            except InvalidKeySet as error:
                raise FetchError("invalid", f"{jwks_uri}: {error}") from error

    @contextlib.asynccontextmanager
    async def _session(self) -> AsyncIterator[aiohttp.ClientSession]:
        try:
            context = self._context()
        except SourceError as error:
            raise FetchError("network", str(error)) from error
        async with aiohttp.ClientSession(
            connector=_connector(context, self._settings.proxy),
            timeout=aiohttp.ClientTimeout(total=FETCH_TIMEOUT),
            headers={"Accept": "application/json", "User-Agent": USER_AGENT},
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
        ) as session:
            yield session

    async def _get(self, session: aiohttp.ClientSession, url: str) -> bytes:
        """Return a document; whatever goes wrong is a FetchError that says what to change."""
        http_proxy = self._settings.proxy if _is_http(self._settings.proxy) else None
        try:
            async with session.get(url, proxy=http_proxy, allow_redirects=False) as response:
                if 300 <= response.status < 400:
                    raise FetchError(
                        "http_error",
                        f"{url} redirects, which is not followed; see --oidc-discovery-url",
                    )
                if response.status != 200:
                    raise FetchError("http_error", f"{url} answers {response.status}")
                return await _bounded(response.content, url)
        except (aiohttp.ClientConnectorCertificateError, ssl.SSLCertVerificationError) as error:
            certificate_error = getattr(error, "certificate_error", error)
            reason = getattr(certificate_error, "verify_message", "not valid")
            raise FetchError(
                "network", f"the certificate of {url} is refused ({reason}); see --oidc-ca-file"
            ) from error
        except TimeoutError as error:
            raise FetchError(
                "network",
                f"{url} did not answer within {FETCH_TIMEOUT:g} s; is it reachable from here, "
                "or through an --oidc-http-proxy?",
            ) from error
        except aiohttp.ClientConnectorError as error:
            raise FetchError(
                "network", f"{url}: cannot connect ({error.strerror}); see --oidc-http-proxy"
            ) from error
        except (
            *(aiohttp.ClientError, OSError, EOFError, ValueError),
            *_socks_errors(self._settings.proxy),
        ) as error:
            cause = str(error) or type(error).__name__
            raise FetchError("network", f"{url}: {cause}; see --oidc-http-proxy") from error

    def _context(self) -> ssl.SSLContext:
        bundle = self._ca.read() if self._ca else b""
        if self._tls is None or self._tls[0] != bundle:
            context = _trusting(bundle, self._ca.origin) if self._ca else _trusting_system()
            # Strictness is for certificates of our own making, not for other people's CAs.
            context.verify_flags &= ~ssl.VERIFY_X509_STRICT
            self._tls = bundle, context
        return self._tls[1]


def _trusting_system() -> ssl.SSLContext:
    return ssl.create_default_context()


def _trusting(bundle: bytes, origin: str) -> ssl.SSLContext:
    """Trust the certificates of ``bundle`` alone: an empty one is an error, not the system's."""
    try:
        return ssl.create_default_context(cadata=bundle.decode("ascii", "ignore") or "empty")
    except (ssl.SSLError, ValueError) as error:
        raise SourceError(f"{origin} holds no PEM certificates") from error


def _is_http(proxy: str | None) -> bool:
    return proxy is not None and proxy.startswith("http:")


def _connector(context: ssl.SSLContext, proxy: str | None) -> aiohttp.BaseConnector:
    if proxy is None or _is_http(proxy):
        return aiohttp.TCPConnector(ssl=context)
    from aiohttp_socks import ProxyConnector, ProxyType  # only who configures SOCKS pays for it

    parts = urlsplit(proxy)
    assert parts.hostname, "the configuration has checked it"
    assert parts.port, "the configuration has checked it"
    return ProxyConnector(
        proxy_type=ProxyType.SOCKS5,
        host=parts.hostname,
        port=parts.port,
        rdns=True,  # the h of socks5h: the proxy looks names up, since only it knows the tailnet
        ssl=context,
    )


def _socks_errors(proxy: str | None) -> tuple[type[Exception], ...]:
    """Return the errors of aiohttp-socks, which belong to no tree, if that is what is used."""
    if proxy is None or _is_http(proxy):
        return ()
    from aiohttp_socks import ProxyConnectionError, ProxyError, ProxyTimeoutError

    return ProxyConnectionError, ProxyError, ProxyTimeoutError


async def _bounded(content: aiohttp.StreamReader, url: str) -> bytes:
    document = b""
    async for part in content.iter_any():
        document += part
        if len(document) > MAX_DOCUMENT_BYTES:
            raise FetchError("invalid", f"{url} is larger than {MAX_DOCUMENT_BYTES} bytes")
    return document


def _json_object(document: bytes) -> dict[str, Any]:
    try:
        return dict(gojson.parse_object(document))
    except ValueError as error:
        raise FetchError("invalid", "the discovery document is not a JSON object") from error
