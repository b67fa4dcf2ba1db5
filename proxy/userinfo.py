"""The value at which authentication and impersonation meet.

A ``UserInfo`` is what the claims say, as kube-apiserver would see it (``user.Info`` of
k8s.io/apiserver): authentication makes it, and it may still be empty, reserved or malformed,
because kube-apiserver's own rules allow that. Nothing but ``impersonation.impersonate`` turns it
into something that can be sent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

# The extra that says which token it was (pkg/authentication/user/user.go, CredentialIDKey).
CREDENTIAL_ID: Final = "authentication.kubernetes.io/credential-id"


@dataclass(frozen=True, slots=True)
class UserInfo:
    """A user as asserted by an authenticator; order and duplicates of groups are the token's."""

    username: str
    uid: str = ""
    groups: tuple[str, ...] = ()
    extra: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def as_claims(user: UserInfo) -> dict[str, Any]:
    """Return a user as the value of the variable ``user``, and as ``explain`` shows it."""
    return {
        "username": user.username,
        "uid": user.uid,
        "groups": list(user.groups),
        "extra": {key: list(values) for key, values in user.extra.items()},
    }
