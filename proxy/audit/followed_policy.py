"""Follows ``--audit-policy-file``: what changes in it counts for the requests that come after.

kube-apiserver reads its own once; here it is followed as the other files are. A version that cannot
be used leaves the last good one in force: a slip of the pen must not end the audit.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from proxy.audit.policy import Policy
from proxy.audit.policy_file import InvalidPolicy, parse_policy
from proxy.files import FollowedFile
from proxy.followed import Followed

_log = logging.getLogger(__name__)


class FollowedPolicy:
    """The policy in a file; ``on_change`` takes each one that comes after the first.

    Raises SourceError or InvalidPolicy if there is no usable policy to begin with.
    """

    def __init__(self, path: Path) -> None:
        self.on_change: Callable[[Policy], None] = lambda _policy: None
        self._file = FollowedFile(path, "--audit-policy-file")
        self._followed = Followed(
            self._file,
            self._parsed,
            InvalidPolicy,
            self._take,
            name="the audit policy file",
            held="the policy held stays in force",
        )
        self.policy = self._followed.start()

    @property
    def healthy(self) -> bool:
        """Whether the policy in force is what the file says."""
        return self._followed.healthy

    async def run(self) -> None:
        await self._followed.run()

    def look(self) -> None:
        """Take a new version, if there is one and it can be used."""
        self._followed.look()

    def _take(self, policy: Policy) -> None:
        self.policy = policy
        _log.warning("the audit policy has changed", extra={"rules": len(policy.rules)})
        self.on_change(policy)

    def _parsed(self, document: bytes) -> Policy:
        policy, warnings = parse_policy(document)
        for warning in warnings:
            _log.warning("%s: %s", self._file.origin, warning)
        return policy
