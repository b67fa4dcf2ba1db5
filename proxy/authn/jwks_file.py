"""An issuer's keys from a file, for an issuer that this proxy cannot reach at all.

tsidp's key stays the same while its state directory lives, so its key set can be handed over in a
ConfigMap. The file is followed, so that a withdrawn key is noticed, and cached tokens with it; a
version that cannot be used leaves the last good keys in force.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from proxy.authn.keyset import InvalidKeySet, KeySet, parse_jwks
from proxy.files import FollowedFile
from proxy.followed import Followed


class JWKSFile(Followed[KeySet]):
    """The keys in a file, looked at every second."""

    def __init__(self, path: Path, *, on_keys: Callable[[KeySet], None]) -> None:
        super().__init__(
            FollowedFile(path, "--oidc-jwks-file"),
            parse_jwks,
            InvalidKeySet,
            on_keys,
            name="the issuer's key file",
            held="the keys held stay in use",
            lacking="no token can be verified yet",
        )

    @property
    def keys(self) -> KeySet | None:
        return self.now()

    async def refresh(self) -> bool:
        """Say no: ``keys`` has already looked."""
        return False

    async def fetch(self) -> bool:
        """Look now; return whether there are keys."""
        return self.keys is not None
