"""Fetches the claims that a verified token points to, as a token of their own, and verifies it.

That token may come from any issuer: the endpoint was named by an issuer that is trusted, and
whoever it hands on to is discovered on the spot and verified under the same audiences, algorithms
and clock (kube-apiserver's oidc.go, claimResolver.resolve). kube-apiserver fails the first token
that needs a new such issuer and learns its keys meanwhile; here the token waits for them.

Only https is spoken: an access token goes along.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final

from proxy.authn import jws
from proxy.authn.authenticator import Fetched, KeySource
from proxy.authn.distributed import Endpoint, unavailable
from proxy.authn.fetch import Fetcher, FetchError
from proxy.authn.gotext import quoted
from proxy.authn.issuer import REFRESH_INTERVAL
from proxy.authn.verifier import TokenRules, VerifiedToken, unverified_issuer, verify
from proxy.errors import (
    AuthenticationError,
    DistributedClaimsUnavailable,
    KeyUnknown,
    SignatureInvalid,
    TokenTooLarge,
)

MAX_ISSUERS: Final = 16  # of distributed claims, whose keys are kept

_STRIPPED: Final = b" \t\r\n"


class DistributedClaims:
    """Resolves distributed claims for one trusted issuer.

    ``source`` has that issuer's own keys; ``new_source`` makes one for another issuer's.
    """

    def __init__(
        self,
        rules: TokenRules,
        source: KeySource,
        fetcher: Fetcher,
        new_source: Callable[[str], Any],
    ) -> None:
        self._rules = rules
        self._own = source
        self._fetcher = fetcher
        self._new_source = new_source
        self._others: OrderedDict[str, Any] = OrderedDict()

    async def resolve(self, wanted: Sequence[Endpoint], now: float) -> Fetched:
        """Return every wanted claim; ``now`` in unix seconds."""
        claims: dict[str, Any] = {}
        ends: list[float] = []
        for endpoint in wanted:
            verified = await self._token_at(endpoint, now)
            if endpoint.claim not in verified.claims:
                raise unavailable(
                    f"jwt returned by distributed claim endpoint {quoted(endpoint.url)} did not "
                    f"contain claim: {endpoint.claim}"
                )
            claims[endpoint.claim] = verified.claims[endpoint.claim]
            ends.append(verified.expires_at)
        return Fetched(claims, min(ends))

    async def _token_at(self, endpoint: Endpoint, now: float) -> VerifiedToken:
        token = await self._fetch(endpoint)
        try:
            parsed = jws.parse(token)
            issuer = unverified_issuer(parsed)
            source = self._source(issuer)
            if source.keys is None or self._is_stale(source, now):
                await source.refresh()
            if source.keys is None:
                raise unavailable(
                    f"verifying untrusted issuer {ascii(issuer)[1:-1]} failed: verifier not "
                    f"initialized for issuer: {quoted(issuer)}"
                )
            rules = replace(self._rules, issuer=issuer)
            try:
                return verify(parsed, source.keys, rules, now)
            except (KeyUnknown, SignatureInvalid):
                if not await source.refresh():
                    raise
                return verify(parsed, source.keys, rules, now)
        except DistributedClaimsUnavailable:
            raise
        except (AuthenticationError, TokenTooLarge) as error:
            reason = error.detail.removeprefix("oidc: verify token: ") or error.message
            raise unavailable(f"verify distributed claim token: {reason}") from None

    async def _fetch(self, endpoint: Endpoint) -> bytes:
        if not endpoint.url.lower().startswith("https://"):
            raise unavailable(f"the endpoint of claim {quoted(endpoint.claim)} is not https")
        try:
            async with self._fetcher.session() as session:
                body = await self._fetcher.get_claims(session, endpoint.url, endpoint.access_token)
        except FetchError as error:
            where = f"while getting distributed claim {quoted(endpoint.claim)}"
            raise unavailable(f"{where}: {error}") from None
        return body.strip(_STRIPPED)

    def _is_stale(self, source: Any, now: float) -> bool:
        """Whether another issuer's keys are so old that one may have been withdrawn."""
        return source is not self._own and now - source.last_success > REFRESH_INTERVAL

    def _source(self, issuer: str) -> Any:
        """Return where an issuer's keys come from; of other issuers' the oldest is forgotten."""
        if issuer == self._rules.issuer:
            return self._own
        if issuer not in self._others:
            if not issuer.startswith("https://"):
                raise unavailable(f"issuer {quoted(issuer)} has no https URL")
            self._others[issuer] = self._new_source(issuer)
            if len(self._others) > MAX_ISSUERS:
                self._others.popitem(last=False)
        return self._others[issuer]
