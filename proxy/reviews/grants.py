"""What RBAC grants a user, asked of the API server as that user, at most once in some seconds.

The answer is theirs alone: it is found by their name, so that nobody can have more asked by coming
with another token, and given to nobody who is not, to the byte, the one as whom it was asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, Protocol

from proxy.impersonation import Impersonation
from proxy.reviews.documents import Rules, Unknown
from proxy.reviews.memory import Memory
from proxy.reviews.rules import granted
from proxy.speaker import PassedThrough

KEPT_FOR: Final = 10.0  # seconds
MAX_USERS: Final = 1000
_LONGEST: Final = 400  # characters of one grant

Header = tuple[str, str]
Missing = Literal["", "impersonation", "answer", "turn"]


class Questions(Protocol):
    """What is asked of the API server; see ``client.Reviewer``."""

    async def rules_of(
        self, namespace: str, impersonating: Sequence[Header] = (), credential: Header | None = None
    ) -> Rules | Unknown: ...


@dataclass(frozen=True, slots=True)
class Grants:
    """What somebody may do in the whole cluster and in ``namespace``, in words.

    ``missing`` says why it is not known: this proxy may not impersonate them, the API server did
    not answer, or it was asked something else for them a moment ago. ``more`` grants were left
    out; not ``complete`` is a list that the API server could not finish, because of ``error``.
    """

    namespace: str
    who: bytes = b""
    grants: tuple[str, ...] = ()
    more: int = 0
    complete: bool = True
    error: str = ""
    missing: Missing = ""

    @property
    def nothing(self) -> bool:
        return not self.grants and not self.missing


class UserGrants:
    """Asks, and remembers for ``KEPT_FOR`` seconds."""

    def __init__(self, questions: Questions) -> None:
        self._questions = questions
        self._memory: Memory[Grants] = Memory(lambda _: KEPT_FOR, max_entries=MAX_USERS)

    async def of(self, speaker: Impersonation | PassedThrough, namespace: str) -> Grants:
        who = self._who(speaker)
        key = self._memory.key(speaker.username.encode())
        found = await self._memory.ask(key, lambda: self._ask(who, speaker, namespace))
        if isinstance(found, Unknown) or (found.who, found.namespace) != (who, namespace):
            return Grants(namespace, missing="turn")
        return found

    def _who(self, speaker: Impersonation | PassedThrough) -> bytes:
        if isinstance(speaker, PassedThrough):
            return self._memory.key(b"passed through", speaker.credential)
        return self._memory.key(b"asserted", speaker.header)

    async def _ask(
        self, who: bytes, speaker: Impersonation | PassedThrough, namespace: str
    ) -> Grants:
        """Return the answer; that there is none is remembered as well."""
        if isinstance(speaker, PassedThrough):
            (credential,) = _headers(speaker.credential)
            rules = await self._questions.rules_of(namespace, credential=credential)
        else:
            rules = await self._questions.rules_of(namespace, _headers(speaker.header))
        if isinstance(rules, Unknown):
            missing: Missing = "impersonation" if "cannot impersonate" in rules.why else "answer"
            return Grants(namespace, who, missing=missing)
        found = granted(rules)
        words = tuple(str(grant)[:_LONGEST] for grant in found.grants)
        return Grants(namespace, who, words, found.more, found.complete, found.error[:_LONGEST])


def _headers(lines: bytes) -> list[Header]:
    """Return whole header lines as pairs."""
    pairs = [line.partition(": ") for line in lines.decode().split("\r\n") if line]
    return [(name, value) for name, _, value in pairs]
