"""The issuers in force: built from the settings or from a file, and exchanged when that changes.

A new version of the file takes effect whole or not at all. One that cannot be used, or whose new
issuers' keys cannot be had within a minute, leaves the old one in force, and says so: in the log,
in the metrics and in ``/readyz?verbose``. Keys of an issuer that stays as it was are kept.
Source: kube-apiserver's own reload (pkg/kubeapiserver/options/authentication.go).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, field
from typing import Final, Literal, Protocol

from proxy.authn.authenticator import Authenticator, TrustedIssuer
from proxy.authn.claim_resolver import DistributedClaims
from proxy.authn.configuration.plan import InvalidConfiguration, Plan
from proxy.authn.fetch import Fetcher, FetchResult
from proxy.authn.issuer import Issuer, IssuerSettings
from proxy.authn.jwks_file import JWKSFile
from proxy.authn.keyset import KeySet
from proxy.config import Config
from proxy.files import FollowedFile, SourceError
from proxy.outage import Outage
from proxy.plans import plans_of

LOOK_EVERY: Final = 1.0  # seconds
KEYS_WITHIN: Final = 60.0  # seconds that the issuers of a new version have

ReloadResult = Literal["success", "failure"]
Source = Issuer | JWKSFile

_log = logging.getLogger(__name__)


class IssuersObserver(Protocol):
    """What is seen of issuers from outside."""

    def keys_fetched(self, result: FetchResult, seconds: float) -> None: ...

    def authentication_config_reloaded(self, result: ReloadResult) -> None: ...


@dataclass(slots=True)
class _Held:
    """An issuer in force; ``work`` keeps its keys fresh."""

    plan: Plan
    source: Source
    trusted: TrustedIssuer
    work: asyncio.Task[None] | None = field(default=None)


class Issuers:
    """The issuers of a configuration that has been checked, and the authenticator over them.

    ``on_keys`` learns that an issuer's keys are now these, ``on_change`` that users may now be
    others than before. Raises SourceError or InvalidConfiguration where the file has changed
    since it was checked.
    """

    def __init__(
        self,
        config: Config,
        observer: IssuersObserver,
        *,
        on_keys: Callable[[str, KeySet], None],
        on_change: Callable[[], None],
    ) -> None:
        self._config = config
        self._observer = observer
        self._on_keys, self._on_change = on_keys, on_change
        path = config.authentication_config
        self._file = FollowedFile(path, "--authentication-config") if path else None
        self._content = self._file.read() if self._file else None
        self._held = [self._hold(plan) for plan in plans_of(config, self._content)]
        self._outage = Outage()
        self.authenticator = Authenticator(held.trusted for held in self._held)

    @property
    def keys_held(self) -> bool:
        """Whether the keys of at least one issuer are held."""
        return any(held.source.keys is not None for held in self._held)

    @property
    def healthy(self) -> bool:
        """Whether every issuer's keys were had at the last look."""
        return all(held.source.healthy for held in self._held)

    @property
    def up_to_date(self) -> bool:
        """Whether the file as it is now is what is in force."""
        return not self._outage

    @property
    def last_success(self) -> float:
        """When keys were last had (unix seconds), of the issuer for which it is longest ago."""
        return min((held.source.last_success for held in self._held), default=0.0)

    @property
    def key_count(self) -> int:
        return sum(len(keys.keys) for held in self._held if (keys := held.source.keys))

    def source(self, issuer: str) -> Source | None:
        """Return where the keys of a trusted issuer come from."""
        return next((h.source for h in self._held if h.plan.rules.issuer == issuer), None)

    async def run(self) -> None:
        """Keep keys fresh, and follow the file, until cancelled."""
        async with self._working():
            while True:
                await asyncio.sleep(LOOK_EVERY)
                if self._file is not None:
                    await self._look(self._file)
                self._raise_if_failed()

    @contextlib.asynccontextmanager
    async def _working(self) -> AsyncIterator[None]:
        self._start(self._held)
        try:
            yield
        finally:
            await self._stop(self._held)

    async def _look(self, file: FollowedFile) -> None:
        """Take a new version of the file into force if it can be used."""
        try:
            content = file.read()
            if content == self._content:
                if self._outage.ends():
                    _log.info("the authentication configuration is again the one that is in force")
                return
            plans = plans_of(self._config, content)
        except (SourceError, InvalidConfiguration) as error:
            self._report(str(error))
            return
        if await self._exchange(plans, file, content):
            self._content = content

    async def _exchange(self, plans: Iterable[Plan], file: FollowedFile, content: bytes) -> bool:
        """Put other issuers in force; return whether that was done."""
        unchanged = {_keys_from(held.plan): held for held in self._held}
        new = [self._hold(plan, unchanged.get(_keys_from(plan))) for plan in plans]
        started = [held for held in new if held.work is None]
        self._start(started)
        try:
            failure = await self._keys_of(started, file, content) if self.keys_held else ""
        except asyncio.CancelledError:
            await self._stop(started)
            raise
        if failure:
            await self._stop(started)
            self._report(failure)
            return False
        going = [held for held in self._held if held.work not in {h.work for h in new}]
        self._held = new
        self.authenticator.replace(held.trusted for held in new)
        self._on_change()
        await self._stop(going)
        self._observer.authentication_config_reloaded("success")
        self._outage.ends()
        issuers = [held.plan.rules.issuer for held in new]
        _log.info("a new authentication configuration is in force", extra={"issuers": issuers})
        return True

    async def _keys_of(self, new: list[_Held], file: FollowedFile, content: bytes) -> str:
        """Wait for the keys of new issuers; return what is wrong if they do not come."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + KEYS_WITHIN
        while missing := [held for held in new if held.source.keys is None]:
            await asyncio.sleep(LOOK_EVERY / 10)
            with contextlib.suppress(SourceError):
                if file.read() != content:
                    return "the file has changed again"
            if loop.time() > deadline:
                first = missing[0]
                reason = first.source.failure or "not fetched yet"
                return f"no keys of the issuer {first.plan.rules.issuer}: {reason}"
        return ""

    def _report(self, failure: str) -> None:
        """Log and count a version that cannot be used, once for each cause."""
        if self._outage.fails(failure):
            _log.error(
                "the authentication configuration cannot be used, the old one stays in force: %s",
                failure,
            )
            self._observer.authentication_config_reloaded("failure")

    def _hold(self, plan: Plan, unchanged: _Held | None = None) -> _Held:
        source = unchanged.source if unchanged else self._source(plan)
        fetcher = Fetcher(plan.settings.ca, plan.settings.proxy)
        resolver = DistributedClaims(
            plan.rules, source, fetcher, lambda issuer: self._other_source(plan, issuer)
        )
        trusted = TrustedIssuer(plan.rules, plan.mapping, source, resolver)
        return _Held(plan, source, trusted, unchanged.work if unchanged else None)

    def _source(self, plan: Plan) -> Source:
        issuer = plan.rules.issuer

        def changed(keys: KeySet) -> None:
            self._on_keys(issuer, keys)

        if plan.jwks_file is not None:
            return JWKSFile(plan.jwks_file, on_keys=changed)
        return Issuer(plan.settings, on_fetch=self._observer.keys_fetched, on_keys=changed)

    def _other_source(self, plan: Plan, issuer: str) -> Issuer:
        """Return the keys of an issuer of distributed claims only; nothing is cached by them."""
        settings = IssuerSettings(
            issuer, None, plan.settings.ca_file, plan.settings.proxy, plan.settings.ca_pem
        )
        return Issuer(settings, on_fetch=self._observer.keys_fetched, on_keys=lambda _keys: None)

    @staticmethod
    def _start(all_held: Iterable[_Held]) -> None:
        for held in all_held:
            name = f"keys of {held.plan.rules.issuer}"
            held.work = asyncio.create_task(held.source.run(), name=name)

    @staticmethod
    async def _stop(all_held: Iterable[_Held]) -> None:
        works = [held.work for held in all_held if held.work is not None]
        for work in works:
            work.cancel()
        if works:
            await asyncio.wait(works)

    def _raise_if_failed(self) -> None:
        """Let what fails here fail the whole: better a restart than half."""
        for held in self._held:
            if held.work is not None and held.work.done() and not held.work.cancelled():
                held.work.result()


def _keys_from(plan: Plan) -> tuple[object, ...]:
    return plan.settings, plan.jwks_file
