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


class FollowedPolicy(Followed[Policy]):
    """The policy in a file; ``on_change`` takes each one that comes after the first.

    Raises SourceError or InvalidPolicy if there is no usable policy to begin with.
    """

    def __init__(self, path: Path) -> None:
        self.on_change: Callable[[Policy], None] = lambda _policy: None
        file = FollowedFile(path, "--audit-policy-file")

        def parsed(document: bytes) -> Policy:
            policy, warnings = parse_policy(document)
            for warning in warnings:
                _log.warning("%s: %s", file.origin, warning)
            return policy

        super().__init__(
            file,
            parsed,
            InvalidPolicy,
            self._take,
            name="the audit policy file",
            held="the policy held stays in force",
        )
        self.policy = self.start()

    def _take(self, policy: Policy) -> None:
        self.policy = policy
        _log.warning("the audit policy has changed", extra={"rules": len(policy.rules)})
        self.on_change(policy)
