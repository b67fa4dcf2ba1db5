"""What the proxy's own account may do, against what it needs: judged from answers alone.

What is missing comes before what is too much, because it is what keeps people out; an account
that may do everything comes before both, because ``serve`` then forwards nothing. The judgement of
what is too much is that of ``serve`` itself (``reviews.privileges``).
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from proxy.config import Config
from proxy.impersonation import NEVER_ALLOWED, Impersonation
from proxy.reviews.documents import Question, Rules
from proxy.reviews.privileges import CANARY, Verdict, beyond, is_impersonation
from proxy.reviews.requested import service_account
from proxy.rights import AUTHENTICATION, SETTINGS, Rule
from proxy.tools.deploy.rbac import Mode, Object, Rights, account_manifests
from proxy.tools.deploy.rbac_command import needed_by
from proxy.tools.doctor import causes, mends
from proxy.tools.doctor.bindings import Binding, Bindings, Subject
from proxy.tools.doctor.verdict import Verdict as Said
from proxy.tools.doctor.verdict import failed, noted
from proxy.userinfo import CREDENTIAL_ID, UserInfo

_BECOME: Final = "impersonate:user-info"
_SHOWN: Final = 6
_OF_KUBERNETES: Final = frozenset({"cluster-admin", "admin", "edit", "view"})
_NEVER_ASSERTED: Final = frozenset({"serviceaccounts", "nodes", "*"})
_DETAILS: Final = frozenset({"uids", "userextras"})
_ADMINISTRATORS: Final = NEVER_ALLOWED


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
        return any(_BECOME in rule.verbs for rule in self.rules)

    @property
    def name(self) -> tuple[str, str] | None:
        """Return namespace and name, if it is a service account."""
        return service_account(self.user.username)

    @property
    def words(self) -> str:
        where = self.name
        return f"service account {where[0]}/{where[1]}" if where else f"{self.user.username!a}"


def judged(account: Account, config: Config) -> Iterator[Said]:
    """Yield what is wrong with the account's rights, causes before consequences."""
    yield from _everything(account, config)
    yield from _lost(account)
    yield from _missing(account, config)
    if not account.verdict.everything:
        yield from _reserved(account, config)
        yield from _beyond(account, config)
        yield from _anybody(account, config)


# --- Too much ------------------------------------------------------------------------------------


def _everything(account: Account, config: Config) -> Iterator[Said]:
    if not account.verdict.everything:
        return
    saw = f"{account.words} may do everything in the cluster (* on *)"
    if config.allow_privileged_service_account:
        yield noted(causes.ACCOUNT_PRIVILEGED, f"{saw}, as --allow-privileged-service-account asks")
        return
    if _ADMINISTRATORS in account.user.groups:
        mend = (
            f"this credential is an administrator's (group {_ADMINISTRATORS}); if it is yours, "
            "give it as --admin-kubeconfig. For serve, use an account that may only impersonate:\n"
            + mends.reconciled(_manifests(account, config))
        )
    else:
        mend = _taken_away(account, _is_everything) or _to_look_for(account)
    yield failed(causes.ACCOUNT_PRIVILEGED, f"{saw}, so serve forwards nothing with it", mend)


def _beyond(account: Account, config: Config) -> Iterator[Said]:
    found = account.verdict.beyond_impersonation
    if not found:
        return
    needed = needed_by(config)
    mend = _taken_away(account, lambda rule: beyond(rule, needed)) or _to_look_for(account)
    yield failed(
        causes.ACCOUNT_BEYOND,
        f"{account.words} may do more than it needs: {_few(found)}",
        mend,
    )


def _reserved(account: Account, config: Config) -> Iterator[Said]:
    """Yield what may be impersonated and never is; with --allow-impersonation, anybody may be."""
    if config.allow_impersonation:
        return
    allowed = {*config.allow_reserved_group, config.authenticated_group, *_extras_of(config)}

    found = [
        name
        for rule in account.rules
        for name in _reserved_names(rule, config.reserved_prefix, allowed)
    ]
    if not found:
        return
    mend = _narrowed(account, config.reserved_prefix, allowed) or _to_look_for(account)
    yield failed(
        causes.ACCOUNT_IMPERSONATES_RESERVED,
        f"{account.words} may impersonate what the proxy never asserts: {_few(found)}",
        mend,
    )


def _extras_of(config: Config) -> frozenset[str]:
    """Return what of uids and extras the settings may have the proxy assert."""
    if config.authentication_config is not None:  # its mappings may name any of them
        return _DETAILS
    elsewhere = config.upstream is None and config.kubeconfig is None  # who knows which are on
    settings = [rule for rules in SETTINGS.values() for rule in rules]
    needed = settings if elsewhere else needed_by(config)
    return frozenset(what for rule in needed for what in rule.resources)


