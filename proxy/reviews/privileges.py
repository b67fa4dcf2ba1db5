"""What is right and wrong with the rights of this proxy's own account: judged from answers alone.

The account is for impersonation and for nothing else, because whatever more it may do is what a
lost header, a hole or a stolen token gives away. What the API server cannot say is ``unknown``:
shown, and never taken for bad, because EKS, GKE and AKS authorize outside RBAC too and cannot list
what they allow. Nor is it taken for good: what was found to be dangerous stays so until an answer
says otherwise.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Final, Literal, get_args

from proxy.errors import (
    CredentialWithheld,
    IdentityError,
    ImpersonationBroken,
    ServiceAccountPrivileged,
)
from proxy.impersonation import NEVER_ALLOWED, Impersonation, Policy, impersonate
from proxy.reviews.documents import Access, Question, Rules, Unknown
from proxy.reviews.rules import covered
from proxy.rights import GIVEN_TO_ALL, Rule
from proxy.userinfo import UserInfo

Finding = Literal[
    "everything",
    "beyond_impersonation",
    "unrestricted_impersonation",
    "seen_as_somebody_else",
    "unknown",
]
FINDINGS: Final[tuple[Finding, ...]] = get_args(Finding)

CANARY: Final = "headlamp-auth-proxy:canary"
_SHOWN: Final = 20  # findings of one kind in a log line
_LONGEST: Final = 200  # characters of one finding

EVERYTHING: Final = Question("*", "*", "*")
_RBAC: Final = "rbac.authorization.k8s.io"
# Without a name, a question is about all names: RBAC then disregards rules with resourceNames.
BEYOND: Final = (
    Question("list", resource="secrets"),
    Question("create", resource="pods"),
    Question("create", resource="pods", subresource="exec"),
    Question("create", resource="serviceaccounts", subresource="token"),
    Question("get", resource="nodes", subresource="proxy"),
    Question("create", resource="nodes", subresource="proxy"),
    Question("escalate", _RBAC, "clusterroles"),
    Question("bind", _RBAC, "clusterroles"),
    Question("create", _RBAC, "clusterrolebindings"),
)
UNRESTRICTED: Final = (
    Question("impersonate", resource="users"),
    Question("impersonate", resource="groups"),
    Question("impersonate", resource="groups", name=NEVER_ALLOWED),
    Question("impersonate", resource="serviceaccounts"),
)
QUESTIONS: Final = (EVERYTHING, *BEYOND, *UNRESTRICTED)


@dataclass(frozen=True, slots=True)
class Canary:
    """An identity that was asserted in a question about oneself, and who the answer says it is."""

    asserted: Impersonation
    seen: UserInfo | Unknown


@dataclass(frozen=True, slots=True)
class Answers:
    """All that the API server said in one round."""

    rules: Sequence[Rules | Unknown]
    accesses: Mapping[Question, Access | Unknown]
    canary: Canary


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was found, in words for the log; what is empty was not found."""

    everything: tuple[str, ...] = ()
    beyond_impersonation: tuple[str, ...] = ()
    unrestricted_impersonation: tuple[str, ...] = ()
    seen_as_somebody_else: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()

    def found(self, finding: Finding) -> bool:
        return bool(getattr(self, finding))

    def words(self) -> dict[str, list[str]]:
        """Return the findings that there are, bounded, by their names."""
        named = {f.name: getattr(self, f.name) for f in fields(self)}
        return {k: [w[:_LONGEST] for w in words[:_SHOWN]] for k, words in named.items() if words}

    @property
    def modest(self) -> bool:
        """Whether nothing was found that the account may do beyond impersonation."""
        return not self.everything and not self.beyond_impersonation


def forbids(verdict: Verdict, *, allow_privileged: bool) -> type[CredentialWithheld] | None:
    """Return why the credential must not be used for anybody's request, or None."""
    if verdict.seen_as_somebody_else:
        return ImpersonationBroken
    if verdict.everything and not allow_privileged:
        return ServiceAccountPrivileged
    return None


