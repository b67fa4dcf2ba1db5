"""An issuer's keys, fetched and kept.

The last good key set is kept for ever, so that an issuer's outage locks nobody out whose token it
has already signed; it is fetched anew every few minutes, so that a withdrawn key goes; and once,
within a budget, when a token names a key that is not known, so that a new key works in seconds
however many tokens ask for it and whoever made them up.

tsidp sends no cache headers and has no overlap of keys; nothing here relies on either.
Source: OpenID Connect Discovery 1.0, section 4; kube-apiserver checks no more of the document.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from proxy.authn import gojson
from proxy.authn.fetch import Fetcher, FetchError, FetchResult
from proxy.authn.keyset import InvalidKeySet, KeySet, parse_jwks
from proxy.files import FollowedFile, GivenData, Source
from proxy.outage import REMIND_EVERY, Outage

UNKNOWN_KEY_INTERVAL: Final = 5.0  # seconds between two fetches that tokens can cause
REFRESH_INTERVAL: Final = 300.0  # seconds between two fetches in peace
FIRST_RETRY, LAST_RETRY = 1.0, 10.0  # seconds; kube-apiserver retries every 10

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class IssuerSettings:
    """Where an issuer is and how it is reached; ``proxy`` is an http:// or socks5h:// URL.

    What its certificate must chain to is in a file or given as PEM, or is the system's roots.
    """

    issuer: str
    discovery_url: str | None = None
    ca_file: Path | None = None
    proxy: str | None = None
    ca_pem: str = ""

    @property
    def ca(self) -> Source | None:
        if self.ca_pem:
            return GivenData(f"certificateAuthority of {self.issuer}", self.ca_pem.encode())
        return FollowedFile(self.ca_file, "--oidc-ca-file") if self.ca_file else None

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
        self._fields = {"issuer": settings.issuer}  # of log lines
        self._on_fetch, self._on_keys = on_fetch, on_keys
        self._fetcher = Fetcher(settings.ca, settings.proxy)
        self._fetching: asyncio.Task[bool] | None = None
        self._asked_at = -UNKNOWN_KEY_INTERVAL  # loop time of the last fetch that a token caused
        self._outage = Outage(REMIND_EVERY)
        self._loop = asyncio.get_running_loop()

    @property
    def settings(self) -> IssuerSettings:
        return self._settings

    @property
    def healthy(self) -> bool:
        """Whether the last fetch went well."""
        return bool(self.last_success) and not self._outage

    @property
    def failure(self) -> str:
        """Why the last fetch went wrong; empty if it did not, or there was none yet."""
        return self._outage.cause

    async def run(self) -> None:
        """Keep the keys fresh until cancelled."""
        delay = FIRST_RETRY
        try:
            while True:
                if await self.fetch():
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
        await self.fetch()
        return True

    async def fetch(self) -> bool:
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
        if self._outage.ends():
            _log.info("the issuer's keys can be fetched again", extra=self._fields)
        self.last_success = time.time()
        if keys == self.keys:
            return
        _log.info(
            "the issuer's keys have changed",
            extra={
                **self._fields,
                "keys": [key.kid for key in keys.keys],
                "unusable": keys.unusable,
            },
        )
        self.keys = keys
        self._on_keys(keys)

    def _report(self, failure: str) -> None:
        if self._outage.fails(failure, self._loop.time()):
            held = "the keys held stay in use" if self.keys else "no token can be verified yet"
            message = "the issuer's keys cannot be fetched: %s; %s"
            _log.warning(message, failure, held, extra=self._fields)

    async def _fetch_keys(self) -> KeySet:
        async with self._fetcher.session() as session:
            discovery = await self._fetcher.get(session, self._settings.discovery)
            document = _json_object(discovery)
            issuer, jwks_uri = document.get("issuer"), document.get("jwks_uri")
            if issuer != self._settings.issuer:
                raise FetchError(
                    "invalid",
                    f"{self._settings.discovery} is the document of issuer {issuer!a:.200}; "
                    "--oidc-issuer-url or url must be that, letter by letter",
                )
            if not isinstance(jwks_uri, str) or not jwks_uri.lower().startswith("https://"):
                raise FetchError("invalid", "the discovery document has no jwks_uri with https")
            try:
                return parse_jwks(await self._fetcher.get(session, jwks_uri))
            except InvalidKeySet as error:
                raise FetchError("invalid", f"{jwks_uri}: {error}") from error


def _json_object(document: bytes) -> dict[str, Any]:
    try:
        return dict(gojson.parse_object(document))
    except ValueError as error:
        raise FetchError("invalid", "the discovery document is not a JSON object") from error
