"""What the proxy's own account may do beyond what it needs, and the commands that take it away.

What is too much is judged by ``serve`` itself (``reviews.privileges``). A role that others live on
as well is left as it is, and the account taken out of its binding.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Sequence
from typing import Final

from proxy.config import Config
from proxy.impersonation import NEVER_ALLOWED
from proxy.reviews.privileges import CANARY, beyond, is_impersonation
from proxy.rights import SETTINGS, Rule
from proxy.tools.deploy.rbac import Object
from proxy.tools.deploy.rbac_command import needed_by
from proxy.tools.doctor import causes, mends
from proxy.tools.doctor.bindings import Binding, Bindings
from proxy.tools.doctor.own_rights.account import Account, few, impersonated
from proxy.tools.doctor.own_rights.manifests import manifests
from proxy.tools.doctor.verdict import Verdict, failed, noted

_OF_KUBERNETES: Final = frozenset({"cluster-admin", "admin", "edit", "view"})
_NEVER_ASSERTED: Final = frozenset({"serviceaccounts", "nodes", "*"})
_DETAILS: Final = frozenset({"uids", "userextras"})
_ADMINISTRATORS: Final = NEVER_ALLOWED


def everything(account: Account, config: Config) -> Iterator[Verdict]:
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
            + mends.reconciled(manifests(account, config))
        )
    else:
        mend = _taken_away(account, _is_everything) or _to_look_for(account)
    yield failed(causes.ACCOUNT_PRIVILEGED, f"{saw}, so serve forwards nothing with it", mend)


def beyond_need(account: Account, config: Config) -> Iterator[Verdict]:
    found = account.verdict.beyond_impersonation
    if not found:
        return
    needed = needed_by(config)
    mend = _taken_away(account, lambda rule: beyond(rule, needed)) or _to_look_for(account)
    yield failed(
        causes.ACCOUNT_BEYOND,
        f"{account.words} may do more than it needs: {few(found)}",
        mend,
    )


def reserved(account: Account, config: Config) -> Iterator[Verdict]:
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
        f"{account.words} may impersonate what the proxy never asserts: {few(found)}",
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


def anybody(account: Account, config: Config) -> Iterator[Verdict]:
    listed = account.verdict.unrestricted_impersonation
    found = [what for what in listed if what in {"impersonate users", "impersonate groups"}]
    if not found:
        return
    saw = (
        f"{account.words} may become anybody ({', '.join(found)}); whoever holds its token is "
        "then anybody as well"
    )
    ours = {CANARY, config.authenticated_group}
    named = {what: set(impersonated(account.rules, what)[0]) for what in ("users", "groups")}

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
