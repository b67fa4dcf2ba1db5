"""What the proxy's own account needs and may not do, and which binding was meant to give it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from proxy.config import Config
from proxy.reviews.documents import Question
from proxy.reviews.privileges import is_impersonation
from proxy.rights import Rule
from proxy.tools.deploy.rbac import Mode
from proxy.tools.doctor import causes, mends
from proxy.tools.doctor.bindings import Binding, Bindings, Subject
from proxy.tools.doctor.own_rights.account import Account, few
from proxy.tools.doctor.own_rights.manifests import manifests
from proxy.tools.doctor.verdict import Verdict, failed


def missing(account: Account, config: Config) -> Iterator[Verdict]:
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
            f"{account.words} may not {few(lacks)}",
            mends.reconciled(manifests(account, config), f"or remove {switched}"),
        )


def _not_impersonated(account: Account, config: Config, needs: Sequence[Question]) -> Verdict:
    saw = f"{account.words} may not {few([str(q) for q in needs])}"
    if account.refusal:
        saw += f"; the API server says: {account.refusal}"
    missed = _missed(account, config.authenticated_group)
    if missed is None:
        mend = mends.reconciled(manifests(account, config))
        return failed(causes.IMPERSONATION_FORBIDDEN, saw, mend)
    cause, words, mend = missed
    return failed(cause, f"{saw}. {words}", mend or mends.reconciled(manifests(account, config)))


def _missed(account: Account, own_group: str) -> tuple[causes.Cause, str, str] | None:
    """Say which binding was probably meant to give the rights, why it does not, and what would."""
    bindings = account.bindings
    if bindings is None:
        return None
    mine = [b.binding for b in bindings.naming(account.user) if not b.binding.built_in]
    subject = account.subject
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


def _impersonates(bindings: Bindings, binding: Binding) -> bool:
    return _any_impersonation(bindings.rules_of(binding) or ())


def _any_impersonation(rules: Sequence[Rule]) -> bool:
    return any(
        is_impersonation(verb) and {"users", "groups"} & set(rule.resources)
        for rule in rules
        for verb in rule.verbs
    )


def _constrained_refused(account: Account, config: Config) -> Verdict:
    if not account.capped:
        return failed(
            causes.CAP_MISSING,
            f"{account.words} may become people (impersonate:user-info) and do nothing as them: "
            f"there is no rule with impersonate-on:user-info:*. The API server says: "
            f"{account.refusal}",
            mends.reconciled(manifests(account, config)),
        )
    return failed(
        causes.CONSTRAINED_UNSUPPORTED,
        f"{account.words} has rights of constrained impersonation, and the API server "
        f"({account.version or 'of unknown version'}) refuses: {account.refusal}; it has that from "
        "Kubernetes 1.36, unless it is switched off",
        mends.reconciled(manifests(account, config, mode=Mode.NAMED)),
    )


def lost(account: Account) -> Iterator[Verdict]:
    for words in account.verdict.seen_as_somebody_else:
        yield failed(
            causes.IMPERSONATION_LOST,
            f"the API server was told who asks and saw {words}: something on the way takes "
            "Impersonate-* headers out",
            "name the API server itself with --upstream (or in the kubeconfig), not the gateway "
            "before it, or have that pass all Impersonate-* headers",
        )
