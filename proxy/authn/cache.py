"""Verified tokens, so that a token's signature is checked once and not on every request.

A token itself is never kept: an entry is found by an HMAC of it, under a key that lives and dies
with the process, so neither a dump of memory nor a comparison's timing gives a token away. An
entry is never believed beyond its token's end, nor beyond ``MAX_AGE`` (tsidp's tokens live that
long), nor once the key that signed it is no longer published.
"""

from __future__ import annotations

import hmac
import secrets
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from cachetools import LRUCache

from proxy.authn.keyset import KeySet

MAX_ENTRIES: Final = 10_000  # some 10 MB when full
MAX_AGE: Final = 300.0  # seconds

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Entry(Generic[T]):
    """What is known of a token: ``value``, until ``ends_at``."""

    value: T
    ends_at: float
    issuer: str
    key_identity: str


class TokenCache(Generic[T]):
    """What is known of tokens, the least recently used going first. Times in unix seconds.

    ``found`` is what ``get`` has found since anything was put or dropped, in a plain dictionary for
    whoever asks with every request: who looks there first, and heeds ``ends_at``, learns what
    ``get`` would say, by no function of Python's instead of three. That is not counted as use: of
    what is there, all of it used after all that is not, the first found goes first.
    """

    def __init__(self) -> None:
        self._secret = secrets.token_bytes(32)
        self._entries: LRUCache[bytes, Entry[T]] = LRUCache(MAX_ENTRIES)
        self.found: dict[bytes, Entry[T]] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def key(self, token: bytes) -> bytes:
        """Return the name under which a token is kept."""
        return hmac.digest(self._secret, token, "sha256")

    def get(self, key: bytes, now: float) -> T | None:
        try:
            entry = self._entries[key]
        except KeyError:
            return None
        if now > entry.ends_at:
            self.found.clear()
            del self._entries[key]
            return None
        self.found[key] = entry
        return entry.value

    def put(
        self, key: bytes, value: T, *, expires_at: float, issuer: str, key_identity: str, now: float
    ) -> None:
        ends_at = min(expires_at, now + MAX_AGE)
        self.found.clear()  # among it may be what makes room
        self._entries[key] = Entry(value, ends_at, issuer, key_identity)

    def clear(self) -> None:
        """Drop everything: what made these values of tokens is no longer in force."""
        self.found.clear()
        self._entries.clear()

    def keep_only(self, issuer: str, keys: KeySet) -> None:
        """Drop the issuer's tokens whose key is not among ``keys``."""
        self.found.clear()
        withdrawn = [
            name
            for name, entry in self._entries.items()
            if entry.issuer == issuer and entry.key_identity not in keys
        ]
        for name in withdrawn:
            del self._entries[name]
