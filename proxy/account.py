"""The account of a token's way, as ``explain`` prints it and the whoami page shows it: one form.

An account says whether somebody is let in, as whom, and why not, and has the steps of the ``Trace``
by which that was found. Pure.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from proxy.authn.trace import Trace
from proxy.errors import IdentityError, ProxyError
from proxy.impersonation import Policy, impersonate
from proxy.userinfo import UserInfo, as_claims

Account = dict[str, Any]


def guarded(user: UserInfo, policy: Policy, trace: Trace, *, is_raw: bool = False) -> UserInfo:
    """Pass a user by the guard, and return who is asserted.

    Raises an IdentityError unless only the raw identity is asked for.
    """
    try:
        identity = impersonate(user, policy)
    except IdentityError as error:
        trace.note("guard", refused=error.label, reason=error.detail or error.message)
        if is_raw:
            return user
        raise
    trace.note(
        "guard",
        refused=None,
        dropped_groups=identity.dropped,
        headers=identity.header.decode().splitlines(),
    )
    return replace(user, groups=identity.groups)


def accepted(user: UserInfo, trace: Trace) -> Account:
    return {"authenticated": True, "user": as_claims(user), "error": "", "steps": trace.steps}


def refused(error: ProxyError, trace: Trace, *, why: str) -> Account:
    """Return the account of who is not let in; ``why`` is in words."""
    trace.note("refused", status=error.code, label=error.label, message=error.message)
    return {"authenticated": False, "user": None, "error": why, "steps": trace.steps}
