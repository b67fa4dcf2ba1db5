"""What RBAC has refused whom lately, so that they can be told which rule they lack.

A few rules for each of not too many users, the oldest forgotten first, nothing after a while:
memory is bounded whoever asks for whatever. One who is told is told of nobody else, so what is
kept is kept under all that a token says of its bearer and not only under a name. Pure: ``now`` is
an argument, in seconds of any clock that does not go back.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from proxy.denial import Bearer
from proxy.missing_rule import MissingRule

MAX_USERS: Final = 1000
MAX_RULES: Final = 5  # of one user
KEPT_FOR: Final = 900.0  # seconds

_Who = tuple[str, str, str]


@dataclass(slots=True)
class Refusal:
    """A rule that was missing: when last, and how often."""

    rule: MissingRule
    at: float
    count: int = 1


class Refusals:
    """The last refusals of each user."""

    def __init__(self) -> None:
        self._users: OrderedDict[_Who, OrderedDict[MissingRule, Refusal]] = OrderedDict()

    def __len__(self) -> int:
        """Return of how many users something is kept."""
        return len(self._users)

    def add(self, bearer: Bearer, rule: MissingRule, now: float) -> None:
        who = _who(bearer)
        rules = self._users.setdefault(who, OrderedDict())
        self._users.move_to_end(who)
        known = rules.pop(rule, None)
        rules[rule] = Refusal(rule, now, known.count + 1 if known else 1)
        if len(rules) > MAX_RULES:
            rules.popitem(last=False)
        if len(self._users) > MAX_USERS:
            self._users.popitem(last=False)

    def of(self, bearer: Bearer, now: float) -> list[Refusal]:
        """Return what was refused to one user and is not long ago, the latest first."""
        rules = self._users.get(_who(bearer), OrderedDict())
        return [refusal for refusal in reversed(rules.values()) if now - refusal.at <= KEPT_FOR]


def _who(bearer: Bearer) -> _Who:
    return bearer.username, bearer.issuer, bearer.subject
