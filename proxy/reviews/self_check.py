"""Keeps asking what this proxy's own account may do, and acts on the answers.

Every few minutes the API server is asked for our rights, and, with an identity asserted that
grants nothing, whom it takes us for. Nothing waits for the first answer, and no answer is no
reason to stop. But where the account may do everything, or the API server sees somebody else than
it was told, our credential is withheld: no request can then be forwarded under it, and the client
is told why. Requests that are under way go on.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable, Sequence
from typing import Final, Protocol

from proxy.errors import CredentialWithheld
from proxy.impersonation import Policy
from proxy.reviews import privileges
from proxy.reviews.client import Header, asserting
from proxy.reviews.documents import Access, Question, Rules, Unknown
from proxy.reviews.privileges import (
    EVERYTHING,
    QUESTIONS,
    Answers,
    Canary,
    Finding,
    Verdict,
    forbids,
    judge,
)
from proxy.rights import Rule
from proxy.userinfo import UserInfo

INTERVAL: Final = 300.0  # seconds between two rounds in peace
FIRST_RETRY: Final = 1.0  # seconds; doubled each time that a question stays open
HURRY: Final = 30.0  # seconds at most, while the credential is withheld
REMIND_EVERY: Final = 3600.0  # seconds between two log lines about what lasts

_log = logging.getLogger(__name__)


class Questions(Protocol):
    """What is asked of the API server; see ``client.Reviewer``."""

    async def who_am_i(self, impersonating: Sequence[Header] = ()) -> UserInfo | Unknown: ...
    async def may_i(self, question: Question) -> Access | Unknown: ...
    async def my_rules(self, namespace: str) -> Rules | Unknown: ...


class OwnCredential(Protocol):
    """Who this proxy is towards the API server; see ``credentials.credential.Credential``."""

    line: bytes
    looked_at: float
    settled_until: float

    def header(self, now: float) -> bytes | None: ...
    async def renew(self) -> None: ...
    def reread(self) -> None: ...


class SelfCheck:
    """The verdict on our own account, None before the first; and what follows from it."""

    def __init__(
        self,
        questions: Questions,
        policy: Policy,
        *,
        needed: Iterable[Rule] = (),
        allow_privileged: bool = False,
    ) -> None:
        self.verdict: Verdict | None = None
        self._questions = questions
        self._policy = policy
        self._needed = tuple(needed)
        self._allow_privileged = allow_privileged
        self._problem: type[CredentialWithheld] | None = None  # of the verdict
        self._logged: Verdict | None = None
        self._logged_at = 0.0

    def found(self, finding: Finding) -> bool:
        return self.verdict is not None and self.verdict.found(finding)

    @property
    def modest(self) -> bool:
        """Whether nothing is known that the account may do beyond impersonation."""
        return self.verdict is None or self.verdict.modest

    @property
    def known(self) -> bool:
        """Whether the last round left no question open."""
        return self.verdict is not None and not self.verdict.unknown

    @property
    def unprivileged(self) -> bool:
        """Whether the account is not known to be allowed everything, or may be."""
        return self._allow_privileged or not self.found("everything")

    def problem(self) -> type[CredentialWithheld] | None:
        """Return why our credential must not be used for anybody's request, or None."""
        return self._problem

    async def run(self) -> None:
        """Ask again and again until cancelled."""
        back_off = 0.0
        while True:
            await self.look()
            withheld = self.problem() is not None
            if self.known and not withheld:
                back_off = 0.0
            else:
                # A question that stays open on this cluster is no reason to hurry for ever.
                back_off = min(back_off * 2 or FIRST_RETRY, HURRY if withheld else INTERVAL)
            await asyncio.sleep(back_off or INTERVAL)

    async def look(self) -> None:
        """Ask once, and take the verdict."""
        answers = await self._ask()
        self.verdict = judge(answers, self._needed, self.verdict or Verdict())
        self._problem = forbids(self.verdict, allow_privileged=self._allow_privileged)
        self._report(self.verdict)

    async def _ask(self) -> Answers:
        """Put all questions, one after the other: there is no hurry."""
        ourselves = await self._questions.who_am_i()
        if isinstance(ourselves, Unknown):  # nor would anything else be answered
            unasked = privileges.canary((), self._policy)
            return Answers([ourselves], {EVERYTHING: ourselves}, Canary(unasked, ourselves))
        rules = [await self._questions.my_rules(n) for n in _namespaces(ourselves.username)]
        accesses = {q: await self._questions.may_i(q) for q in QUESTIONS}
        asserted = privileges.canary(rules, self._policy)
        seen = await self._questions.who_am_i(asserting(asserted))
        return Answers(rules, accesses, Canary(asserted, seen))

    def _report(self, verdict: Verdict) -> None:
        """Log what was found when it changes, and now and then while it lasts."""
        now = time.monotonic()
        if verdict == self._logged and now - self._logged_at < REMIND_EVERY:
            return
        first, self._logged, self._logged_at = self._logged is None, verdict, now
        problem = self.problem()
        words = verdict.words()
        if problem is not None:
            _log.critical("no request is forwarded: %s", problem.message, extra=words)
        elif words.keys() - {"unknown"}:
            _log.warning("the proxy's own account may do more than it should", extra=words)
        elif words:
            _log.info("not all is known of what the proxy's own account may do", extra=words)
        elif not first:
            _log.info("the proxy's own account may impersonate and do nothing else")


class WithheldCredential:
    """Our credential, which no request gets while ``check`` has something against it.

    Satisfies ``http.service.Credential``.
    """

    def __init__(self, credential: OwnCredential, check: SelfCheck) -> None:
        self._credential = credential
        self._check = check

    def header(self, now: float) -> bytes | None:
        """Return whole header lines, or None if ``renew`` must be awaited first.

        Raises ServiceAccountPrivileged, ImpersonationBroken or CredentialUnavailable.
        """
        if problem := self._check.problem():
            raise problem
        credential = self._credential
        if credential.looked_at <= now < credential.settled_until:  # as most often
            return credential.line
        return credential.header(now)

    async def renew(self) -> None:
        await self._credential.renew()

    def reread(self) -> None:
        self._credential.reread()


def _namespaces(username: str) -> list[str]:
    """Return where rights of our account are looked for: at home, and where the cluster's own are.

    Rights for the whole cluster are part of the answer for any namespace.
    """
    parts = username.split(":")
    home = parts[2] if username.startswith("system:serviceaccount:") and len(parts) == 4 else ""
    return list(dict.fromkeys([home or "default", "kube-system"]))
