"""Asks the API server all that is to be known of the proxy's own account.

From inside the pod the account asks for itself. From elsewhere an administrator asks as the
account, which tells all but whether an identity that it asserts arrives.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from proxy.config import Config
from proxy.impersonation import Impersonation
from proxy.plans import policy_of
from proxy.reviews import privileges
from proxy.reviews.client import Header, Reviewer, asserting
from proxy.reviews.documents import Access, Question, Unknown
from proxy.reviews.privileges import EVERYTHING, QUESTIONS, Answers, Canary, Verdict
from proxy.reviews.requested import questions, service_account
from proxy.rights import AUTHENTICATION, AUTHORIZATION, SETTINGS, Rule
from proxy.tools.deploy.rbac_command import needed_by, switched_on
from proxy.tools.doctor.bindings import Bindings
from proxy.tools.doctor.own_rights.account import BECOME, Account, rules_in
from proxy.userinfo import CREDENTIAL_ID, UserInfo

# Without this, Headlamp's first question already fails (a user may always ask what they may do).
_CAP: Final = Question(
    "impersonate-on:user-info:create", AUTHORIZATION, resource="selfsubjectrulesreviews"
)


@dataclass(frozen=True, slots=True)
class Asking:
    """Who asks: the account itself, or, with headers, somebody as the account."""

    reviewer: Reviewer
    headers: Sequence[Header] = ()

    @property
    def is_account(self) -> bool:
        return not self.headers

    async def may(self, question: Question) -> Access | Unknown:
        return await self.reviewer.may_i(question, self.headers)


async def ask(
    asking: Asking,
    ourselves: UserInfo,
    wanted: Impersonation | None,
    config: Config,
    bindings: Bindings | None,
    version: str,
) -> tuple[Account, tuple[str, ...]]:
    """Return what is known of the account, and what could not be told.

    ``wanted`` is who is to be impersonated; None for a name that nobody has.
    """
    policy = policy_of(config)
    namespaces = _namespaces(ourselves)
    rules = [await asking.reviewer.my_rules(n, asking.headers) for n in namespaces]
    accesses = {question: await asking.may(question) for question in QUESTIONS}
    everything = accesses[EVERYTHING]
    asserted = wanted or privileges.canary(rules, policy)
    seen: UserInfo | Unknown = Unknown("it is not the account itself that asks")
    if asking.is_account:
        seen = await asking.reviewer.who_am_i(asserting(asserted))
    verdict = privileges.judge(
        Answers(rules, accesses, Canary(asserted, seen)), needed_by(config), Verdict()
    )
    missing: dict[Question, str] = {}
    # Whoever may do everything is not asked for each part; where it asserts and is seen, it may.
    if not (isinstance(everything, Access) and everything.allowed):
        if isinstance(seen, Unknown):
            for question in questions(_whole(asserted)):
                if not await _may_become(asking, question):
                    missing[question] = _flag_of(question)
        for flag in switched_on(config):
            for question in _of_rules(SETTINGS[flag]):
                if not await _may_become(asking, question):
                    missing[question] = flag
    account = Account(
        user=ourselves,
        rules=rules_in(rules),
        verdict=verdict,
        missing=missing,
        asserted=asserted,
        refusal=seen.why if isinstance(seen, Unknown) and asking.is_account else "",
        capped=_is_yes(await asking.may(_CAP)),
        version=version,
        bindings=bindings,
    )
    return account, () if not asking.is_account else _open(verdict, missing)


def _open(verdict: Verdict, missing: dict[Question, str]) -> tuple[str, ...]:
    """Return what stays unknown, but for what is said already."""
    said = "impersonation is not confirmed" if missing else "\0"
    return tuple(words for words in verdict.unknown if not words.startswith(said))


async def _may_become(asking: Asking, question: Question) -> bool:
    """Ask for a right to impersonate in both of its forms; what is no answer is no "no"."""
    answer = await asking.may(question)
    if isinstance(answer, Unknown) or answer.allowed:
        return True
    if question.verb != "impersonate":
        return False
    constrained = Question(
        BECOME, AUTHENTICATION, question.resource, question.subresource, question.name
    )
    return _is_yes(await asking.may(constrained))


def _flag_of(question: Question) -> str:
    return "--send-credential-id" if question.subresource == CREDENTIAL_ID else ""


def _of_rules(rules: Sequence[Rule]) -> list[Question]:
    found = []
    for rule in rules:
        for verb in rule.verbs:
            for group in rule.groups:
                for what in rule.resources:
                    resource, _, sub = what.partition("/")
                    found.append(Question(verb, group, resource, sub))
    return found


def _whole(identity: Impersonation) -> UserInfo:
    extra: dict[str, tuple[str, ...]] = {}
    for key, value in identity.extra:
        extra[key] = (*extra.get(key, ()), value)
    return UserInfo(identity.username, identity.uid, identity.groups, extra)


def _namespaces(user: UserInfo) -> list[str]:
    home = (service_account(user.username) or ("default", ""))[0]
    return list(dict.fromkeys([home, "kube-system"]))


def _is_yes(answer: Access | Unknown) -> bool:
    return isinstance(answer, Access) and answer.allowed
