"""The proxy's own account, as the API server answers for it; and what its rules come to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from proxy.impersonation import Impersonation
from proxy.reviews.documents import Question, Rules
from proxy.reviews.privileges import Verdict
from proxy.reviews.requested import service_account
from proxy.rights import Rule
from proxy.tools.doctor.bindings import Bindings, Subject
from proxy.userinfo import UserInfo

BECOME: Final = "impersonate:user-info"  # the verb of constrained impersonation
_SHOWN: Final = 6


@dataclass(frozen=True, slots=True)
class Account:
    """The proxy's own account, as the API server answers for it.

    ``missing`` are questions that were answered with no, by the need that they came from: empty
    for the identity that is asserted, else the flag of a setting. ``capped`` says whether anything
    may be done under a constrained identity. ``bindings`` is None where they may not be read.
    """

    user: UserInfo
    rules: tuple[Rule, ...]
    verdict: Verdict
    missing: dict[Question, str]
    asserted: Impersonation
    refusal: str = ""  # what the API server says of an identity that was asserted
    capped: bool = True
    version: str = ""
    bindings: Bindings | None = None

    @property
    def constrained(self) -> bool:
        """Whether rights are granted in the words of constrained impersonation."""
        return any(BECOME in rule.verbs for rule in self.rules)

    @property
    def name(self) -> tuple[str, str] | None:
        """Return namespace and name, if it is a service account."""
        return service_account(self.user.username)

    @property
    def words(self) -> str:
        where = self.name
        return f"service account {where[0]}/{where[1]}" if where else f"{self.user.username!a}"

    @property
    def subject(self) -> Subject:
        """Return it as bindings name it."""
        if self.name is None:
            return Subject("User", self.user.username)
        namespace, name = self.name
        return Subject("ServiceAccount", name, namespace)


def impersonated(rules: Sequence[Rule], resource: str) -> tuple[list[str], bool]:
    """Return whom ``rules`` let be impersonated, and whether that is everybody."""
    fitting = [
        rule
        for rule in rules
        if resource in rule.resources and {"impersonate", BECOME} & set(rule.verbs)
    ]
    names = [name for rule in fitting for name in rule.names]
    return list(dict.fromkeys(names)), any(not rule.names for rule in fitting)


def rules_in(listed: Sequence[object]) -> tuple[Rule, ...]:
    """Return the rules of all answers that are some."""
    return tuple(
        dict.fromkeys(
            rule for answer in listed if isinstance(answer, Rules) for rule in answer.rules
        )
    )


def few(words: Sequence[str]) -> str:
    shown = ", ".join(words[:_SHOWN])
    return f"{shown} and {len(words) - _SHOWN} more" if len(words) > _SHOWN else shown
