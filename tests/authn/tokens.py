"""A token that is good at ``NOW`` under ``RULES``, and the keys that say so; no server needed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from proxy.authn.authenticator import Fetched
from proxy.authn.distributed import Endpoint
from proxy.authn.keyset import KeySet, parse_jwks
from proxy.authn.verifier import TokenRules
from proxy.observe.series import Number
from tests.issuer import CLIENT_ID, SigningKey, jwks_document, rsa_key, tsidp_claims

ISSUER: Final = "https://idp.tail1234.ts.net"
NOW: Final = 1_800_000_000.0
RULES: Final = TokenRules(ISSUER, frozenset([CLIENT_ID]))


class HeldKeys:
    """A key source in memory. ``coming`` are the keys that a look for newer ones finds."""

    def __init__(self, *keys: SigningKey, coming: KeySet | None = None) -> None:
        self.keys: KeySet | None = key_set(*keys) if keys else None
        self.coming = coming
        self.looks = 0

    async def refresh(self) -> bool:
        self.looks += 1
        if self.coming is None:
            return False
        self.keys = self.coming
        return True


class Nowhere:
    """A resolver for tokens that point nowhere."""

    async def resolve(self, wanted: Sequence[Endpoint], now: float) -> Fetched:
        raise AssertionError(f"nothing is asked for, but {wanted} at {now}")


NOWHERE: Final = Nowhere()


class Unseen:
    """A gate's observer that nobody asks."""

    def __init__(self) -> None:
        self.cache_hits, self.cache_misses = Number(), Number()

    def token_validated(self, seconds: float) -> None: ...
    def groups_dropped(self, count: int) -> None: ...


def key_set(*keys: SigningKey | Mapping[str, object]) -> KeySet:
    return parse_jwks(jwks_document(*keys))


def claims(**overrides: object) -> dict[str, Any]:
    """Return tsidp's claims as of ``NOW``; an override of ``...`` drops that claim."""
    merged: dict[str, Any] = tsidp_claims(ISSUER, now=NOW) | overrides
    return {name: value for name, value in merged.items() if value is not ...}


def token(
    header: Mapping[str, object] | bytes | None = None,
    /,
    key: SigningKey | None = None,
    **overrides: object,
) -> bytes:
    """Mint a token of the usual claims, overridden."""
    return (key or rsa_key()).token(claims(**overrides), header).encode()
