"""Trust 2: Headlamp and the issuer. Reaching it, its document, keys and clock, and the scopes.

The way there is serve's own: the same settings, the same CA and proxy, no redirect followed.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from proxy.authn.configuration.plan import Plan
from proxy.authn.fetch import Fetcher, FetchError
from proxy.authn.keyset import InvalidKeySet, KeySet, parse_jwks
from proxy.config import Config
from proxy.files import FollowedFile, SourceError
from proxy.plans import plans_of
from proxy.tls import client_context
from proxy.tools.doctor import causes, discovery, tokens
from proxy.tools.doctor.answer import Answer
from proxy.tools.doctor.ask import NoAnswer, ask
from proxy.tools.doctor.examination import Examination, Provider
from proxy.tools.doctor.headlamp_issuer import headlamp_and_issuer
from proxy.tools.doctor.scopes import claims_and_scopes
from proxy.tools.doctor.trouble import Trouble
from proxy.tools.doctor.verdict import Status, Verdict, failed, noted, ok
from proxy.tools.doctor.ways import Way, ends_soon


async def examine(x: Examination) -> AsyncIterator[Verdict]:
    """Examine each configured issuer, what Headlamp says of it, and the token if there is one."""
    for plan in configured(x.config):
        async for verdict in _issuer(x, plan):
            yield verdict
    is_proven = await tokens.is_taken(x)
    for provider in x.known.providers:
        mapping, document = provider.plan.mapping, provider.metadata
        scopes = None if is_proven else x.known.scopes
        for verdict in claims_and_scopes(mapping, document, scopes, is_proven=is_proven):
            yield verdict
    for verdict in headlamp_and_issuer(x.known.headlamp, x.known.providers):
        yield verdict
    async for verdict in tokens.examine(x, 2):
        yield verdict


def configured(config: Config) -> list[Plan]:
    """Return the issuers of the configuration. Raises SourceError."""
    path = config.authentication_config
    content = FollowedFile(path, "--authentication-config").read() if path else None
    return plans_of(config, content)


async def _issuer(x: Examination, plan: Plan) -> AsyncIterator[Verdict]:
    """Examine one issuer; what is learnt of it is kept if it is found to be what it says."""
    issuer = plan.rules.issuer
    fetcher = Fetcher(plan.settings.ca, plan.settings.proxy)
    try:
        way = _way(plan)
        async with fetcher.session() as session:
            verdicts = []
            async for verdict in _Issuer(x, plan, way, session).examine():
                verdicts.append(verdict)
                yield verdict
    except (FetchError, SourceError) as error:
        yield failed(causes.SETTINGS_REFUSED, str(error), "correct the file of --oidc-ca-file")
        return
    if all(verdict.status is Status.OK for verdict in verdicts):
        yield ok(f"{issuer} is what it says, and its keys are at hand")


def _way(plan: Plan, *, to_keys: bool = False) -> Way:
    settings = plan.settings
    ca = settings.ca
    flag = "--oidc-discovery-url" if settings.discovery_url else "--oidc-issuer-url"
    return Way(
        "jwks_uri" if to_keys else flag,
        settings.discovery_url or settings.issuer,
        "--oidc-ca-file",
        client_context(ca.read() if ca else None),
        causes=causes.JWKS_WAY if to_keys else causes.ISSUER_WAY,
        proxy=settings.proxy,
        has_ca_file=ca is not None,
    )


class _Issuer:
    """One issuer under examination, over a session that trusts and goes as serve does."""

    def __init__(
        self, x: Examination, plan: Plan, way: Way, session: aiohttp.ClientSession
    ) -> None:
        self._x, self._plan, self._way, self._session = x, plan, way, session
        self._url = plan.settings.discovery

    async def examine(self) -> AsyncIterator[Verdict]:
        if self._plan.jwks_file is not None:
            async for verdict in self._from_file():
                yield verdict
            return
        self._x.say(f"connecting to {self._url}")
        try:
            reached = await self._way.go(self._url)
        except Trouble as trouble:
            yield self._way.verdict(self._url, trouble)
            return
        if (soon := ends_soon(self._url, reached)) is not None:
            yield soon
        async for verdict in self._document():
            yield verdict

    async def _document(self) -> AsyncIterator[Verdict]:
        self._x.say(f"fetching {self._url}")
        try:
            answer = await self._ask(self._url)
        except NoAnswer as error:
            mend = f"see what ails the issuer: curl -i {self._url}"
            yield failed(causes.DISCOVERY_FAILED, str(error), mend)
            return
        document = discovery.document_of(answer)
        if document is None:
            yield await self._elsewhere(answer)
            return
        mismatch = discovery.other_issuer(document, self._plan.rules.issuer, self._url)
        if mismatch is not None:
            yield mismatch
            return
        unusable = list(discovery.not_usable(document))
        for verdict in unusable:
            yield verdict
        if any(verdict.status is Status.FAILED for verdict in unusable):
            return
        self._x.known.providers.append(Provider(self._plan, document))
        if (skewed := discovery.clock(answer, self._plan.rules)) is not None:
            yield skewed
        if (once := discovery.not_renewed(document)) is not None:
            yield once
        async for verdict in self._keys(document):
            yield verdict

    async def _elsewhere(self, answer: Answer) -> Verdict:
        """Say why there is no document, and look where it may be instead."""
        flag, issuer = self._way.flag, self._plan.rules.issuer
        given = self._plan.settings.discovery_url or issuer
        redirected = 300 <= answer.status < 400 and bool(answer.location)
        for url in [answer.location] if redirected else _nearby(issuer, self._url):
            self._x.say(f"looking whether it is at {url}")
            with contextlib.suppress(NoAnswer):
                document = discovery.document_of(await self._ask(url))
                if document is None:
                    continue
                saw = f"{self._url} answers {answer.status}; the document is at {url}"
                mend = f"--oidc-issuer-url={document['issuer']}"
                if document["issuer"] == issuer:
                    mend = f"--oidc-discovery-url={url}"
                if url == issuer.removesuffix("/") + discovery.WELL_KNOWN:
                    mend = f"remove --oidc-discovery-url={given}"
                found = causes.DISCOVERY_REDIRECTS if redirected else causes.DISCOVERY_NOT_FOUND
                return failed(found, saw, mend)
        if redirected:
            saw = f"{self._url} redirects to {answer.location.partition('?')[0]}"
            mend = f"correct {flag}={given}, or let the issuer answer there without a redirect"
            return failed(causes.DISCOVERY_REDIRECTS, saw, mend)
        return discovery.no_document(answer, f"{flag}={given}")

    async def _keys(self, document: dict[str, Any]) -> AsyncIterator[Verdict]:
        if (other := discovery.not_signed_as_accepted(document, self._plan.rules)) is not None:
            yield other
            return
        url = str(document["jwks_uri"])
        keys: KeySet | None = None
        if urlsplit(url).netloc != urlsplit(self._url).netloc:
            self._x.say(f"connecting to {url}")
            way = _way(self._plan, to_keys=True)
            try:
                await way.go(url)
            except Trouble as trouble:
                yield way.verdict(url, trouble)
                return
        self._x.say(f"fetching {url}")
        mend = f"see what ails the issuer: curl -i {url}"
        try:
            answer = await self._ask(url)
            if answer.status != 200:
                yield failed(causes.JWKS_FAILED, f"{url} answers {answer.words}", mend)
                return
            if answer.body is None:
                yield failed(causes.JWKS_INVALID, f"{url} is larger than 1 MiB", mend)
                return
            keys = parse_jwks(answer.body)
        except NoAnswer as error:
            yield failed(causes.JWKS_FAILED, str(error), mend)
            return
        except InvalidKeySet as error:
            yield failed(causes.JWKS_INVALID, f"{url}: {error}", mend)
            return
        if (unusable := discovery.keys_not_usable(keys, self._plan.rules)) is not None:
            yield unusable
        else:
            yield ok(f"the keys at {url} can be used: {_ids(keys)}")
        self._x.known.providers[-1].keys = keys

    async def _from_file(self) -> AsyncIterator[Verdict]:
        """Compare the keys in the file with the issuer's own, if it happens to be reached."""
        path = self._plan.jwks_file
        assert path is not None, "the caller has looked"
        try:
            held = parse_jwks(FollowedFile(path, "--oidc-jwks-file").read())
        except (SourceError, InvalidKeySet) as error:
            mend = f"curl -o {path} {self._plan.rules.issuer}/.well-known/jwks.json"
            yield failed(causes.JWKS_INVALID, f"--oidc-jwks-file {path}: {error}", mend)
            return
        if (unusable := discovery.keys_not_usable(held, self._plan.rules)) is not None:
            yield unusable
            return
        yield ok(f"the keys in {path} can be used, and none are fetched: {_ids(held)}")
        troubled = False
        async for verdict in self._published():
            troubled = troubled or verdict.status is Status.FAILED
            if not troubled:
                yield verdict
        providers = [p for p in self._x.known.providers if p.plan is self._plan and p.keys]
        if troubled or not providers:
            saw = f"{self._url} is not read from here, so its keys cannot be compared with the file"
            yield noted(causes.JWKS_NOT_COMPARED, saw)
            return
        published = providers[0].keys
        assert published is not None
        if not any(key.identity in held for key in published.keys):
            saw = f"{path} holds none of the keys that {providers[0].metadata['jwks_uri']} has"
            mend = f"curl -o {path} {providers[0].metadata['jwks_uri']}"
            yield failed(causes.JWKS_FILE_STALE, saw, mend)

    async def _published(self) -> AsyncIterator[Verdict]:
        try:
            await self._way.go(self._url)
        except Trouble as trouble:
            yield self._way.verdict(self._url, trouble)
            return
        async for verdict in self._document():
            yield verdict

    async def _ask(self, url: str) -> Answer:
        proxy = self._plan.settings.proxy
        http_proxy = proxy if proxy and proxy.startswith("http:") else None
        return await ask(self._session, url, proxy=http_proxy)


def _ids(keys: KeySet) -> str:
    return ", ".join(key.kid or "(without a name)" for key in keys.keys)


def _nearby(issuer: str, asked: str) -> Iterator[str]:
    """Yield where the document may be, for an issuer written with too much or too little."""
    whole = issuer.removesuffix(discovery.WELL_KNOWN)
    parts = urlsplit(whole)
    segments = [segment for segment in parts.path.split("/") if segment]
    for count in range(len(segments), -1, -1):
        path = "".join(f"/{segment}" for segment in segments[:count])
        url = f"{parts.scheme}://{parts.netloc}{path}{discovery.WELL_KNOWN}"
        if url != asked:
            yield url
