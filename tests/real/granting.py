"""Rights for one test's own names, and a proxy whose account has exactly these.

The proxy here knows its issuer's keys from a file, so tokens are minted and no issuer runs.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from proxy.rights import Rule
from tests.issuer import CLIENT_ID, jwks_document, rsa_key, tsidp_claims
from tests.real.cluster import Cluster
from tests.serving import Serve

ISSUER = "https://idp.tail1234.ts.net"
OWN_GROUP = "headlamp-auth-proxy:authenticated"

_RBAC = "rbac.authorization.k8s.io"


def user_token(username: str, *groups: str) -> str:
    return rsa_key().token(tsidp_claims(ISSUER, email=username, groups=list(groups)))


def role(name: str, *rules: Rule, subject: dict[str, str]) -> str:
    """Return a ClusterRole and its binding to one subject, for ``kubectl apply``."""
    cluster_role = {
        "apiVersion": f"{_RBAC}/v1",
        "kind": "ClusterRole",
        "metadata": {"name": name},
        "rules": [
            {
                "verbs": rule.verbs,
                "apiGroups": rule.groups,
                "resources": rule.resources,
                "resourceNames": rule.names,
            }
            for rule in rules
        ],
    }
    binding = {
        "apiVersion": f"{_RBAC}/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": name},
        "roleRef": {"apiGroup": _RBAC, "kind": "ClusterRole", "name": name},
        "subjects": [subject],
    }
    return f"{json.dumps(cluster_role)}\n---\n{json.dumps(binding)}"


def user(name: str) -> dict[str, str]:
    return {"apiGroup": _RBAC, "kind": "User", "name": name}


def account(namespace: str, name: str = "proxy") -> dict[str, str]:
    return {"kind": "ServiceAccount", "namespace": namespace, "name": name}


@contextmanager
def proxy_with(
    cluster: Cluster, namespace: str, folder: Path, *rules: Rule, flags: tuple[str, ...] = ()
) -> Iterator[Serve]:
    """Run a proxy as an account of ``namespace`` that has these rules and no others."""
    cluster.kubectl("create", "serviceaccount", "proxy", f"-n{namespace}")
    cluster.apply(role(namespace, *rules, subject=account(namespace)))
    token_file = folder / "token"
    token_file.write_text(cluster.service_account_token(namespace, "proxy"))
    with Serve(
        folder,
        *issuer_flags(folder),
        f"--upstream={cluster.url}",
        f"--upstream-ca-file={cluster.ca_file}",
        f"--upstream-token-file={token_file}",
        *flags,
    ) as serve:
        yield serve


def issuer_flags(folder: Path) -> list[str]:
    jwks = folder / "jwks.json"
    jwks.write_bytes(jwks_document(rsa_key()))
    return [
        f"--oidc-issuer-url={ISSUER}",
        f"--oidc-client-id={CLIENT_ID}",
        f"--oidc-jwks-file={jwks}",
    ]
