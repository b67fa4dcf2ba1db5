"""Faults around a real API server: it is down, comes back, vanishes, no longer knows our account.

A ``Cable`` lies between the proxy and the API server. Each test says how long a client waits; the
same figures stand in docs/operations.md.
"""

from __future__ import annotations

import contextlib
import http.client
import ssl
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cable import Cable
from tests.faults.conftest import ISSUER, reason, token
from tests.issuer import jwks_document, rsa_key, tsidp_claims
from tests.real.cluster import Cluster
from tests.serving import Serve

pytestmark = pytest.mark.slow

CAROL, DAVE = "carol@example.com", "dave@example.com"
WHO = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
RIGHTS = f"""
apiVersion: v1
kind: Namespace
metadata: {{name: faults}}
---
apiVersion: v1
kind: ServiceAccount
metadata: {{name: proxy, namespace: faults}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {{name: faults}}
rules:
  - {{apiGroups: [""], resources: [users], verbs: [impersonate], resourceNames: [{CAROL}, {DAVE}]}}
  - apiGroups: [""]
    resources: [groups]
    verbs: [impersonate]
    resourceNames: ["headlamp-auth-proxy:authenticated"]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {{name: faults}}
roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: faults}}
subjects: [{{kind: ServiceAccount, name: proxy, namespace: faults}}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {{name: faults-reading}}
rules: [{{apiGroups: [""], resources: [namespaces, configmaps], verbs: [get, list, watch]}}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {{name: faults-reading}}
roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: faults-reading}}
subjects: [{{apiGroup: rbac.authorization.k8s.io, kind: User, name: {CAROL}}}]
"""
READ = "/api/v1/namespaces/faults"


class Stage:
    def __init__(self, cluster: Cluster, cable: Cable, folder: Path) -> None:
        self.cluster, self.cable = cluster, cable
        self.token_file = folder / "upstream-token"
        self.renew()
        (folder / "jwks.json").write_bytes(jwks_document(rsa_key()))
        self.serve = Serve(
            folder,
            f"--oidc-issuer-url={ISSUER}",
            f"--oidc-client-id={tsidp_claims(ISSUER)['aud']}",
            f"--oidc-jwks-file={folder / 'jwks.json'}",
            f"--upstream=https://127.0.0.1:{cable.port}",
            f"--upstream-ca-file={cluster.ca_file}",
            f"--upstream-token-file={self.token_file}",
        )

    def renew(self) -> None:
        self.token_file.write_text(self.cluster.service_account_token("faults", "proxy"))

    def read(self) -> tuple[int, str]:
        """Read as carol, who may; as dave, who may not, it must never succeed."""
        assert self.serve.get(READ, token(DAVE))[0] != 200
        return reason(self.serve.get(READ, token(CAROL)))

    def reads(self) -> bool:
        return self.read()[0] == 200

    @contextlib.contextmanager
    def watch(self) -> Iterator[http.client.HTTPResponse]:
        """A watch that has seen an event already."""
        tls = ssl.create_default_context(cafile=str(self.serve.ca_file))
        port = self.serve.port
        connection = http.client.HTTPSConnection("127.0.0.1", port, context=tls, timeout=120)
        with contextlib.closing(connection):
            headers = {"Authorization": f"Bearer {token(CAROL)}"}
            connection.request("GET", "/api/v1/namespaces?watch=true", headers=headers)
            answer = connection.getresponse()
            assert answer.readline().startswith(b'{"type":"ADDED"')
            yield answer


@pytest.fixture
def stage(cluster: Cluster, tmp_path: Path) -> Iterator[Stage]:
    cluster.apply(RIGHTS)
    with Cable.run(cluster.port) as cable:
        made = Stage(cluster, cable, tmp_path)
        with made.serve as serve:
            serve.wait_ready()
            serve.wait_until(made.reads, "reading")
            yield made


def _rest(answer: http.client.HTTPResponse) -> None:
    """Read to the end, which must not look like one."""
    with pytest.raises((http.client.IncompleteRead, ConnectionError)):
        answer.read()


def test_an_api_server_that_is_down_is_a_502_at_once_until_it_is_back(stage: Stage) -> None:
    serve = stage.serve
    stage.cluster.stop()
    stage.cable.cut()
    try:
        began = time.monotonic()
        for _ in range(10):
            assert stage.read()[0] == 502
        assert time.monotonic() - began < 5
        assert serve.probe("/readyz")[0] == 200
        assert "[-]upstream failed" in serve.probe("/readyz?verbose")[1]
    finally:
        stage.cluster.start()
    assert stage.read()[0] == 200  # no back-off outlives the outage
    assert "[+]upstream ok" in serve.probe("/readyz?verbose")[1]


def test_a_restart_ends_watches_and_never_mixes_users(stage: Stage) -> None:
    with stage.watch() as watch:
        restart = threading.Thread(target=stage.cluster.restart)
        restart.start()
        seen = set()
        try:
            while restart.is_alive():
                seen.add(stage.read()[0])
        finally:
            restart.join()
        _rest(watch)
    stage.serve.wait_until(stage.reads, "reading")
    assert seen <= {200, 502, 503, 403}  # 403: RBAC is not loaded yet; 503: nor are the keys


@pytest.mark.timeout(240)
def test_one_that_vanishes_without_a_word_is_noticed_in_a_minute(stage: Stage) -> None:
    with stage.watch() as watch:
        assert stage.read()[0] == 200
        stage.cable.unplug()
        began = time.monotonic()
        answers: list[tuple[float, int]] = []

        def ask() -> None:
            status = stage.serve.get(READ, token(CAROL), patience=100)[0]
            answers.append((time.monotonic() - began, status))

        asking = threading.Thread(target=ask)
        asking.start()
        _rest(watch)
        ended = time.monotonic() - began
        asking.join()
        ((waited, status),) = answers
        sys.stdout.write(f"answered after {waited:.1f} s, watch ended after {ended:.1f} s\n")
        assert status == 502
        assert waited < 50, "30 s for the old connection and 10 s for a new one"
        assert ended < 100, "30 s of silence and 30 s without an answer to the probe"
        began = time.monotonic()
        assert stage.serve.get(READ, token(CAROL))[0] == 502
        assert time.monotonic() - began < 15, "only a new connection is tried now"
    stage.cable.plug_in()
    began = time.monotonic()
    assert stage.read()[0] == 200
    assert time.monotonic() - began < 5


def test_an_account_that_was_deleted_and_made_anew_is_a_503_until_its_new_token_is_there(
    stage: Stage,
) -> None:
    stage.cluster.kubectl("delete", "serviceaccount", "proxy", "-nfaults")
    stage.serve.wait_until(lambda: stage.read() == (503, "credential_rejected"), "rejected")
    assert stage.serve.probe("/readyz")[0] == 200  # the token's file is in order
    assert stage.serve.metric('upstream_errors_total{reason="credential_rejected"}') >= 1
    stage.cluster.apply(RIGHTS)
    assert stage.read()[0] == 503  # the old token is the old account's
    stage.renew()
    began = time.monotonic()
    stage.serve.wait_until(stage.reads, "reading")
    assert time.monotonic() - began < 5