def _unasserted(rule: Rule, allowed: Container[str]) -> list[str]:
    """Return the resources of a rule as which the proxy never appears."""
    return [
        what
        for what in rule.resources
        if what in _NEVER_ASSERTED
        or (
            (kind := what.partition("/")[0]) in _DETAILS
            and kind not in allowed
            and what not in allowed
        )
    ]


def _reserved_names(rule: Rule, prefixes: tuple[str, ...], allowed: set[str]) -> list[str]:
    if not any(is_impersonation(v) and not v.startswith("impersonate-on:") for v in rule.verbs):
        return []
    found = _unasserted(rule, allowed)
    if {"users", "groups"} & set(rule.resources):
        found += [n for n in rule.names if n.startswith(prefixes) and n not in allowed]
    return found


def _narrowed(account: Account, prefixes: tuple[str, ...], allowed: set[str]) -> str:
    """Return the commands that take reserved names out of the roles, and leave the others."""
    if account.bindings is None:
        return ""
    commands: dict[str, None] = {}
    for bound in account.bindings.naming(account.user):
        binding = bound.binding
        rules = account.bindings.rules_of(binding) or ()
        changes = _without_reserved(rules, prefixes, allowed)
        if not changes or binding.built_in:
            continue
        kind, namespace, name = binding.role
        if _is_shared(account.bindings, binding):
            mine = [n for n, s in enumerate(binding.subjects) if s.applies_to(account.user)]
            commands[mends.unbound(binding, mine)] = None
        else:
            commands[mends.patched(kind, name, namespace, changes)] = None
    return "\n".join(commands)


def _without_reserved(
    rules: Sequence[Rule], prefixes: tuple[str, ...], allowed: set[str]
) -> list[Object]:
    """Return the changes to a role's rules; what is removed goes last, and from the end."""
    replaced: list[Object] = []
    removed: list[Object] = []
    people_are_named = any("users" in rule.resources and {*rule.names} - {CANARY} for rule in rules)
    for position, rule in enumerate(rules):
        if not (reserved := _reserved_names(rule, prefixes, allowed)):
            continue
        path = f"/rules/{position}"
        names = [name for name in rule.names if name not in reserved]
        resources = [r for r in rule.resources if r not in reserved]
        if "*" in rule.resources:
            resources = [] if people_are_named else ["users", "groups"]
        if not resources or (rule.names and not names):
            removed.insert(0, {"op": "remove", "path": path})
            continue
        replaced.append({"op": "replace", "path": f"{path}/resources", "value": resources})
        if rule.names:
            replaced.append({"op": "replace", "path": f"{path}/resourceNames", "value": names})
    return [*replaced, *removed]


def _anybody(account: Account, config: Config) -> Iterator[Said]:
    listed = account.verdict.unrestricted_impersonation
    found = [what for what in listed if what in {"impersonate users", "impersonate groups"}]
    if not found:
        return
    saw = (
        f"{account.words} may become anybody ({', '.join(found)}); whoever holds its token is "
        "then anybody as well"
    )
    ours = {CANARY, config.authenticated_group}
    named = {what: set(_names(account.rules, what)[0]) for what in ("users", "groups")}

    def needless(rule: Rule) -> bool:
        """Say whether all that a rule gives is given by name as well, people included."""
        whom = [named[what] for what in rule.resources if what in named]
        open_ = "impersonate" in rule.verbs and not rule.names
        return open_ and bool(whom) and all(whom) and any(names - ours for names in whom)

    if any(map(needless, account.rules)):
        mend = _taken_away(account, needless) or _to_look_for(account)
        yield failed(
            causes.ACCOUNT_IMPERSONATES_ANYBODY, f"{saw}, though other rules name people", mend
        )
        return
    yield noted(
        causes.ACCOUNT_IMPERSONATES_ANYBODY,
        saw,
        "name the people, unless that is meant: "
        "headlamp-auth-proxy rbac --mode=named --user=... --group=...",
    )


def _taken_away(account: Account, unwanted: Callable[[Rule], bool]) -> str:
    """Return the commands that take away what is ``unwanted``, as far as bindings can be read."""
    if account.bindings is None:
        return ""
    commands = []
    done: set[Binding] = set()
    for bound in account.bindings.naming(account.user):
        binding = bound.binding
        rules = account.bindings.rules_of(binding) or ()
        positions = [n for n, rule in enumerate(rules) if unwanted(rule)]
        if binding.built_in or not positions or binding in done:
            continue
        done.add(binding)
        kind, namespace, name = binding.role
        if len(positions) == len(rules) or _is_shared(account.bindings, binding):
            mine = [n for n, s in enumerate(binding.subjects) if s.applies_to(account.user)]
            commands.append(mends.unbound(binding, mine))
        else:
            commands.append(mends.without_rules(kind, name, namespace, positions))
    return "\n".join(commands)


