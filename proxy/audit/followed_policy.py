"""Follows ``--audit-policy-file``: what changes in it counts for the requests that come after.

kube-apiserver reads its own once; here it is followed as the other files are. A version that cannot
be used leaves the last good one in force: a slip of the pen must not end the audit.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Final

from proxy.audit.policy import Policy
from proxy.audit.policy_file import InvalidPolicy, parse_policy
from proxy.files import FollowedFile, SourceError

LOOK_EVERY: Final = 1.0  # seconds

_log = logging.getLogger(__name__)


class FollowedPolicy:
    """The policy in a file; ``on_change`` takes each one that comes after the first.

    Raises SourceError or InvalidPolicy if there is no usable policy to begin with.
    """

    def __init__(self, path: Path) -> None:
        self.on_change: Callable[[Policy], None] = lambda _policy: None
        self._file = FollowedFile(path, "--audit-policy-file")
        self._failure = ""
        self._document = self._file.read()
        self.policy = self._parsed(self._document)

    @property
    def healthy(self) -> bool:
        """Whether the policy in force is what the file says."""
        return not self._failure

    async def run(self) -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY)
            self.look()

    def look(self) -> None:
        """Take a new version, if there is one and it can be used."""
        try:
            document = self._file.read()
            if document != self._document:
                self.policy = self._parsed(document)
                self._document = document
                _log.warning(
                    "the audit policy has changed", extra={"rules": len(self.policy.rules)}
                )
                self.on_change(self.policy)
        except SourceError as error:
            self._report(str(error))
        except InvalidPolicy as error:
            self._report(f"{self._file.origin}: {error}")
        else:
            if self._failure:
                _log.info("the audit policy file can be used again")
            self._failure = ""

    def _parsed(self, document: bytes) -> Policy:
        policy, warnings = parse_policy(document)
        for warning in warnings:
            _log.warning("%s: %s", self._file.origin, warning)
        return policy

    def _report(self, failure: str) -> None:
        """Log a failure once for each cause."""
        if failure != self._failure:
            _log.error(
                "the audit policy file cannot be used: %s; the policy held stays in force", failure
            )
        self._failure = failure
