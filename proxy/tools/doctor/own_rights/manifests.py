"""What the proxy's own account should have: the role and the binding that every mend grants."""

from __future__ import annotations

from collections.abc import Iterable

from proxy.config import Config
from proxy.reviews.documents import Question
from proxy.reviews.privileges import CANARY
from proxy.rights import AUTHENTICATION, Rule
from proxy.tools.deploy.rbac import Mode, Object, Rights, account_manifests
from proxy.tools.deploy.rbac_command import needed_by
from proxy.tools.doctor import mends
from proxy.tools.doctor.own_rights.account import Account, impersonated
from proxy.userinfo import CREDENTIAL_ID


def manifests(account: Account, config: Config, mode: Mode | None = None) -> list[Object]:
    """Return what gives the account what it needs, and what it has of that already."""
    users, all_users = impersonated(account.rules, "users")
    groups, all_groups = impersonated(account.rules, "groups")
    namespace, name = mends.account_or_default(account.name)
    constrained = account.constrained if mode is None else mode is Mode.CONSTRAINED
    if not all_users:
        users = list(dict.fromkeys([CANARY, *users, account.asserted.username]))
    if not all_groups:
        own = config.authenticated_group
        groups = [g for g in dict.fromkeys([*groups, *account.asserted.groups]) if g != own]
    objects = account_manifests(
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
        role = objects[0]
        role["rules"] = [rule for rule in role["rules"] if not _is_cap(rule)]
    if account.name is None and not account.verdict.everything:
        objects[-1]["subjects"] = [account.subject.document()]
    return objects


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