def _is_shared(bindings: Bindings, binding: Binding) -> bool:
    """Say whether others live on the role: one of Kubernetes' own, or one that is bound twice."""
    kind, _, name = binding.role
    known = kind == "ClusterRole" and name in _OF_KUBERNETES
    others = [b for b in bindings.bindings if b.role == binding.role and b != binding]
    return known or name.startswith("system:") or bool(others)


def _to_look_for(account: Account) -> str:
    name = account.name[1] if account.name else account.user.username
    return (
        "find the binding that grants it and take it away (in Headlamp's chart: "
        "clusterRoleBinding.create=false); --admin-kubeconfig=FILE has doctor name it, or:\n"
        f"kubectl get clusterrolebindings,rolebindings -A -o wide | grep -w -- '{name}'"
    )


def _is_everything(rule: Rule) -> bool:
    return "*" in rule.verbs and "*" in rule.groups and "*" in rule.resources


# --- Too little ----------------------------------------------------------------------------------


def _missing(account: Account, config: Config) -> Iterator[Said]:
    needs = [question for question, flag in account.missing.items() if not flag]
    if needs:
        yield _not_impersonated(account, config, needs)
    elif account.constrained and account.refusal:
        yield _constrained_refused(account, config)
    settings = [(question, flag) for question, flag in account.missing.items() if flag]
    if settings:
        lacks = [f"{question} (for {flag})" for question, flag in settings]
        switched = " and ".join(dict.fromkeys(flag for _, flag in settings))
        yield failed(
            causes.SETTING_FORBIDDEN,
            f"{account.words} may not {_few(lacks)}",
            mends.reconciled(_manifests(account, config), f"or remove {switched}"),
        )


def _not_impersonated(account: Account, config: Config, needs: Sequence[Question]) -> Said:
    saw = f"{account.words} may not {_few([str(q) for q in needs])}"
    if account.refusal:
        saw += f"; the API server says: {account.refusal}"
    missed = _missed(account, config.authenticated_group)
    if missed is None:
        mend = mends.reconciled(_manifests(account, config))
        return failed(causes.IMPERSONATION_FORBIDDEN, saw, mend)
    cause, words, mend = missed
    return failed(cause, f"{saw}. {words}", mend or mends.reconciled(_manifests(account, config)))


def _missed(account: Account, own_group: str) -> tuple[causes.Cause, str, str] | None:
    """Say which binding was probably meant to give the rights, why it does not, and what would."""
    bindings = account.bindings
    if bindings is None:
        return None
    mine = [b.binding for b in bindings.naming(account.user) if not b.binding.built_in]
    subject = _subject(account)
    for binding in mine:
        if bindings.rules_of(binding) is None:
            words = f"{binding} gives it {binding.role_words}, which does not exist"
            return causes.ACCOUNT_ROLE_MISSING, words, ""
        if binding.namespace and _impersonates(bindings, binding):
            words = (
                f"{binding} gives it rights to impersonate, but users and groups are in no "
                "namespace: only a ClusterRoleBinding counts"
            )
            kind, _, role = binding.role
            mend = mends.bound(role, subject) if kind == "ClusterRole" else ""
            return causes.ACCOUNT_BOUND_IN_NAMESPACE, words, mend
    if any(_impersonates(bindings, binding) for binding in mine):
        return None
    return _of_another(bindings, subject, own_group, account.asserted.username)


def _of_another(
    bindings: Bindings, subject: Subject, own_group: str, asserted: str
) -> tuple[causes.Cause, str, str] | None:
    """Say which other account has rights that were meant for this one; it may keep them."""
    meant = {
        key: rules
        for key, rules in bindings.roles.items()
        if key[0] == "ClusterRole" and _names_group(rules, own_group)
    }
    candidates = [
        b for b in bindings.every() if b.binding.role in meant and not b.binding.namespace
    ]
    for near in ("namespace", "name"):
        for bound in candidates:
            if getattr(bound.subject, near) == getattr(subject, near):
                words = f"{bound.binding} gives such rights to {bound.subject} instead"
                return causes.ACCOUNT_NOT_BOUND, words, mends.added(bound.binding, subject)
        bound_roles = {binding.role for binding in bindings.bindings if not binding.namespace}
        unbound = [key for key in meant if key not in bound_roles]
        unbound.sort(key=lambda key: not _names_user(meant[key], asserted))
        if unbound:
            words = f"ClusterRole {unbound[0][2]} has such rights, and nothing binds it"
            return causes.ACCOUNT_NOT_BOUND, words, mends.bound(unbound[0][2], subject)
    return None