def judge(answers: Answers, needed: Iterable[Rule], before: Verdict) -> Verdict:
    """Return what ``answers`` show; ``needed`` are rights that the settings in force ask for.

    ``before`` is the verdict of the last round, for what this round leaves unanswered.
    """
    unknown = [a.why for a in answers.rules if isinstance(a, Unknown)]
    unknown += ["the list of rules is not complete"] * any(
        isinstance(a, Rules) and not a.complete for a in answers.rules
    )
    unknown += [w for q, a in answers.accesses.items() if (w := _open(q, a))]
    everything = _allowed([EVERYTHING], answers) or _kept(EVERYTHING, answers, before)
    seen = _seen(answers.canary)
    if seen is None:
        unknown.append(f"impersonation is not confirmed: {_why(answers.canary)}")
        seen = before.seen_as_somebody_else
    return Verdict(
        everything=everything,
        beyond_impersonation=() if everything else _beyond(answers, needed),
        unrestricted_impersonation=() if everything else _allowed(UNRESTRICTED, answers),
        seen_as_somebody_else=seen,
        unknown=tuple(dict.fromkeys(unknown)),
    )


def canary(rules: Sequence[Rules | Unknown], policy: Policy) -> Impersonation:
    """Return an identity to assert in a question about oneself, which the rules seem to allow.

    Best is a name of our own; where the rules name users, and not it, the first of those that
    could be asserted for a token.
    """
    for name in _permitted(rules):
        try:
            return impersonate(UserInfo(name), policy)
        except IdentityError:
            continue
    # Ours is no name out of a token, so no prefix is reserved for it.
    return impersonate(UserInfo(CANARY), replace(policy, reserved_prefixes=()))


def beyond(rule: Rule, needed: Iterable[Rule]) -> bool:
    """Say whether ``rule`` allows anything but impersonation and what everybody may.

    The verbs of constrained impersonation (``impersonate:user-info``, and what may be done with
    it, ``impersonate-on:user-info:get``) are impersonation, whatever resource they are for.
    """
    verbs = tuple(verb for verb in rule.verbs if not is_impersonation(verb))
    return not covered(replace(rule, verbs=verbs), (*GIVEN_TO_ALL, *needed))


def is_impersonation(verb: str) -> bool:
    return verb == "impersonate" or verb.startswith(("impersonate:", "impersonate-on:"))


def _beyond(answers: Answers, needed: Iterable[Rule]) -> tuple[str, ...]:
    needed = tuple(needed)
    listed = [r for a in answers.rules if isinstance(a, Rules) for r in a.rules]
    found = [*_allowed(BEYOND, answers), *(str(r) for r in listed if beyond(r, needed))]
    return tuple(dict.fromkeys(found))


def _allowed(questions: Iterable[Question], answers: Answers) -> tuple[str, ...]:
    return tuple(str(q) for q in questions if _is_yes(answers.accesses.get(q)))


def _is_yes(answer: Access | Unknown | None) -> bool:
    return isinstance(answer, Access) and answer.allowed


def _open(question: Question, answer: Access | Unknown) -> str:
    """Say why the question is still open, if it is: a no with an error is none."""
    if isinstance(answer, Unknown):
        return answer.why
    return f"{question}: {answer.error}" if answer.error and not answer.allowed else ""


def _kept(question: Question, answers: Answers, before: Verdict) -> tuple[str, ...]:
    answer = answers.accesses.get(question)
    return before.everything if answer is None or _open(question, answer) else ()


def _seen(tried: Canary) -> tuple[str, ...] | None:
    """Return as whom the canary was seen if it was not itself; None if there is no telling."""
    if isinstance(tried.seen, Unknown):
        return None
    if tried.seen.username != tried.asserted.username:
        return (f"{tried.asserted.username} as {tried.seen.username}",)
    missing = set(tried.asserted.groups) - set(tried.seen.groups)
    return tuple(f"{tried.asserted.username} without group {group}" for group in sorted(missing))


def _why(tried: Canary) -> str:
    return tried.seen.why if isinstance(tried.seen, Unknown) else ""


def _permitted(rules: Sequence[Rules | Unknown]) -> list[str]:
    """Return the users whom rules let us impersonate, ours first if it is among them."""
    listed = [r for a in rules if isinstance(a, Rules) for r in a.rules]
    on_users = [
        rule
        for rule in listed
        if "users" in rule.resources and {"impersonate", "impersonate:user-info"} & set(rule.verbs)
    ]
    names = [name for rule in on_users for name in rule.names]
    if CANARY in names or any(not rule.names for rule in on_users):
        return [CANARY]
    return names
