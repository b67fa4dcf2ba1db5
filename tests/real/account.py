"""An account for a proxy at the real API server, with rights of the shape of deploy/rbac.yaml.

test_serve uses that file itself; other stages have a namespace and people of their own, so that
none depends on which ran before.
"""

from __future__ import annotations

import json
from collections.abc import Iterable

from tests.real.cluster import Cluster

OWN_GROUP = "headlamp-auth-proxy:authenticated"
RBAC = "rbac.authorization.k8s.io"


def proxy_account(
    cluster: Cluster, namespace: str, users: Iterable[str], groups: Iterable[str]
) -> str:
    """Make an account that may impersonate these users and groups; return a token of it."""
    cluster.kubectl("create", "namespace", namespace)
    cluster.kubectl("-n", namespace, "create", "serviceaccount", "proxy")
    rules = [
        {"apiGroups": [""], "resources": [kind], "verbs": ["impersonate"], "resourceNames": names}
        for kind, names in (("users", [*users]), ("groups", [OWN_GROUP, *groups]))
    ]
    account = {"kind": "ServiceAccount", "name": "proxy", "namespace": namespace}
    bind(cluster, namespace, rules, account)
    return cluster.service_account_token(namespace, "proxy")


def bind(
    cluster: Cluster, name: str, rules: list[dict[str, list[str]]], subject: dict[str, str]
) -> None:
    """Give a subject these rights in the whole cluster."""
    named = {"metadata": {"name": name}, "apiVersion": f"{RBAC}/v1"}
    api_group = {} if subject["kind"] == "ServiceAccount" else {"apiGroup": RBAC}
    for manifest in (
        named | {"kind": "ClusterRole", "rules": rules},
        named
        | {
            "kind": "ClusterRoleBinding",
            "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": name},
            "subjects": [subject | api_group],
        },
    ):
        cluster.apply(json.dumps(manifest))
