"""The emergency stop: follows ``--deny-file``, and keeps out whom it names.

The file is looked at once a second, whether requests come or not, so that open streams end too. A
version that cannot be used leaves the last good one in force: a slip of the pen must neither let
everybody in again nor lock everybody out.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Final

from proxy.denial import Bearer, DenyList, InvalidDenyList, parse_deny_list
from proxy.errors import Denied
from proxy.files import FollowedFile, SourceError

LOOK_EVERY: Final = 1.0  # seconds

_log = logging.getLogger(__name__)


class DenyFile:
    """The deny list in a file; satisfies ``http.service.Denial``.

    ``on_change`` ends what is under way and may not be any more; it returns how much that was.
    Raises SourceError or InvalidDenyList if there is no usable list to begin with.
    """

    def __init__(self, path: Path) -> None:
        self.on_change: Callable[[], int] = int
        self._file = FollowedFile(path, "--deny-file")
        self._loop = asyncio.get_running_loop()
        self._document = self._file.read()
        self._list = parse_deny_list(self._document)
        self._failure = ""
        self._looked_at = self._loop.time()

    @property
    def healthy(self) -> bool:
        """Whether the list in force is what the file says."""
        return not self._failure

    @property
    def entries(self) -> int:
        return self._list.size

    def check(self, bearer: Bearer) -> None:
        """Raise Denied for a bearer who is on the list as it is in the file now."""
        now = self._loop.time()
        if now - self._looked_at >= LOOK_EVERY:
            self._looked_at = now
            self._look()
        if self._list.denies(bearer):
            raise Denied(f"user {bearer.username!a} is on the deny list")

    async def run(self) -> None:
        """Look though nobody asks, so that open streams end without a new request."""
        while True:
            await asyncio.sleep(LOOK_EVERY)
            self._look()

    def _look(self) -> None:
        try:
            document = self._file.read()
            if document != self._document:
                self._take(parse_deny_list(document))
                self._document = document
        except SourceError as error:
            self._report(str(error))
        except InvalidDenyList as error:
            self._report(f"{self._file.origin}: {error}")
        else:
            if self._failure:
                _log.info("the deny file can be used again", extra=_sizes(self._list))
            self._failure = ""

    def _take(self, denied: DenyList) -> None:
        self._list = denied
        # A moment later: a request that is just being checked must not end under its own hands.
        self._loop.call_soon(self._changed)

    def _changed(self) -> None:
        ended = self.on_change()
        _log.warning("the deny list has changed", extra={**_sizes(self._list), "ended": ended})

    def _report(self, failure: str) -> None:
        """Log a failure once for each cause."""
        if failure != self._failure:
            _log.error("the deny file cannot be used: %s; the list held stays in force", failure)
        self._failure = failure


def _sizes(denied: DenyList) -> dict[str, int]:
    return {
        "users": len(denied.users),
        "groups": len(denied.groups),
        "subjects": len(denied.subjects),
        "token_ids": len(denied.token_ids),
    }
