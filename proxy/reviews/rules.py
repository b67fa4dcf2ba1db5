"""What somebody may do, from the answer to a SelfSubjectRulesReview: short enough to be read.

Whoever has signed in may ask what there is in a cluster and what they themselves may do; that is
no grant of anybody's. So what is left when that is taken away is what counts: if nothing is, no
binding has reached the one who asks. The list is the API server's own, and is not whole where
something besides RBAC decides (EKS, GKE and AKS): then nothing listed is not nothing allowed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from proxy.reviews.documents import Rules
from proxy.rights import GIVEN_TO_ALL, Rule

NOTHING: Final = "nothing beyond discovery"
_SHOWN: Final = 8  # grants, and things of one grant
_VERBS: Final = (
    *("*", "get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"),
)
_ALL: Final = "*"

_Verbs = tuple[str, ...]
_Thing = tuple[str, tuple[str, ...]]  # in words, and the names that it is limited to


@dataclass(frozen=True, slots=True)
class Grant:
    """Verbs on things, in words; ``more`` things were left out."""

    verbs: _Verbs
    things: tuple[str, ...]
    more: int = 0

    def __str__(self) -> str:
        verbs = "everything" if self.verbs == (_ALL,) else ", ".join(self.verbs)
        more = f" and {self.more} more" if self.more else ""
        return f"{verbs} on {', '.join(self.things)}{more}"


@dataclass(frozen=True, slots=True)
class Granted:
    """What is granted beyond what everybody has; ``more`` grants were left out.

    Not ``complete`` is a list that the API server itself could not finish, and ``error`` is what
    kept it (a role that does not exist, for example); empty where it did not say.
    """

    grants: tuple[Grant, ...]
    more: int = 0
    complete: bool = True
    error: str = ""

    @property
    def nothing(self) -> bool:
        """Whether nothing is listed; that is nothing only if the list is ``complete``."""
        return not self.grants

    def __str__(self) -> str:
        if self.nothing:
            return NOTHING if self.complete else f"{NOTHING}, as far as the API server can list it"
        words = "; ".join(map(str, self.grants))
        return f"{words}; and {self.more} more" if self.more else words


def granted(listed: Rules) -> Granted:
    """Return what of the rules is more than everybody has, the widest first."""
    rules = [rule for rule in listed.rules if not covered(rule, GIVEN_TO_ALL)]
    grants = sorted(_merged(rules), key=lambda grant: -len(grant.things) - grant.more)
    grants.sort(key=lambda grant: _ALL not in grant.verbs)
    return Granted(
        tuple(grants[:_SHOWN]), max(len(grants) - _SHOWN, 0), listed.complete, listed.error
    )


def covered(rule: Rule, by: Iterable[Rule]) -> bool:
    """Say whether each thing that ``rule`` allows is written out in one of ``by``.

    No pattern is matched against another: what is not there word for word is not covered.
    """
    given = {thing for other in by for thing in _allowed(other)}
    return given.issuperset(_allowed(rule))


def _allowed(rule: Rule) -> Iterable[tuple[str, str, str]]:
    """Yield each verb on each resource of each group, or on each path; names are disregarded."""
    for verb in rule.verbs:
        yield from ((verb, path, "") for path in rule.paths)
        yield from ((verb, what, group) for group in rule.groups for what in rule.resources)


def _merged(rules: Iterable[Rule]) -> list[Grant]:
    """Put all verbs on one thing together, then all things with the same verbs."""
    verbs: dict[_Thing, set[str]] = {}
    for rule in rules:
        for thing in _things(rule):
            verbs.setdefault((thing, rule.names), set()).update(rule.verbs)
    together: dict[_Verbs, list[str]] = {}
    for (thing, names), allowed in verbs.items():
        words = f"{thing} ({', '.join(names)})" if names else thing
        together.setdefault(_in_order(allowed), []).append(words)
    return [
        Grant(allowed, tuple(things[:_SHOWN]), max(len(things) - _SHOWN, 0))
        for allowed, things in together.items()
    ]


def _things(rule: Rule) -> Iterable[str]:
    yield from rule.paths
    for group in rule.groups:
        for resource in rule.resources:
            if resource == _ALL:
                yield "all resources" if group == _ALL else f"all of {group or 'the core API'}"
            else:
                yield f"{resource}.{group}" if group else resource


def _in_order(verbs: Iterable[str]) -> _Verbs:
    """Return verbs as people list them; all verbs are one."""
    found = set(verbs)
    if _ALL in found:
        return (_ALL,)
    known = [verb for verb in _VERBS if verb in found]
    return (*known, *sorted(found.difference(known)))
