"""The command ``rbac``: the least that the proxy's account needs, ready to apply."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Final

import yaml

from proxy.config import Config
from proxy.errors import IdentityError
from proxy.impersonation import Policy, impersonate
from proxy.rights import SETTINGS, Rule
from proxy.tools.deploy.arguments import Own, account_of, check_serve, take_apart, usage
from proxy.tools.deploy.rbac import Mode, Rights, account_manifests, people_manifests, warnings
from proxy.userinfo import UserInfo

OWN: Final = (
    Own("--mode", "MODE", f"{', '.join(Mode)}"),
    Own("--user", "NAME", "a user who may be impersonated, prefix included (repeatable)"),
    Own("--group", "NAME", "a group that may be, prefix included (repeatable)"),
    Own("--role", "NAME", "the ClusterRole that these people get (default: view; empty: none)"),
    Own("--read-only", "", "constrained mode: no identity may do more than read"),
    Own("--service-account", "NAMESPACE/NAME", "the proxy's account (default: headlamp/headlamp)"),
)
DETAILS: Final = f"""\
Writes the manifests of the proxy's rights, and the binding for the people, to standard output.

    headlamp-auth-proxy rbac --mode=named --user=alice@example.com --group=k8s-admins |
        kubectl apply -f -

{usage(OWN)}
  named        these users and groups, on every Kubernetes
  constrained  the same under a cap that the API server enforces; Kubernetes 1.36 and later
  wide         anybody; whoever holds the account's token is then anybody as well

The flags of serve are taken as well; those that change what is impersonated, or that need rights of
their own (--token-passthrough, --allow-impersonation, --send-credential-id, --send-token-facts),
change the outcome.
"""
_STAND_IN: Final = {
    "--oidc-issuer-url": "https://issuer.invalid",
    "--oidc-client-id": "client",
    "--trust-dir": "/trust",
    "--cert-dir": "/certs",
}


def main(argv: Sequence[str]) -> int:
    """Run the command; return the exit status: 0, or 2 for usage."""
    arguments = take_apart(argv, OWN)
    arguments.problems += [f"{word!a}: unexpected argument" for word in arguments.rest]
    config = check_serve(arguments, _STAND_IN)
    mode = arguments.one("--mode", "")
    users, groups = (tuple(arguments.own.get(flag, ())) for flag in ("--user", "--group"))
    where = account_of(arguments.one("--service-account", "headlamp/headlamp"))
    if mode not in set(Mode):
        arguments.problems.append(f"--mode {mode!a}: choose one of {', '.join(Mode)}")
    if mode == Mode.NAMED and not users:
        arguments.problems.append("--user: name at least one; in this mode nobody else gets in")
    if where is None:
        arguments.problems.append("--service-account: write NAMESPACE/NAME")
    if "--read-only" in arguments.own and mode != Mode.CONSTRAINED:
        arguments.problems.append("--read-only: only the constrained mode has a cap; remove it")
    arguments.problems += _never_asserted(config, users, groups)
    if arguments.problems or where is None:
        sys.stderr.write("".join(f"{line}\n" for line in arguments.problems))
        return 2
    rights = Rights(
        mode=Mode(mode),
        users=users,
        groups=groups,
        own_group=config.authenticated_group,
        namespace=where[0],
        account=where[1],
        role=arguments.one("--role", "view"),
        read_only="--read-only" in arguments.own,
        settings=needed_by(config),
    )
    said = warnings(rights)
    sys.stdout.write("".join(f"# {line}\n" for line in said))
    sys.stdout.write(dump([*account_manifests(rights), *people_manifests(rights)]))
    sys.stderr.write("".join(f"warning: {line}\n" for line in said))
    return 0


def needed_by(config: Config) -> tuple[Rule, ...]:
    """Return what the account needs for the settings that are switched on."""
    return tuple(rule for flag in switched_on(config) for rule in SETTINGS[flag])


def switched_on(config: Config) -> list[str]:
    """Return the flags of those settings that need rights."""
    switched = {
        "--token-passthrough": config.token_passthrough,
        "--allow-impersonation": config.allow_impersonation,
        "--send-credential-id": config.send_credential_id,
        "--send-token-facts": config.send_token_facts,
    }
    return [flag for flag in SETTINGS if switched[flag]]


def _never_asserted(config: Config, users: Sequence[str], groups: Sequence[str]) -> list[str]:
    """Return which names the proxy itself would refuse, so that they are not granted either."""
    policy = Policy(
        authenticated_group=config.authenticated_group,
        allowed_reserved_groups=frozenset(config.allow_reserved_group),
        reserved_prefixes=config.reserved_prefix,
    )
    problems = []
    for flag, names in (("--user", users), ("--group", groups)):
        for name in names:
            if flag == "--group" and name == config.authenticated_group:
                continue  # everybody's, and so a way to give all of them a role
            user = UserInfo(name) if flag == "--user" else UserInfo("user", groups=(name,))
            try:
                impersonate(user, policy)
            except IdentityError as error:
                problems.append(f"{flag}: {error}; the proxy never asserts it")
    return problems


def dump(objects: Sequence[object]) -> str:
    """Return objects as a stream of YAML documents, in the order in which they should be read."""
    return yaml.safe_dump_all(objects, sort_keys=False, width=1000, explicit_start=True)
