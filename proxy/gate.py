"""The gate: from a request head to the identity that it may act under, or a refusal.

Here authentication (which knows no HTTP) and the data plane (which knows no tokens) meet. The
order of the checks is part of the contract with other programs: what ``Connection`` names, the
credential, the token, impersonation by the client, the guard on names. A token is verified once;
after that its finished identity headers are found by an HMAC of it.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable
from dataclasses import replace
from typing import Protocol

from proxy.authn.authenticator import NEEDS_FETCH, Authenticated, Authenticator
from proxy.authn.cache import TokenCache
from proxy.authn.credential import Credential, extract
from proxy.authn.trace import Trace
from proxy.denial import Bearer
from proxy.errors import (
    ConnectionNamesIdentity,
    IdentityError,
    ImpersonationNotAllowed,
    ProxyError,
)
from proxy.headers import names_identity
from proxy.http.head import RequestHead
from proxy.http.service import Admission
from proxy.impersonation import Policy, impersonate
from proxy.limits import MAX_TOKEN_BYTES


class Count(Protocol):
    """A number that is counted up."""

    value: float


class GateObserver(Protocol):
    """What is seen of tokens from outside; how many were known, and were not, is counted in it."""

    @property
    def cache_hits(self) -> Count: ...

    @property
    def cache_misses(self) -> Count: ...

    def token_validated(self, seconds: float) -> None:
        """A token was verified, or found wanting, in that much time."""

    def groups_dropped(self, count: int) -> None: ...


class Gate:
    """Admits requests; satisfies ``http.service.Gate``."""

    def __init__(
        self,
        authenticator: Authenticator,
        cache: TokenCache[Admission],
        policy: Policy,
        observer: GateObserver,
        max_token_bytes: int = MAX_TOKEN_BYTES,
        *,
        may_impersonate: bool = False,
    ) -> None:
        self._authenticator = authenticator
        self._cache, self._found = cache, cache.found
        self._policy = policy
        self._observer = observer
        self._hits, self._misses = observer.cache_hits, observer.cache_misses
        self._max_token_bytes = max_token_bytes
        self._may_impersonate = may_impersonate  # somebody else decides about such requests

    def admit(
        self, head: RequestHead, now: float, trace: Trace | None = None
    ) -> Admission | Awaitable[Admission]:
        """Return the identity for a request, at once unless something must be fetched first.

        ``now`` in unix seconds. Raises the ``ProxyError`` that the request is to be answered with.
        ``trace`` sees a token that was not seen before, as far as it is looked at without waiting.
        """
        if head.options and names_identity(head.options):
            raise ConnectionNamesIdentity
        known = head.known
        if known is not None:
            found = self._found.get(known.token_key)
            if found is not None and now <= found.ends_at:  # as most often
                admission: Admission | None = found.value
            else:
                admission = self._cache.get(known.token_key, now)
            if admission is not None:
                self._hits.value += 1
                return admission
        websocket = head.websocket_protocols if head.upgrade == b"websocket" else None
        credential = extract(head.authorization, websocket, self._max_token_bytes)
        key = self._cache.key(credential.token)
        if known is not None:
            known.token_key = key
        admission = self._cache.get(key, now)
        (self._hits if admission is not None else self._misses).value += 1
        if admission is None:
            began = time.perf_counter()
            try:
                authenticated = self._authenticator.authenticate(credential.token, now, trace=trace)
            except NEEDS_FETCH as missing:
                return self._admit_after_fetching(head, credential, key, now, missing)
            finally:
                self._observer.token_validated(time.perf_counter() - began)
            admission = self._asserted(head, authenticated, key, now)
        elif head.impersonates and not self._may_impersonate:
            raise _of(admission.bearer, ImpersonationNotAllowed())
        return admission.with_protocols(credential.protocols)

    async def _admit_after_fetching(
        self, head: RequestHead, credential: Credential, key: bytes, now: float, missing: Exception
    ) -> Admission:
        """Fetch what is missing, and try once more; it stands if there may be no looking."""
        began = time.perf_counter()
        authenticated = await self._authenticator.resume(credential.token, now, missing)
        now += time.perf_counter() - began
        admission = self._asserted(head, authenticated, key, now)
        return admission.with_protocols(credential.protocols)

    def _asserted(
        self, head: RequestHead, authenticated: Authenticated, key: bytes, now: float
    ) -> Admission:
        """Pass a user who is new here by the guard, and remember the outcome."""
        user = authenticated.user
        bearer = Bearer(
            user.username,
            user.groups,
            authenticated.issuer,
            authenticated.subject,
            authenticated.token_id,
            authenticated.node,
            authenticated.addresses,
        )
        if head.impersonates and not self._may_impersonate:
            raise _of(bearer, ImpersonationNotAllowed())
        if self._policy.send_token_facts:
            user = replace(user, extra={**user.extra, **bearer.facts})
        try:
            identity = impersonate(user, self._policy)
        except IdentityError as error:
            raise _of(bearer, error) from None
        admission = Admission(identity, bearer)
        self._observer.groups_dropped(identity.dropped)
        self._cache.put(
            key,
            admission,
            expires_at=authenticated.expires_at,
            issuer=authenticated.issuer,
            key_identity=authenticated.key,
            now=now,
        )
        return admission


def _of(bearer: Bearer, error: ProxyError) -> ProxyError:
    """Return ``error``, saying whose token it was: one that holds, whatever else is wrong."""
    error.bearer = bearer
    return error
