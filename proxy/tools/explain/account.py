"""One token's way through authentication and the guard, as an account of its steps."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any, Final

from proxy.authn import jws
from proxy.authn.authenticator import Authenticated
from proxy.authn.configuration.plan import InvalidConfiguration
from proxy.authn.credential import extract
from proxy.authn.distributed import ClaimsElsewhere, unavailable
from proxy.authn.fetch import FetchResult
from proxy.authn.keyset import KeySet
from proxy.authn.trace import Trace
from proxy.authn.verifier import unverified_issuer
from proxy.config import Config
from proxy.errors import IdentityError, ProxyError
from proxy.files import SourceError
from proxy.impersonation import impersonate
from proxy.issuers import Issuers, ReloadResult
from proxy.plans import policy_of
from proxy.userinfo import UserInfo, as_claims

NETWORK: Final = 10.0  # seconds for all that is fetched together

Account = dict[str, Any]


class Refused(Exception):
    """The configuration cannot be used; the message has one line for each reason."""


async def account(config: Config, token: bytes, now: float, *, raw_identity: bool) -> Account:
    """Return what becomes of ``token`` at ``now`` (unix seconds), and why. Raises Refused."""
    trace = Trace()
    try:
        issuers = Issuers(config, _Unseen(), on_keys=_forget_keys, on_change=_nothing)
    except (InvalidConfiguration, SourceError) as error:
        raise Refused(str(error)) from None
    try:
        authenticated = await _authenticated(issuers, _bearer(token, config), now, trace)
        user = authenticated.user
        asserted = _guarded(config, user, trace, is_raw=raw_identity)
    except ProxyError as error:
        return _refused(error, trace)
    return {
        "authenticated": True,
        "user": as_claims(user if raw_identity else asserted),
        "error": "",
        "steps": trace.steps,
    }


async def _authenticated(issuers: Issuers, token: bytes, now: float, trace: Trace) -> Authenticated:
    deadline = asyncio.get_running_loop().time() + NETWORK
    await _fetch_keys(issuers, token, trace, deadline)
    try:
        return issuers.authenticator.authenticate(token, now, trace=trace)
    except ClaimsElsewhere as elsewhere:
        try:
            async with asyncio.timeout_at(deadline):
                return await issuers.authenticator.resume(token, now, elsewhere, trace)
        except TimeoutError:
            raise unavailable(f"given up after {NETWORK:g} s") from None


async def _fetch_keys(issuers: Issuers, token: bytes, trace: Trace, deadline: float) -> None:
    """Fetch the keys of the issuer that the token names, if it is one that is trusted."""
    issuer = unverified_issuer(jws.parse(token))
    source = issuers.source(issuer)
    if source is None:
        return
    failure = ""
    try:
        async with asyncio.timeout_at(deadline):
            await source.fetch()
    except TimeoutError:
        failure = f"given up after {NETWORK:g} s"
    keys = source.keys
    trace.note(
        "keys",
        issuer=issuer,
        kids=[key.kid for key in keys.keys] if keys else [],
        unusable=keys.unusable if keys else 0,
        failure=failure or source.failure or None,
    )


def _bearer(token: bytes, config: Config) -> bytes:
    """Return the token as the one that a request would bring. Raises as for a request."""
    authorization = [b"Bearer " + token.strip(b" \t\r\n")]
    return extract(authorization, None, config.max_token_bytes).token


def _guarded(config: Config, user: UserInfo, trace: Trace, *, is_raw: bool) -> UserInfo:
    """Pass a user by the guard, and return who is asserted.

    Raises an IdentityError unless only the raw identity is asked for.
    """
    try:
        identity = impersonate(user, policy_of(config))
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


def _refused(error: ProxyError, trace: Trace) -> Account:
    trace.note("refused", status=error.code, label=error.label, message=error.message)
    return {
        "authenticated": False,
        "user": None,
        "error": error.detail or error.message,
        "steps": trace.steps,
    }


class _Unseen:
    """Nobody counts what happens here."""

    def keys_fetched(self, result: FetchResult, seconds: float) -> None:
        """Nothing to count."""

    def authentication_config_reloaded(self, result: ReloadResult) -> None:
        """Nothing to count."""


def _forget_keys(_issuer: str, _keys: KeySet) -> None:
    """There is no cache."""


def _nothing() -> None:
    """There is no cache."""
