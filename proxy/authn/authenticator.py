"""A token's way through authentication: whose it is, whether it holds, whom it speaks of.

The issuer that a token names decides which rules and keys apply, and only byte for byte: nothing
else of the token is looked at before. What has to be fetched stands here once: for a key that is
not known, ask the issuer anew (which keeps its own budget); for claims that the token does not
carry but points to, ask where it points; and in both cases try once more.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from proxy.authn import jws
from proxy.authn.distributed import ClaimsElsewhere, Endpoint, endpoints
from proxy.authn.keyset import KeySet
from proxy.authn.mapping import ClaimMapping, text, texts, user_info
from proxy.authn.trace import Trace
from proxy.authn.verifier import TokenRules, claimed_issuers, unverified_issuer, verify
from proxy.errors import IssuerUnknown, KeysUnavailable, KeyUnknown, SignatureInvalid
from proxy.userinfo import UserInfo

# What may still come to a good end if something is fetched first.
NEEDS_FETCH = (KeyUnknown, SignatureInvalid, ClaimsElsewhere)


class KeySource(Protocol):
    """Where an issuer's keys come from."""

    @property
    def keys(self) -> KeySet | None:
        """Return the last good key set, None before the first."""
        ...

    async def refresh(self) -> bool:
        """Look for newer keys if the budget allows; return whether that was done."""
        ...


@dataclass(frozen=True, slots=True)
class Fetched:
    """Claims that came from elsewhere, and how long they may be believed (unix seconds)."""

    claims: Mapping[str, Any]
    expires_at: float


class ClaimResolver(Protocol):
    """Who fetches the claims that a token points to."""

    async def resolve(self, wanted: Sequence[Endpoint], now: float) -> Fetched:
        """Return every wanted claim. Raises DistributedClaimsUnavailable."""
        ...


@dataclass(frozen=True, slots=True)
class TrustedIssuer:
    """An issuer, and what its tokens must be and mean."""

    rules: TokenRules
    mapping: ClaimMapping
    source: KeySource
    resolver: ClaimResolver


@dataclass(frozen=True, slots=True)
class Authenticated:
    """A user, with what bounds how long the token may be believed (unix seconds).

    ``subject`` and ``token_id`` are the claims ``sub`` and ``jti``, ``node`` and ``addresses`` what
    tsidp says about the device; empty where there is none.
    """

    user: UserInfo
    expires_at: float
    issuer: str
    key: str  # identity of the key that signed
    subject: str = ""
    token_id: str = ""
    node: str = ""
    addresses: tuple[str, ...] = ()


class Authenticator:
    """Authenticates tokens of any of several issuers, whose URLs are distinct."""

    def __init__(self, issuers: Iterable[TrustedIssuer]) -> None:
        self.replace(issuers)

    def replace(self, issuers: Iterable[TrustedIssuer]) -> None:
        """Trust these issuers from now on, and no others."""
        self._issuers = {issuer.rules.issuer: issuer for issuer in issuers}

    def authenticate(
        self,
        token: bytes,
        now: float,
        fetched: Fetched | None = None,
        trace: Trace | None = None,
    ) -> Authenticated:
        """Return whom ``token`` speaks of.

        Raises an AuthenticationError, KeysUnavailable, or ClaimsElsewhere, unless what that asks
        for is given as ``fetched``.
        """
        unverified = jws.parse(token)
        if trace is not None:
            trace.token = unverified
        trusted = self._trusted(unverified, trace)
        keys = trusted.source.keys
        if keys is None:
            raise KeysUnavailable(
                f"oidc: authenticator not initialized (no keys of {trusted.rules.issuer} yet)"
            )
        verified = verify(unverified, keys, trusted.rules, now)
        if trace is not None:
            trace.note("signature", key=verified.key, expires_at=verified.expires_at)
        claims, expires_at = verified.claims, verified.expires_at
        if fetched is not None:
            claims, expires_at = {**claims, **fetched.claims}, min(expires_at, fetched.expires_at)
        elif "_claim_names" in claims and (
            elsewhere := endpoints(claims, trusted.mapping.groups_claims)
        ):
            raise ClaimsElsewhere(elsewhere)
        user = user_info(claims, trusted.mapping, trace)
        return Authenticated(
            user,
            expires_at,
            trusted.rules.issuer,
            verified.key,
            subject=text(claims, "sub"),
            token_id=text(claims, "jti"),
            node=text(claims, "node"),
            addresses=texts(claims, "addresses"),
        )

    def names_trusted(self, token: bytes) -> bool:
        """Say whether a token claims a trusted issuer in any way in which it could be read."""
        return not self._issuers.keys().isdisjoint(claimed_issuers(token))

    async def resume(
        self, token: bytes, now: float, missing: Exception, trace: Trace | None = None
    ) -> Authenticated:
        """Fetch what ``authenticate`` found missing (one of NEEDS_FETCH) at ``now``; try again.

        Raises as ``authenticate`` does, and ``missing`` itself if there may be no looking now.
        """
        began = time.perf_counter()
        trusted = self._trusted(jws.parse(token))
        if not isinstance(missing, ClaimsElsewhere):
            if not await trusted.source.refresh():
                raise missing
            try:
                return self.authenticate(token, now + time.perf_counter() - began, trace=trace)
            except ClaimsElsewhere as elsewhere:
                missing = elsewhere
        if trace is not None:
            for endpoint in missing.endpoints:
                trace.note("distributed claim", claim=endpoint.claim, endpoint=endpoint.url)
        now += time.perf_counter() - began
        fetched = await trusted.resolver.resolve(missing.endpoints, now)
        return self.authenticate(token, now, fetched, trace)

    def _trusted(self, token: jws.UnverifiedToken, trace: Trace | None = None) -> TrustedIssuer:
        issuer = unverified_issuer(token)
        trusted = self._issuers.get(issuer)
        if trace is not None:
            trace.note("issuer", issuer=issuer, trusted=trusted is not None)
        if trusted is None:
            raise IssuerUnknown(f"invalid bearer token: {issuer!a:.200} is no trusted issuer")
        return trusted
