"""Why RBAC gives a user nothing: judged from what is bound, and to whom it was probably meant.

Pure: the bindings as they stand, who the user is, and what their token says go in; verdicts come
out, the surest first. A binding of Kubernetes' own is never taken for somebody's mistake.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, Final

from proxy.impersonation import NEVER_SENT
from proxy.tools.deploy.rbac import RBAC, Object
from proxy.tools.doctor import causes, mends
from proxy.tools.doctor.bindings import Binding, Bindings, Bound, Subject
from proxy.tools.doctor.near import WORDS, Miss, miss
from proxy.tools.doctor.verdict import Verdict, failed
from proxy.userinfo import UserInfo

DEFAULT_ROLE: Final = "view"
_GROUPS_CLAIMS: Final = ("groups", "roles", "tags")  # where issuers put them
_SURE: Final = frozenset({Miss.BLANK, Miss.CASE, Miss.PREFIX})  # the same person, written otherwise


@dataclass(frozen=True, slots=True)
class Sought:
    """Who should be granted something.

    ``user`` is who the API server sees, ``dropped`` the groups that never get there, ``claims``
    what the token says (for hints), ``namespace`` where the user is to work, empty for anywhere.
    ``groups_claims`` are those that are read, where flags say which.
    """

    user: UserInfo
    dropped: tuple[str, ...] = ()
    claims: Mapping[str, Any] = field(default_factory=dict, repr=False)
    namespace: str = ""
    groups_claims: tuple[str, ...] = ()

    @property
    def unread(self) -> str:
        """Return the claim that holds groups in place of those that are read, empty for none."""
        if not self.groups_claims or any(name in self.claims for name in self.groups_claims):
            return ""
        return next((name for name in _GROUPS_CLAIMS if self.claims.get(name)), "")


def reasons(sought: Sought, bindings: Bindings) -> Iterator[Verdict]:
    """Yield why nothing is granted, the surest first; nothing where no binding comes near."""
    mine = bound_to(sought.user, bindings)
    yield from _without_effect(mine, bindings)
    yield from _elsewhere(mine, sought, bindings)
    yield from _near(sought, bindings)


def bound_to(user: UserInfo, bindings: Bindings) -> list[Bound]:
    """Return the subjects that are the user or a group of theirs, but for Kubernetes' own."""
    return [bound for bound in bindings.naming(user) if not bound.binding.built_in]


def people_binding(
    subject: Subject, role: str = DEFAULT_ROLE, namespace: str = "", *, kind: str = "ClusterRole"
) -> str:
    """Return the command that gives somebody a role, everywhere or in one namespace."""
    metadata = {"name": mends.object_name("headlamp", subject.name, role)}
    if namespace:
        metadata["namespace"] = namespace
    document: Object = {
        "apiVersion": f"{RBAC}/v1",
        "kind": "RoleBinding" if namespace else "ClusterRoleBinding",
        "metadata": metadata,
        "roleRef": {"apiGroup": RBAC, "kind": kind, "name": role},
        "subjects": [subject.document()],
    }
    return mends.reconciled([document])


# --- Bound, and yet nothing ----------------------------------------------------------------------


def _without_effect(mine: Sequence[Bound], bindings: Bindings) -> Iterator[Verdict]:
    for bound in mine:
        binding = bound.binding
        rules = bindings.rules_of(binding)
        if rules is None:
            yield _role_missing(bound, bindings)
        elif not rules:
            yield failed(
                causes.ROLE_EMPTY,
                f"{binding} gives {bound.subject} {binding.role_words}, which has no rules",
                mends.rebound(binding, "ClusterRole", DEFAULT_ROLE)
                if _filled(bindings, DEFAULT_ROLE)
                else f"kubectl edit {binding.role[0].lower()} {binding.role[2]}",
            )


def _role_missing(bound: Bound, bindings: Bindings) -> Verdict:
    binding = bound.binding
    kind, namespace, name = binding.role
    near = _near_role(binding, bindings)
    hint = f"; there is a {near[0]} {near[1]}" if near else ""
    where = f" in {namespace}" if namespace else ""
    better = near or ("ClusterRole", DEFAULT_ROLE)
    return failed(
        causes.ROLE_MISSING,
        f"{binding} gives {bound.subject} {kind} {name!a}{where}, which does not exist{hint}",
        mends.rebound(binding, *better),
    )


def _near_role(binding: Binding, bindings: Bindings) -> tuple[str, str] | None:
    """Return kind and name of the role that was probably meant."""
    kind, namespace, name = binding.role
    if binding.namespace:
        other = "Role" if kind == "ClusterRole" else "ClusterRole"
        if (other, binding.namespace if other == "Role" else "", name) in bindings.roles:
            return other, name
    known = [n for k, ns, n in bindings.roles if (k, ns) == (kind, namespace)]
    alike = [n for n in known if n.casefold() == name.casefold()]
    alike = alike or get_close_matches(name, known, n=1, cutoff=0.75)
    return (kind, alike[0]) if alike else None


