"""One token's way through authentication and the guard, as an account of its steps."""

from __future__ import annotations

import asyncio
from typing import Final

from proxy.account import Account, accepted, guarded, refused
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
from proxy.errors import ProxyError
from proxy.files import SourceError
from proxy.issuers import Issuers, ReloadResult
from proxy.plans import policy_of

NETWORK: Final = 10.0  # seconds for all that is fetched together


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
        asserted = guarded(user, policy_of(config), trace, is_raw=raw_identity)
    except ProxyError as error:
        return refused(error, trace, why=error.detail or error.message)
    return accepted(user if raw_identity else asserted, trace)


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
