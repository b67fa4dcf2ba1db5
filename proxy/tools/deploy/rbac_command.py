"""The command ``rbac``: the least that the proxy's account needs, ready to apply."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Final

import yaml

from proxy.impersonation import NEVER_ALLOWED
from proxy.tools.deploy.arguments import Own, check_serve, take_apart, usage
from proxy.tools.deploy.rbac import Mode, Rights, account_manifests, people_manifests, warnings

OWN: Final = (
    Own("--mode", "MODE", f"{', '.join(Mode)}"),
    Own("--user", "NAME", "a user who may be impersonated, prefix included (repeatable)"),
    Own("--group", "NAME", "a group that may be, prefix included (repeatable)"),
    Own("--role", "NAME", "the ClusterRole that these people get (default: view)"),
    Own("--read-only", "", "constrained mode: no identity may do more than read"),
    Own("--service-account", "NAMESPACE/NAME", "the proxy's account (default: headlamp/headlamp)"),
)
DETAILS: Final = f"""\
Writes the manifests of the proxy's rights, and the binding for the people, to standard output.

{usage(OWN)}
  named        these users and groups, on every Kubernetes
  constrained  the same under a cap that the API server enforces; Kubernetes 1.36 and later
  wide         anybody; whoever holds the account's token is then anybody as well

The flags of serve that change what is impersonated are taken as well, --authenticated-group above
all.
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
    namespace, slash, account = arguments.one("--service-account", "headlamp/headlamp").partition(
        "/"
    )
    if mode not in set(Mode):
        arguments.problems.append(f"--mode {mode!a}: choose one of {', '.join(Mode)}")
    if mode == Mode.NAMED and not users:
        arguments.problems.append("--user: name at least one; in this mode nobody else gets in")
    if not (namespace and slash and account):
        arguments.problems.append("--service-account: write NAMESPACE/NAME")
    if "--read-only" in arguments.own and mode != Mode.CONSTRAINED:
        arguments.problems.append("--read-only: only the constrained mode has a cap; remove it")
    arguments.problems += [
        f"--user {name!a}: is empty or reserved; the proxy never asserts it"
        for name in users
        if not name or name.startswith(config.reserved_prefix)
    ]
    arguments.problems += [
        f"--group {name!a}: is empty or reserved; see --allow-reserved-group"
        for name in groups
        if not name
        or name == NEVER_ALLOWED
        or (name.startswith(config.reserved_prefix) and name not in config.allow_reserved_group)
    ]
    if arguments.problems:
        sys.stderr.write("".join(f"{line}\n" for line in arguments.problems))
        return 2
    rights = Rights(
        mode=Mode(mode),
        users=users,
        groups=groups,
        own_group=config.authenticated_group,
        namespace=namespace,
        account=account,
        role=arguments.one("--role", "view"),
        read_only="--read-only" in arguments.own,
    )
    said = warnings(rights)
    sys.stdout.write("".join(f"# {line}\n" for line in said))
    sys.stdout.write(dump([*account_manifests(rights), *people_manifests(rights)]))
    sys.stderr.write("".join(f"warning: {line}\n" for line in said))
    return 0


def dump(objects: Sequence[object]) -> str:
    """Return objects as a stream of YAML documents, in the order in which they should be read."""
    return yaml.safe_dump_all(objects, sort_keys=False, width=1000, explicit_start=True)