def _names_user(rules: Sequence[Rule], user: str) -> bool:
    return any("users" in rule.resources and user in rule.names for rule in rules)


def _names_group(rules: Sequence[Rule], group: str) -> bool:
    """Say whether rules let this group be impersonated, by its name: they are for this proxy."""
    return any(group in rule.names and any(map(is_impersonation, rule.verbs)) for rule in rules)


def _subject(account: Account) -> Subject:
    if account.name is None:
        return Subject("User", account.user.username)
    namespace, name = account.name
    return Subject("ServiceAccount", name, namespace)


def _impersonates(bindings: Bindings, binding: Binding) -> bool:
    return _any_impersonation(bindings.rules_of(binding) or ())


def _any_impersonation(rules: Sequence[Rule]) -> bool:
    return any(
        is_impersonation(verb) and {"users", "groups"} & set(rule.resources)
        for rule in rules
        for verb in rule.verbs
    )


def _constrained_refused(account: Account, config: Config) -> Said:
    if not account.capped:
        return failed(
            causes.CAP_MISSING,
            f"{account.words} may become people (impersonate:user-info) and do nothing as them: "
            f"there is no rule with impersonate-on:user-info:*. The API server says: "
            f"{account.refusal}",
            mends.reconciled(_manifests(account, config)),
        )
    return failed(
        causes.CONSTRAINED_UNSUPPORTED,
        f"{account.words} has rights of constrained impersonation, and the API server "
        f"({account.version or 'of unknown version'}) refuses: {account.refusal}; it has that from "
        "Kubernetes 1.36, unless it is switched off",
        mends.reconciled(_manifests(account, config, mode=Mode.NAMED)),
    )


def _lost(account: Account) -> Iterator[Said]:
    for words in account.verdict.seen_as_somebody_else:
        yield failed(
            causes.IMPERSONATION_LOST,
            f"the API server was told who asks and saw {words}: something on the way takes "
            "Impersonate-* headers out",
            "name the API server itself with --upstream (or in the kubeconfig), not the gateway "
            "before it, or have that pass all Impersonate-* headers",
        )


# --- What it should have -------------------------------------------------------------------------


def _manifests(account: Account, config: Config, mode: Mode | None = None) -> list[Object]:
    """Return what gives the account what it needs, and what it has of that already."""
    users, all_users = _names(account.rules, "users")
    groups, all_groups = _names(account.rules, "groups")
    namespace, name = mends.account_or_default(account.name)
    constrained = account.constrained if mode is None else mode is Mode.CONSTRAINED
    if not all_users:
        users = list(dict.fromkeys([CANARY, *users, account.asserted.username]))
    if not all_groups:
        own = config.authenticated_group
        groups = [g for g in dict.fromkeys([*groups, *account.asserted.groups]) if g != own]
    manifests = account_manifests(
        Rights(
            mode=Mode.CONSTRAINED if constrained else Mode.NAMED,
            users=() if all_users else tuple(users),
            groups=() if all_groups else tuple(groups),
            own_group=config.authenticated_group,
            namespace=namespace,
            account=name,
            settings=(*needed_by(config), *_of_tokens(account.missing)),
        )
    )
    if constrained and account.capped:  # what it has stays as narrow as it is
        role = manifests[0]
        role["rules"] = [rule for rule in role["rules"] if not _is_cap(rule)]
    if account.name is None and not account.verdict.everything:
        manifests[-1]["subjects"] = [_subject(account).document()]
    return manifests


def _of_tokens(missing: Iterable[Question]) -> list[Rule]:
    """Return rules for the uid and the extras that tokens bring, where these are missing."""
    whats = [f"{q.resource}/{q.subresource}".rstrip("/") for q in missing if q.group]
    wanted = [
        what
        for what in dict.fromkeys(whats)
        if what.startswith(("uids", "userextras/")) and not what.endswith(CREDENTIAL_ID)
    ]
    return [Rule(("impersonate",), (AUTHENTICATION,), (what,)) for what in wanted]


def _is_cap(rule: Object) -> bool:
    return any(verb.startswith("impersonate-on:") for verb in rule["verbs"])


def _names(rules: Sequence[Rule], resource: str) -> tuple[list[str], bool]:
    """Return whom ``rules`` let be impersonated, and whether that is everybody."""
    fitting = [
        rule
        for rule in rules
        if resource in rule.resources and {"impersonate", _BECOME} & set(rule.verbs)
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


def _few(words: Sequence[str]) -> str:
    shown = ", ".join(words[:_SHOWN])
    return f"{shown} and {len(words) - _SHOWN} more" if len(words) > _SHOWN else shown
