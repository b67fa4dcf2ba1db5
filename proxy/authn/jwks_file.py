"""An issuer's keys from a file, for an issuer that this proxy cannot reach at all.

tsidp's key stays the same while its state directory lives, so its key set can be handed over in a
ConfigMap. The file is followed; a version that cannot be used leaves the last good keys in force.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from proxy.authn.keyset import InvalidKeySet, KeySet, parse_jwks
from proxy.files import FollowedFile, SourceError

LOOK_EVERY: Final = 1.0  # seconds

_log = logging.getLogger(__name__)


class JWKSFile:
    """The keys in a file, looked at every second. ``last_success`` is in unix seconds."""

    def __init__(self, path: Path, *, on_keys: Callable[[KeySet], None]) -> None:
        self.last_success = 0.0
        self._file = FollowedFile(path, "--oidc-jwks-file")
        self._on_keys = on_keys
        self._loop = asyncio.get_running_loop()
        self._keys: KeySet | None = None
        self._document: bytes | None = None
        self._failure = ""
        self._looked_at = -LOOK_EVERY

    @property
    def healthy(self) -> bool:
        """Whether the last look went well."""
        return bool(self.last_success) and not self._failure

    @property
    def failure(self) -> str:
        """Why the last look went wrong; empty if it did not."""
        return self._failure

    @property
    def keys(self) -> KeySet | None:
        now = self._loop.time()
        if now - self._looked_at >= LOOK_EVERY:
            self._looked_at = now
            self._look()
        return self._keys

    async def refresh(self) -> bool:
        """Say no: ``keys`` has already looked."""
        return False

    async def fetch(self) -> bool:
        """Look now; return whether there are keys."""
        return self.keys is not None

    async def run(self) -> None:
        """Look though nobody asks, so that a withdrawn key is noticed and cached tokens with it."""
        while True:
            self._look()
            await asyncio.sleep(LOOK_EVERY)

    def _look(self) -> None:
        try:
            document = self._file.read()
            if document != self._document:
                self._take(parse_jwks(document))
                self._document = document
        except SourceError as error:
            self._report(str(error))
        except InvalidKeySet as error:
            self._report(f"{self._file.origin}: {error}")
        else:
            self._failure = ""
            self.last_success = time.time()

    def _take(self, keys: KeySet) -> None:
        self._keys = keys
        self._on_keys(keys)

    def _report(self, failure: str) -> None:
        """Log a failure once for each cause."""
        if failure != self._failure:
            held = "the keys held stay in use" if self._keys else "no token can be verified yet"
            _log.error("the issuer's keys cannot be read: %s; %s", failure, held)
        self._failure = failure
