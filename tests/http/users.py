"""The real gate, for users whose token is their name: what it refuses is refused as in earnest."""

from __future__ import annotations

import asyncio

from proxy.authn.authenticator import Authenticated, Authenticator, Fetched
from proxy.authn.cache import TokenCache
from proxy.authn.trace import Trace
from proxy.errors import KeyUnknown, TokenMalformed
from proxy.gate import Gate
from proxy.http.service import Admission
from proxy.userinfo import UserInfo
from tests.authn.tokens import Unseen
from tests.corpus import GROUP, POLICY


class Naming(Authenticator):
    """Takes a token for the user's name. One that begins with ``slow`` needs keys to be fetched."""

    def __init__(self) -> None:
        super().__init__([])
        self.known: set[bytes] = set()
        self.waiting: list[asyncio.Future[bool]] = []

    def authenticate(
        self,
        token: bytes,
        now: float,
        fetched: Fetched | None = None,
        trace: Trace | None = None,
    ) -> Authenticated:
        if token.startswith(b"slow") and token not in self.known:
            raise KeyUnknown
        if token == b"nobody":
            raise TokenMalformed
        user = UserInfo(token.decode(), groups=(GROUP,))
        return Authenticated(user, now + 300, "issuer", "key")

    async def resume(
        self, token: bytes, now: float, missing: Exception, trace: Trace | None = None
    ) -> Authenticated:
        fetched: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self.waiting.append(fetched)
        try:
            found = await fetched
        finally:
            self.waiting.remove(fetched)
        if not found:
            raise missing
        self.known.add(token)
        return self.authenticate(token, now)


def naming_gate(users: Naming) -> Gate:
    cache: TokenCache[Admission] = TokenCache()
    return Gate(users, cache, POLICY, Unseen())
