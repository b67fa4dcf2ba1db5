"""What the page says to somebody who is not let in: what they can do, before they ask anybody.

What happened is the error's own message, and what those who run this can do is its ``mend``: both
stand in ``proxy.errors``. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from proxy.errors import AuthenticationError, ProxyError

_SIGN_IN: Final = "Sign out of Headlamp, sign in again, and open this page once more."
_NOTHING: Final = "There is nothing you can do here yourself, and signing in again does not help."
_LATER: Final = "Wait a minute and reload this page. Your sign-in is not what is wrong."

YOURSELF: Final[Mapping[str, str]] = {
    "token_missing": (
        "Sign in at Headlamp, in this browser, and open this page again. If you have signed in and "
        "still see this, your session has ended, or the address of this page is not below that of "
        "your cluster."
    ),
    "token_malformed": _SIGN_IN,
    "issuer_unknown": (
        "See below who issued your token. If that is not the identity provider that your team uses "
        "for this cluster, sign out and sign in through the right one. If it is, the two names "
        "differ somewhere, perhaps by a slash: tell those who run this cluster."
    ),
    "token_unknown": _SIGN_IN,
    "audience_mismatch": (
        "See below for which application your token was issued. If you have come by a link from "
        "another application, sign in at this cluster's own Headlamp instead."
    ),
    "key_unknown": _SIGN_IN,
    "signature_invalid": _SIGN_IN,
    "token_expired": (
        "Reload this page: Headlamp gets a new token as it does so. If it still says this, sign "
        "out and sign in again. kubectl needs a new token, too."
    ),
    "token_not_yet_valid": "Wait a minute and reload this page. A clock is wrong somewhere.",
    "username_missing": (
        "See below which claims your token has. Your identity provider leaves out who you are; it "
        "does so for devices that belong to nobody, so try from a device of your own. Otherwise "
        "those who run this cluster must ask for more when you sign in."
    ),
    "email_not_verified": (
        "Look for a mail of your identity provider's that asks you to confirm your address, or "
        "confirm it in your account there. Then sign out and sign in again."
    ),
    "distributed_claims_unavailable": _LATER,
    "keys_unavailable": _LATER,
    "token_review_unavailable": _LATER,
    "impersonation_not_allowed": (
        "Something between your browser and the cluster asks to act as somebody else on your "
        "behalf. Leave out --as and --as-group, if it was you."
    ),
    "connection_names_identity": _NOTHING,
    "multiple_credentials": (
        "Your requests carry two sign-ins. Sign out everywhere, delete the cookies of this "
        "address, and sign in once."
    ),
    "token_too_large": _NOTHING,
    "denied": (
        "Nothing: signing in again does not help. If you think that it is a mistake, ask those who "
        "run this cluster."
    ),
}


def yourself(error: ProxyError) -> str:
    """Return what who meets this error can do about it."""
    if error.label in YOURSELF:
        return YOURSELF[error.label]
    if error.code == 503:
        return _LATER
    if isinstance(error, AuthenticationError):
        return (
            "Nothing, unless what your identity provider knows about you is wrong: then have it "
            "mended there, and sign in again."
        )
    return _NOTHING
