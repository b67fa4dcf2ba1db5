"""Prints what alice and bob see through the proxy, on a real API server.

    make transcript

alice is bound by her e-mail address and may do everything; bob has a group that may edit
ConfigMaps.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.kubectl import kubectl
from tests.real.cluster import Cluster
from tests.real.programs import find
from tests.real.test_serve import ALICE, BOB, GROUP, PEOPLE, SHIPPED
from tests.serving import Serve, issuer_in_thread

TOUR = (
    ("alice", "auth whoami"),
    ("alice", "create namespace shop"),
    ("alice", "-n shop create configmap prices --from-literal=apple=1"),
    ("bob", "auth whoami"),
    ("bob", "-n shop get configmaps"),
    ("bob", "-n shop create configmap more --from-literal=pear=2"),
    ("bob", "-n shop get secrets"),
    ("bob", "auth can-i delete namespaces"),
    ("alice", "-n shop get configmaps"),
    ("alice", "get pods --as=system:admin"),
)


def main() -> int:
    assets = find("kube")
    if assets is None:
        sys.stderr.write("no kube-apiserver and etcd: run tests/build\n")
        return 1
    with tempfile.TemporaryDirectory() as name, issuer_in_thread() as (issuer, _):
        folder = Path(name)
        (folder / "cluster").mkdir()
        with Cluster.run(assets, folder / "cluster") as cluster:
            cluster.kubectl("create", "namespace", "headlamp")
            cluster.apply(SHIPPED.read_text())
            cluster.apply(PEOPLE)
            token = cluster.service_account_token("headlamp", "headlamp-auth-proxy")
            (folder / "token").write_text(token)
            with Serve(
                folder,
                f"--oidc-issuer-url={issuer.url}",
                f"--oidc-client-id={issuer.client_id}",
                f"--oidc-ca-file={issuer.ca_file}",
                f"--upstream={cluster.url}",
                f"--upstream-ca-file={cluster.ca_file}",
                f"--upstream-token-file={folder / 'token'}",
            ) as serve:
                serve.wait_ready()
                configs = {
                    "alice": serve.kubeconfig("alice", issuer.token(ALICE)),
                    "bob": serve.kubeconfig("bob", issuer.token(BOB, [GROUP])),
                }
                for who, command in TOUR:
                    run = kubectl(configs[who], *command.split(), check=False)
                    sys.stdout.write(f"{who}$ kubectl {command}\n{run.stdout}{run.stderr}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