def _elsewhere(mine: Sequence[Bound], sought: Sought, bindings: Bindings) -> Iterator[Verdict]:
    there = [
        bound
        for bound in mine
        if bound.binding.namespace
        and bound.binding.namespace != sought.namespace
        and bindings.rules_of(bound.binding)
    ]
    if not there:
        return
    first = there[0]
    kind, _, role = first.binding.role
    if kind == "Role":
        role = DEFAULT_ROLE
    names = ", ".join(dict.fromkeys(bound.binding.namespace for bound in there))
    here = f"in {sought.namespace}" if sought.namespace else "in the cluster as a whole"
    yield failed(
        causes.GRANTED_ELSEWHERE,
        f"{first.binding} gives {first.subject} {first.binding.role_words}; there is nothing "
        f"{here}. If {names} is all that is meant, choose it in Headlamp "
        f"(and look with --namespace={first.binding.namespace})",
        people_binding(first.subject, role, sought.namespace),
    )


# --- Almost bound --------------------------------------------------------------------------------


def _near(sought: Sought, bindings: Bindings) -> Iterator[Verdict]:
    """Yield the bindings that were probably meant for the user, the surest first."""
    found: list[tuple[int, Verdict]] = []
    for bound in bindings.every():
        if bound.binding.built_in or bound.subject.applies_to(sought.user):
            continue
        if judged := _judged(bound, sought, bindings):
            found.append(judged)
    found.sort(key=lambda pair: pair[0])
    yield from (verdict for _, verdict in found)


def _judged(bound: Bound, sought: Sought, bindings: Bindings) -> tuple[int, Verdict] | None:
    """Return how sure it is (least is surest) that a subject is meant for the user, and why."""
    binding, subject = bound.binding, bound.subject
    if binding.namespace and sought.namespace and binding.namespace != sought.namespace:
        return None
    user = sought.user
    groups = [group for group in user.groups if group != NEVER_SENT]
    gives = f"{binding} gives {binding.role_words} to {subject}"
    if bindings.rules_of(binding) is None:
        gives += ", and there is no such role"
    if subject.kind != "User" and subject.name == user.username:
        right = Subject("User", user.username)
        return 0, _wrong_kind(bound, right, gives, "the user")
    if subject.kind != "Group" and subject.name in groups:
        right = Subject("Group", subject.name)
        return 0, _wrong_kind(bound, right, gives, "a group of theirs")
    if subject.kind == "Group" and subject.name in sought.dropped:
        return 1, failed(
            causes.BINDING_DROPPED_GROUP,
            f"{gives}; the token has that group, and --groups-allow drops it",
            f"--groups-allow={subject.name}   # beside those that are there",
        )
    if claim := _claim_of(subject, sought):
        right = Subject("User", user.username)
        return 2, failed(
            causes.BINDING_OTHER_CLAIM,
            f"{gives}, which is the claim {claim} of the token; the user is {user.username!a}",
            mends.resubjected(bound, right),
        )
    return _misspelt(bound, sought, groups, gives)


def _wrong_kind(bound: Bound, right: Subject, gives: str, who: str) -> Verdict:
    return failed(
        causes.BINDING_WRONG_KIND,
        f"{gives}; {right.name!a} is {who}, a {right.kind}",
        mends.resubjected(bound, right),
    )


def _claim_of(subject: Subject, sought: Sought) -> str:
    """Return the name of the claim whose value a subject has, prefix or not."""
    user = sought.user.username
    if subject.kind != "User" or miss(subject.name, user) not in {None, Miss.SPELLING}:
        return ""
    for name, value in sought.claims.items():
        if name in {"aud", "iss", "email"} or not isinstance(value, str) or len(value) < 3:
            continue
        if subject.name == value or subject.name.endswith((f"#{value}", f":{value}")):
            return name
    return ""


def _misspelt(
    bound: Bound, sought: Sought, groups: Iterable[str], gives: str
) -> tuple[int, Verdict] | None:
    subject = bound.subject
    candidates = [Subject("User", sought.user.username)]
    candidates += [Subject("Group", group) for group in groups]
    best: tuple[int, Subject, Miss] | None = None
    for right in candidates:
        missed = miss(subject.name, right.name)
        if missed is None:
            continue
        sure = 3 + list(Miss).index(missed) + 10 * (subject.kind != right.kind)
        if best is None or sure < best[0]:
            best = sure, right, missed
    if best is None:
        return None
    sure, right, missed = best
    other = f", a {right.kind}" if subject.kind != right.kind else ""
    saw = (
        f"{gives}, which {WORDS[missed]}: the API server sees {right.name!a}{other}, and compares "
        "to the letter"
    )
    if missed in _SURE and subject.kind == right.kind:
        return sure, failed(causes.BINDING_NEAR_NAME, saw, mends.resubjected(bound, right))
    # It may be somebody else, from whom nothing must be taken.
    saw += ". If that is not them, they are simply not bound"
    return sure, failed(causes.BINDING_NEAR_NAME, saw, mends.added(bound.binding, right))


def _filled(bindings: Bindings, role: str) -> bool:
    return bool(bindings.roles.get(("ClusterRole", "", role)))
