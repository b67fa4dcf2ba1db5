"""Fetching one small document from an issuer, over HTTPS and nothing else.

No redirect is followed and no proxy is taken from the environment; size and time are bounded.
Whatever goes wrong is one kind of error, whose text names what an operator could change.
"""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import AsyncIterator, Callable
from typing import Final, Literal
from urllib.parse import urlsplit

import aiohttp

from proxy.bounded import read_bounded
from proxy.files import Source, SourceError
from proxy.tls import client_context

FETCH_TIMEOUT: Final = 10.0  # seconds for one document, all of it
MAX_DOCUMENT_BYTES: Final = 1 << 20
USER_AGENT: Final = "headlamp-auth-proxy"

FetchResult = Literal["success", "network", "http_error", "invalid"]

_CA: Final = "--oidc-ca-file or certificateAuthority"

_Errors = tuple[type[Exception], ...]

_TRANSPORT_ERRORS: _Errors = (aiohttp.ClientError, OSError, EOFError, ValueError)


class FetchError(Exception):
    """A fetch failed; the message names what an operator could change."""

    def __init__(self, result: FetchResult, message: str) -> None:
        super().__init__(message)
        self.result = result


class Fetcher:
    """Fetches from one issuer, trusted by ``ca`` (PEM) or the system's roots.

    ``proxy`` is an http:// or socks5h:// URL.
    """

    def __init__(self, ca: Source | None, proxy: str | None) -> None:
        self._ca = ca
        self._proxy = proxy
        self._transport_errors: _Errors = (*_TRANSPORT_ERRORS, *_socks_errors(proxy))
        self._tls: tuple[bytes | None, ssl.SSLContext] | None = None  # CA bundle, and its context

    @contextlib.asynccontextmanager
    async def session(self) -> AsyncIterator[aiohttp.ClientSession]:
        try:
            context = self._context()
        except SourceError as error:
            raise FetchError("network", str(error)) from error
        async with aiohttp.ClientSession(
            connector=_connector(context, self._proxy),
            timeout=aiohttp.ClientTimeout(total=FETCH_TIMEOUT),
            headers={"Accept": "application/json", "User-Agent": USER_AGENT},
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
        ) as session:
            yield session

    async def get(self, session: aiohttp.ClientSession, url: str) -> bytes:
        """Return a document. Raises FetchError."""
        return await self._get(session, url, {}, lambda status: status == 200)

    async def get_claims(
        self, session: aiohttp.ClientSession, url: str, access_token: str
    ) -> bytes:
        """Return the token at a claims endpoint (getClaimJWT of oidc.go). Raises FetchError."""
        headers = {"Accept": "application/jwt"}
        if access_token:
            headers["Authorization"] = f"Bearer {access_token}"
        return await self._get(session, url, headers, lambda status: 200 <= status <= 226)

    async def _get(
        self,
        session: aiohttp.ClientSession,
        url: str,
        headers: dict[str, str],
        is_good: Callable[[int], bool],
    ) -> bytes:
        http_proxy = self._proxy if _is_http(self._proxy) else None
        try:
            async with session.get(
                url, headers=headers, proxy=http_proxy, allow_redirects=False
            ) as response:
                if not is_good(response.status):
                    raise FetchError("http_error", _bad_status(response.status, url))
                document = await read_bounded(response.content, MAX_DOCUMENT_BYTES)
        except self._transport_errors as error:
            raise FetchError("network", _explain(error, url)) from error
        if document is None:
            raise FetchError("invalid", f"{url} is larger than {MAX_DOCUMENT_BYTES} bytes")
        return document

    def _context(self) -> ssl.SSLContext:
        bundle = self._ca.read() if self._ca else None
        if self._tls is None or self._tls[0] != bundle:
            try:
                self._tls = bundle, client_context(bundle)
            except (ssl.SSLError, ValueError) as error:
                assert self._ca is not None
                raise SourceError(f"{self._ca.origin} holds no PEM certificates") from error
        return self._tls[1]


def _bad_status(status: int, url: str) -> str:
    if 300 <= status < 400:
        return f"{url} redirects, which is not followed; see --oidc-discovery-url or discoveryURL"
    return f"{url} answers {status}"


def _explain(error: Exception, url: str) -> str:
    """Return what went wrong on the way, and which flag might mend it."""
    if isinstance(error.__cause__, ssl.SSLCertVerificationError):
        reason = error.__cause__.verify_message
        return f"the certificate of {url} is refused ({reason}); see {_CA}"
    match error:
        case TimeoutError():
            return (
                f"{url} did not answer within {FETCH_TIMEOUT:g} s; is it reachable from here, "
                "or through an --oidc-http-proxy?"
            )
        case aiohttp.ClientConnectorError():
            return f"{url}: cannot connect ({error.strerror}); see --oidc-http-proxy"
        case _:
            return f"{url}: {str(error) or type(error).__name__}; see --oidc-http-proxy"


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


def _socks_errors(proxy: str | None) -> _Errors:
    """Return the errors of aiohttp-socks, which belong to no tree, if that is what is used."""
    if proxy is None or _is_http(proxy):
        return ()
    from aiohttp_socks import ProxyConnectionError, ProxyError, ProxyTimeoutError

    return ProxyConnectionError, ProxyError, ProxyTimeoutError
