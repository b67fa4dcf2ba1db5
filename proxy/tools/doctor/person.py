"""Who is spoken of: the user of a token, of a login, or of --user and --group.

The code that decides is that of ``serve``: a token goes through its authenticator, as ``explain``
does it, and every identity passes its guard, or is refused by it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from proxy.errors import IdentityError
from proxy.impersonation import NEVER_SENT, Impersonation, impersonate
from proxy.plans import policy_of
from proxy.tools.doctor.examination import Examination
from proxy.tools.doctor.tokens import claims_of
from proxy.tools.explain.account import Refused, account
from proxy.userinfo import UserInfo


@dataclass(frozen=True, slots=True)
class Person:
    """Who it is before the guard, and what the guard says: an identity, or why there is none.

    ``claims`` are the token's, for hints only.
    """

    raw: UserInfo
    identity: Impersonation | None = None
    refused: IdentityError | None = None
    claims: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def user(self) -> UserInfo:
        """Return who the API server sees, or, if the guard refuses, would have seen."""
        if self.identity is None:
            return self.raw
        groups = (*self.identity.groups, NEVER_SENT)
        return UserInfo(self.identity.username, self.raw.uid, groups)


class NotAuthenticated(Exception):
    """The token is nobody's here; the text says why."""


async def person(x: Examination) -> Person | None:
    """Return who is spoken of; None if nobody is. Raises NotAuthenticated."""
    claims: Mapping[str, Any] = {}
    token = x.known.token or x.asked.token
    if token is not None:
        raw = await _of_token(x, token)
        claims = claims_of(token)
    elif x.asked.user:
        raw = UserInfo(x.asked.user, groups=x.asked.groups)
    else:
        return None
    try:
        return Person(raw, impersonate(raw, policy_of(x.config)), claims=claims)
    except IdentityError as error:
        return Person(raw, refused=error, claims=claims)


async def _of_token(x: Examination, token: bytes) -> UserInfo:
    try:
        result = await account(x.config, token, time.time(), raw_identity=True)
    except Refused as error:
        raise NotAuthenticated(str(error)) from error
    if not result["authenticated"]:
        raise NotAuthenticated(result["error"])
    user = result["user"]
    extra = {key: tuple(values) for key, values in user["extra"].items()}
    return UserInfo(user["username"], user["uid"], tuple(user["groups"]), extra)
