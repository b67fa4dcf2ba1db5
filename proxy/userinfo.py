"""The value at which authentication and impersonation meet.

A ``UserInfo`` is what the claims say, as kube-apiserver would see it (``user.Info`` of
k8s.io/apiserver): authentication makes it, and it may still be empty, reserved or malformed,
because kube-apiserver's own rules allow that. Nothing but ``impersonation.impersonate`` turns it
into something that can be sent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class UserInfo:
    """A user as asserted by an authenticator; order and duplicates of groups are the token's."""

    username: str
    uid: str = ""
    groups: tuple[str, ...] = ()
    extra: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
