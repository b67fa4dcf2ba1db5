"""Tokens that no configured issuer has issued: the API server is asked whose they are.

What it says only decides whether the request is worth forwarding, with that same token; the API
server looks at the token again then, so nothing here can grant anything, and an answer may be
remembered for some seconds. Refusals are remembered as well, since a client that is refused tends
to come again at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

from proxy.credentials.credential import authorization
from proxy.errors import TokenReviewUnavailable, TokenUnknown
from proxy.reviews.documents import TokenStatus, Unknown
from proxy.reviews.memory import Memory
from proxy.speaker import PassedThrough

KNOWN_FOR: Final = 10.0  # seconds, as kube-apiserver's own cache of tokens
UNKNOWN_FOR: Final = 5.0  # seconds


class Questions(Protocol):
    """What is asked of the API server; see ``client.Reviewer``."""

    async def token(self, token: bytes, audiences: Sequence[str] = ()) -> TokenStatus | Unknown: ...


class TokenReviews:
    """Finds out whom the API server knows by their token."""

    def __init__(self, questions: Questions, audiences: Sequence[str]) -> None:
        self._questions = questions
        self._audiences = tuple(audiences)
        self._memory: Memory[TokenStatus] = Memory(
            lambda status: UNKNOWN_FOR if status.user is None else KNOWN_FOR
        )

    async def identify(self, token: bytes) -> PassedThrough:
        """Return the client to be passed through. Raises TokenUnknown or TokenReviewUnavailable."""
        status = await self._memory.ask(
            self._memory.key(token), lambda: self._questions.token(token, self._audiences)
        )
        if isinstance(status, Unknown):
            raise TokenReviewUnavailable(status.why)
        return self._client(token, status)

    def recall(self, token: bytes) -> PassedThrough | None:
        """Return the client as is known from a request before; ask nobody. Raises TokenUnknown."""
        status = self._memory.recall(self._memory.key(token))
        return None if status is None else self._client(token, status)

    @staticmethod
    def _client(token: bytes, status: TokenStatus) -> PassedThrough:
        if status.user is None:
            raise TokenUnknown
        return PassedThrough(status.user.username, status.user.groups, authorization(token))
