"""What can be read off the proxy's own token, for the API server only says no to it.

Nothing is verified here, and nothing of a token but who it is for, from and about is shown.
Source: k8s.io/kubernetes, pkg/serviceaccount/claims.go.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import jwt

from proxy.credentials.trust import PLACEHOLDER_TOKEN
from proxy.reviews.requested import service_account
from proxy.tools.doctor.causes import (
    CREDENTIAL_AUDIENCE,
    CREDENTIAL_EMPTY,
    CREDENTIAL_EXPIRED,
    CREDENTIAL_IS_PLACEHOLDER,
    CREDENTIAL_MALFORMED,
    CREDENTIAL_OF_A_USER,
    CREDENTIAL_REJECTED,
)
from proxy.tools.doctor.mends import renewed_token
from proxy.tools.doctor.verdict import Verdict, failed

# What API servers call themselves: by default, their service accounts' issuer and nothing else.
_API_SERVER: Final = ("https://kubernetes.default.svc", "kubernetes.default.svc", "api")
_LONGEST: Final = 100  # characters of a claim that are shown


@dataclass(frozen=True, slots=True)
class OwnToken:
    """What a token says of itself; all of it may be missing, for a token need not be a JWT."""

    issuer: str = ""
    subject: str = ""
    audiences: tuple[str, ...] = ()
    expires_at: float | None = None
    is_jwt: bool = False

    @property
    def account(self) -> tuple[str, str] | None:
        """Return namespace and name, if it is a service account's."""
        return service_account(self.subject)


def parsed(token: bytes) -> OwnToken:
    try:
        claims: Mapping[str, Any] = jwt.decode(token, options={"verify_signature": False})
    except jwt.InvalidTokenError:
        return OwnToken()
    audience = claims.get("aud")
    audiences = [audience] if isinstance(audience, str) else audience
    expiry = claims.get("exp")
    return OwnToken(
        issuer=_text(claims.get("iss")),
        subject=_text(claims.get("sub")),
        audiences=tuple(_text(a) for a in audiences) if isinstance(audiences, list) else (),
        expires_at=float(expiry) if isinstance(expiry, int | float) else None,
        is_jwt=True,
    )


def unusable(raw: bytes, origin: str, why: str) -> Verdict:
    """Say what is in a file from which no token can be taken; ``why`` is what the reader said."""
    if raw.strip() == PLACEHOLDER_TOKEN.strip():
        return failed(
            CREDENTIAL_IS_PLACEHOLDER,
            f"{origin} holds the placeholder that serve writes to --trust-dir for Headlamp",
            "mount the account's own token into the proxy's container, and --trust-dir into "
            "Headlamp's alone; the two directories are never the same",
        )
    if not raw.strip():
        return failed(CREDENTIAL_EMPTY, f"{origin} is empty", renewed_token(origin, None))
    return failed(CREDENTIAL_MALFORMED, why, renewed_token(origin, None))


def expired(token: OwnToken, origin: str, now: float) -> Verdict | None:
    if token.expires_at is None or now < token.expires_at:
        return None
    ended = datetime.fromtimestamp(token.expires_at, UTC)
    return failed(
        CREDENTIAL_EXPIRED,
        f"{origin} ended {now - token.expires_at:.0f} s ago, on {ended:%Y-%m-%d %H:%M:%S} UTC",
        renewed_token(origin, token.account),
    )


def rejected(
    token: OwnToken, origin: str, users_issuers: Collection[str], said: str = ""
) -> Verdict:
    """Say why the API server probably answers 401; ``said`` is what it told an administrator.

    ``origin`` is empty if it is no token that is rejected.
    """
    mend = renewed_token(origin, token.account)
    if not origin:
        return failed(
            CREDENTIAL_REJECTED,
            "the API server answers 401 to the client certificate of the kubeconfig",
            "put a client certificate into it that is signed by the CA which the API server knows "
            "clients by (its --client-ca-file), or a token",
        )
    words = f"; to an administrator it says: {said}" if said else ""
    if token.issuer and token.issuer in users_issuers:
        return failed(
            CREDENTIAL_OF_A_USER,
            f"{origin} is an ID token of {_cut(token.issuer)}, for a user; the API server answers "
            f"401{words}",
            mend,
        )
    if "audience" in said or not _for_api_server(token):
        meant = ", ".join(map(_cut, token.audiences)) or "nobody"
        return failed(
            CREDENTIAL_AUDIENCE,
            f"{origin} is meant for {meant} (its aud), and the API server answers 401{words}",
            _without_audience(mend),
        )
    if not token.is_jwt:
        saw = f"the API server answers 401 to the token in {origin}, which is no JWT{words}"
    else:
        saw = (
            f"the API server answers 401 to the token in {origin} ({_cut(token.subject)}, from "
            f"{_cut(token.issuer)}): its account was deleted or made anew, it is another "
            f"cluster's, or the key that it was signed with was replaced{words}"
        )
    return failed(CREDENTIAL_REJECTED, saw, mend)


def _for_api_server(token: OwnToken) -> bool:
    if not token.is_jwt or token.account is None or not token.audiences:
        return True  # there is nothing to tell it by
    mine = {a.rstrip("/") for a in token.audiences}
    known = {token.issuer.rstrip("/"), *_API_SERVER}
    return any(a in known or a.startswith(f"{_API_SERVER[0]}.") for a in mine)


def _without_audience(mend: str) -> str:
    return (
        "# leave audience out of the projected serviceAccountToken; if it is none, make it anew:\n"
        f"{mend}"
    )


def _cut(text: str) -> str:
    return ascii(text[:_LONGEST])


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
