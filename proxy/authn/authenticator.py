"""A token's way through authentication: whose it is, whether it holds, whom it speaks of.

The issuer that a token names decides which rules and keys apply, and only byte for byte: nothing
else of the token is looked at before. The rule for keys that are not known yet stands here once:
ask the issuer anew (which keeps its own budget), and try once more.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from proxy.authn import jws
from proxy.authn.keyset import KeySet
from proxy.authn.mapping import ClaimMapping, text, user_info
from proxy.authn.verifier import TokenRules, claimed_issuers, unverified_issuer, verify
from proxy.errors import IssuerUnknown, KeysUnavailable
from proxy.userinfo import UserInfo


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
class TrustedIssuer:
    """An issuer, and what its tokens must be and mean."""

    rules: TokenRules
    mapping: ClaimMapping
    source: KeySource


@dataclass(frozen=True, slots=True)
class Authenticated:
    """A user, with what bounds how long the token may be believed (unix seconds).

    ``subject`` and ``token_id`` are the claims ``sub`` and ``jti``, empty where there is none.
    """

    user: UserInfo
    expires_at: float
    issuer: str
    key: str  # identity of the key that signed
    subject: str = ""
    token_id: str = ""


class Authenticator:
    """Authenticates tokens of any of several issuers, whose URLs are distinct."""

    def __init__(self, issuers: Iterable[TrustedIssuer]) -> None:
        self._issuers = {issuer.rules.issuer: issuer for issuer in issuers}

    def authenticate(self, token: bytes, now: float) -> Authenticated:
        """Return whom ``token`` speaks of. Raises an AuthenticationError or KeysUnavailable."""
        unverified = jws.parse(token)
        trusted = self._trusted(unverified)
        keys = trusted.source.keys
        if keys is None:
            raise KeysUnavailable(f"no keys of {trusted.rules.issuer} yet")
        verified = verify(unverified, keys, trusted.rules, now)
        claims = verified.claims
        return Authenticated(
            user_info(claims, trusted.mapping),
            verified.expires_at,
            trusted.rules.issuer,
            verified.key,
            subject=text(claims, "sub"),
            token_id=text(claims, "jti"),
        )

    def names_trusted(self, token: bytes) -> bool:
        """Say whether a token claims a trusted issuer in any way in which it could be read."""
        return not self._issuers.keys().isdisjoint(claimed_issuers(token))

    async def refresh_keys(self, token: bytes) -> bool:
        """Look for newer keys of the issuer that ``token`` names; return whether that was done."""
        return await self._trusted(jws.parse(token)).source.refresh()

    def _trusted(self, token: jws.UnverifiedToken) -> TrustedIssuer:
        trusted = self._issuers.get(unverified_issuer(token))
        if trusted is None:
            raise IssuerUnknown
        return trusted
