"""May this user become that one? The API server is asked, about every value, as it asks itself.

Its answers for one identity and one value are remembered for some seconds, since kubectl makes a
dozen requests for one command. All questions of a request share one deadline; unless each is
answered with a plain yes, the request goes nowhere.
"""

from __future__ import annotations

import asyncio
from typing import Final, Protocol

from proxy.errors import AccessReviewUnavailable, ImpersonationDenied
from proxy.impersonation import NEVER_SENT, Impersonation
from proxy.reviews.documents import Access, Question, Unknown
from proxy.reviews.memory import Memory
from proxy.reviews.requested import questions
from proxy.userinfo import UserInfo

REMEMBERED: Final = 10.0  # seconds, as kube-apiserver's constrained impersonation does
DEADLINE: Final = 5.0  # seconds for all questions of one request


class Questions(Protocol):
    """What is asked of the API server; see ``client.Reviewer``."""

    async def may(self, user: UserInfo, question: Question) -> Access | Unknown: ...


class Impersonators:
    """Decides who may impersonate whom, by asking."""

    def __init__(self, asked: Questions) -> None:
        self._asked = asked
        self._memory: Memory[Access] = Memory(lambda _: REMEMBERED)

    async def check(self, asking: Impersonation, wanted: UserInfo) -> None:
        """Return if ``asking`` may be ``wanted``.

        Raises ImpersonationDenied or AccessReviewUnavailable.
        """
        # All that the API server would see of them, its own addition included.
        user = UserInfo(
            asking.username,
            uid=asking.uid,
            groups=(*asking.groups, NEVER_SENT),
            extra=_by_key(asking.extra),
        )
        put = questions(wanted)
        try:
            async with asyncio.timeout(DEADLINE):
                answers = await asyncio.gather(*(self._may(asking, user, q) for q in put))
        except TimeoutError:
            raise AccessReviewUnavailable(f"no answer within {DEADLINE:g} s") from None
        for question, answer in zip(put, answers, strict=True):
            if isinstance(answer, Unknown):
                raise AccessReviewUnavailable(answer.why)
            if not answer.allowed or answer.error:
                raise ImpersonationDenied(f"{question} {answer.error}".rstrip())

    async def _may(
        self, asking: Impersonation, user: UserInfo, question: Question
    ) -> Access | Unknown:
        attributes = [f"{k}={v}".encode() for k, v in question.attributes().items()]
        key = self._memory.key(asking.header, *attributes)
        return await self._memory.ask(key, lambda: self._asked.may(user, question))


def _by_key(extra: tuple[tuple[str, str], ...]) -> dict[str, tuple[str, ...]]:
    values: dict[str, tuple[str, ...]] = {}
    for key, value in extra:
        values[key] = (*values.get(key, ()), value)
    return values
