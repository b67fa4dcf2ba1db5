"""What a file says, followed: a version that cannot be used leaves the last good one in force.

An operator edits such a file under a running proxy. A slip of the pen must change nothing: neither
let in whom the file keeps out, nor lock anybody out. It is logged once for each cause, and so is
its end; ``healthy`` is for the metrics.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Final, Generic, TypeVar

from proxy.files import FollowedFile, SourceError
from proxy.outage import Outage

LOOK_EVERY: Final = 1.0  # seconds

T = TypeVar("T")

_log = logging.getLogger(__name__)


class Followed(Generic[T]):
    """What ``file`` says, by ``parse``, which raises ``invalid`` where it says nothing usable.

    ``on_new`` takes each good version, but that of ``start``. The log says of ``name`` that it
    cannot be used, and then ``held``, or ``lacking`` where there is no good version yet.
    """

    def __init__(
        self,
        file: FollowedFile,
        parse: Callable[[bytes], T],
        invalid: type[Exception],
        on_new: Callable[[T], None],
        *,
        name: str,
        held: str,
        lacking: str = "",
    ) -> None:
        self.value: T | None = None  # of the last good version
        self.last_success = 0.0  # unix seconds of the last look that found a good version
        self._file = file
        self._parse, self._invalid = parse, invalid
        self._on_new = on_new
        self._name, self._held, self._lacking = name, held, lacking
        self._document: bytes | None = None
        self._outage = Outage()
        self._loop = asyncio.get_running_loop()
        self._looked_at = -LOOK_EVERY  # loop time

    @property
    def healthy(self) -> bool:
        """Whether ``value`` is what the file says, as far as was looked."""
        return self.value is not None and not self._outage

    @property
    def failure(self) -> str:
        """Why the last look went wrong; empty if it did not."""
        return self._outage.cause

    def start(self) -> T:
        """Take the first version, where there must be one. Raises SourceError or ``invalid``."""
        document = self._file.read()
        self.value = value = self._parse(document)
        self._document, self.last_success = document, time.time()
        self._looked_at = self._loop.time()
        return value

    def now(self) -> T | None:
        """Return what the last good version says, having looked within the last second."""
        now = self._loop.time()
        if now - self._looked_at >= LOOK_EVERY:
            self._looked_at = now
            self.look()
        return self.value

    async def run(self) -> None:
        """Look though nobody asks, until cancelled."""
        while True:
            self.look()
            await asyncio.sleep(LOOK_EVERY)

    def look(self) -> None:
        """Look at the file now, whenever it was looked at last."""
        try:
            document = self._file.read()
            if document != self._document:
                self.value = value = self._parse(document)
                self._document = document
                self._on_new(value)
        except SourceError as error:
            self._fails(str(error))
        except self._invalid as error:
            self._fails(f"{self._file.origin}: {error}")
        else:
            self.last_success = time.time()
            if self._outage.ends():
                _log.info("%s can be used again", self._name)

    def _fails(self, cause: str) -> None:
        if self._outage.fails(cause):
            held = self._lacking if self.value is None else self._held
            _log.error("%s cannot be used: %s; %s", self._name, cause, held)
