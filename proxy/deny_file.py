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

from proxy.denial import Bearer, DenyList, InvalidDenyList
from proxy.deny_list import parse_deny_list
from proxy.errors import Denied
from proxy.files import FollowedFile
from proxy.followed import Followed

_log = logging.getLogger(__name__)


class DenyFile:
    """The deny list in a file; satisfies ``http.service.Denial``.

    ``on_change`` ends what is under way and may not be any more; it returns how much that was.
    Raises SourceError or InvalidDenyList if there is no usable list to begin with.
    """

    def __init__(self, path: Path) -> None:
        self.on_change: Callable[[], int] = int
        self._followed = Followed(
            FollowedFile(path, "--deny-file"),
            parse_deny_list,
            InvalidDenyList,
            self._take,
            name="the deny file",
            held="the list held stays in force",
        )
        self._list = self._followed.start()

    @property
    def healthy(self) -> bool:
        """Whether the list in force is what the file says."""
        return self._followed.healthy

    @property
    def entries(self) -> int:
        return self._list.size

    def check(self, bearer: Bearer) -> None:
        """Raise Denied for a bearer who is on the list as it is in the file now."""
        self._followed.now()
        if self._list.denies(bearer):
            raise Denied(f"user {bearer.username!a} is on the deny list")

    async def run(self) -> None:
        """Look though nobody asks, so that open streams end without a new request."""
        await self._followed.run()

    def _take(self, denied: DenyList) -> None:
        self._list = denied
        # A moment later: a request that is just being checked must not end under its own hands.
        asyncio.get_running_loop().call_soon(self._changed)

    def _changed(self) -> None:
        ended = self.on_change()
        sizes = {
            "users": len(self._list.users),
            "groups": len(self._list.groups),
            "subjects": len(self._list.subjects),
            "token_ids": len(self._list.token_ids),
        }
        _log.warning("the deny list has changed", extra={**sizes, "ended": ended})
