"""A real Kubernetes control plane for tests: etcd and kube-apiserver on loopback.

What must stay true: nothing here replaces a part of kube-apiserver (RBAC, the Node authorizer,
admission, TokenRequest and auditing are its own), and nothing outlives the test session. There is
no kube-controller-manager: namespaces get no `default` ServiceAccount and no
`kube-root-ca.crt`, aggregated ClusterRoles stay empty, a deleted namespace stays Terminating.
"""

from __future__ import annotations

import http.client
import json
import ssl
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import trustme
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from proxy.reviews.client import USER_AGENT
from tests.kubectl import kubeconfig, kubectl
from tests.leaks import hand_out_token
from tests.process import Process, free_port

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator
    from pathlib import Path

AuditEvent = dict[str, Any]

START_TIMEOUT = 60.0  # seconds until /readyz must be 200; two or three on two cores
STOP_GRACE = 10.0  # seconds
AUDIT_TIMEOUT = 10.0  # seconds
AUDIT_POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [{"level": "Metadata"}],
}


def asks_about_itself(event: AuditEvent) -> bool:
    """Say whether the proxy asked this about its own account: a review, by its client for them."""
    resource = event.get("objectRef", {}).get("resource", "")
    return event.get("userAgent") == USER_AGENT and resource.startswith("selfsubject")


class Cluster:
    """etcd and kube-apiserver, and how to speak with them as their administrator."""

    host = "127.0.0.1"

    def __init__(self, assets: Path, folder: Path, *flags: str) -> None:
        self._assets = assets
        self._flags = flags
        self._folder = folder
        self._etcd: Process | None = None
        self._apiserver: Process | None = None
        self._etcd_url = f"http://{self.host}:{free_port()}"
        self.port = free_port()
        self.url = f"https://{self.host}:{self.port}"
        self.ca_file = folder / "ca.crt"
        self._ca = trustme.CA()
        self._write_credentials()
        self.admin_tls = ssl.create_default_context(cafile=self.ca_file)
        self.admin_tls.load_cert_chain(folder / "admin.crt", folder / "admin.key")
        self.admin_kubeconfig = self.write_kubeconfig(
            "admin",
            {
                "client-certificate": str(folder / "admin.crt"),
                "client-key": str(folder / "admin.key"),
            },
        )

    @classmethod
    @contextmanager
    def run(cls, assets: Path, folder: Path, *flags: str) -> Iterator[Cluster]:
        """A cluster that is ready, its files in the (empty) folder, stopped at the end.

        `flags` are kube-apiserver's, besides those that it always has.
        """
        cluster = cls(assets, folder, *flags)
        try:
            cluster._start_etcd()
            cluster.start()
            yield cluster
        finally:
            cluster.stop()
            if cluster._etcd is not None:
                cluster._etcd.stop(STOP_GRACE)

    def start(self) -> None:
        """Starts kube-apiserver, on the same port each time, and waits until it is ready."""
        if self._apiserver is not None:
            raise RuntimeError("kube-apiserver is already running")
        self._apiserver = Process(
            [self._assets / "kube-apiserver", *self._apiserver_flags()],
            self._folder / "kube-apiserver.log",
        )
        self._wait_until_ready(self._apiserver)

    def stop(self) -> None:
        """Stops kube-apiserver alone: etcd and all objects stay."""
        if self._apiserver is not None:
            self._apiserver.stop(STOP_GRACE)
            self._apiserver = None

    def restart(self) -> None:
        self.stop()
        self.start()

    def kubectl(
        self,
        *args: str,
        stdin: str | None = None,
        kubeconfig: Path | None = None,
        check: bool = True,
    ) -> subprocess.CompletedProcess[str]:
        """Runs kubectl, as the administrator unless a kubeconfig says otherwise."""
        return kubectl(kubeconfig or self.admin_kubeconfig, *args, stdin=stdin, check=check)

    def apply(self, yaml_text: str) -> None:
        self.kubectl("apply", "--filename=-", stdin=yaml_text)

    def service_account_token(
        self, namespace: str, name: str, expiration_seconds: int = 3600
    ) -> str:
        """A genuine token from TokenRequest, which issues none for less than 600 seconds."""
        duration = f"--duration={expiration_seconds}s"
        made = self.kubectl("create", "token", name, f"-n{namespace}", duration).stdout.strip()
        hand_out_token(made)
        return made

    def write_kubeconfig(self, name: str, user: dict[str, str]) -> Path:
        """Writes `<name>.kubeconfig` for this API server; `user` as in `{"token": ...}`."""
        path = self._folder / f"{name}.kubeconfig"
        path.write_text(kubeconfig(self.url, self.ca_file, user))
        return path

    def issue(
        self, name: str, *hosts: str, user: str | None = None, group: str | None = None
    ) -> tuple[Path, Path]:
        """Writes a certificate of the cluster's CA and its key; returns where they are."""
        issued = self._ca.issue_cert(*hosts or (name,), common_name=user, organization_name=group)
        files = self._folder / f"{name}.crt", self._folder / f"{name}.key"
        issued.cert_chain_pems[0].write_to_path(files[0])
        issued.private_key_pem.write_to_path(files[1])
        return files

    def write_user(self, name: str, group: str) -> Path:
        """Writes a kubeconfig for a user, of one group, known by a client certificate."""
        certificate, key = self.issue(f"{name}.user", user=name, group=group)
        user = {"client-certificate": str(certificate), "client-key": str(key)}
        return self.write_kubeconfig(f"{name}.direct", user)

    def audit_events(self) -> list[AuditEvent]:
        """All audit events so far, oldest first; a request's own may come just after its answer."""
        lines = self._audit_log.read_text().splitlines(keepends=True)
        return [json.loads(line) for line in lines if line.endswith("\n")]

    def wait_for_audit_event(self, matches: Callable[[AuditEvent], bool]) -> AuditEvent:
        """The latest audit event that matches; waits a bounded time until there is one."""
        deadline = time.monotonic() + AUDIT_TIMEOUT
        while True:
            for event in reversed(self.audit_events()):
                if matches(event):
                    return event
            if time.monotonic() > deadline:
                raise AssertionError(f"no such audit event in {self._audit_log}")
            time.sleep(0.05)

    @property
    def _audit_log(self) -> Path:
        return self._folder / "audit.log"

    def _write_credentials(self) -> None:
        self._ca.cert_pem.write_to_path(self.ca_file)
        self.issue("serving", self.host, "localhost")
        self.issue("admin", user="admin", group="system:masters")
        self.issue("kubelet-client", user="kube-apiserver-kubelet-client")
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        (self._folder / "service-account.key").write_bytes(
            key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        )
        (self._folder / "audit-policy.json").write_text(json.dumps(AUDIT_POLICY))

    def _start_etcd(self) -> None:
        self._etcd = Process(
            [
                self._assets / "etcd",
                f"--data-dir={self._folder / 'etcd'}",
                f"--listen-client-urls={self._etcd_url}",
                f"--advertise-client-urls={self._etcd_url}",
                f"--listen-peer-urls=http://{self.host}:0",
                "--unsafe-no-fsync",
            ],
            self._folder / "etcd.log",
        )

    def _apiserver_flags(self) -> list[str]:
        folder = self._folder
        return [
            f"--etcd-servers={self._etcd_url}",
            f"--bind-address={self.host}",
            f"--secure-port={self.port}",
            f"--tls-cert-file={folder / 'serving.crt'}",
            f"--tls-private-key-file={folder / 'serving.key'}",
            f"--client-ca-file={self.ca_file}",
            "--authorization-mode=Node,RBAC",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={folder / 'service-account.key'}",
            f"--service-account-signing-key-file={folder / 'service-account.key'}",
            "--service-cluster-ip-range=10.96.0.0/16",
            f"--kubelet-certificate-authority={self.ca_file}",
            f"--kubelet-client-certificate={folder / 'kubelet-client.crt'}",
            f"--kubelet-client-key={folder / 'kubelet-client.key'}",
            # Endpoints may not hold a loopback address, so there is nothing to reconcile.
            "--endpoint-reconciler-type=none",
            f"--audit-policy-file={folder / 'audit-policy.json'}",
            f"--audit-log-path={self._audit_log}",
            *self._flags,
        ]

    def _wait_until_ready(self, apiserver: Process) -> None:
        deadline = time.monotonic() + START_TIMEOUT
        while not self._answers_ready():
            for process in filter(None, (self._etcd, apiserver)):
                process.raise_if_exited()
            if time.monotonic() > deadline:
                raise RuntimeError(
                    f"kube-apiserver was not ready after {START_TIMEOUT} s\n{apiserver.log_tail()}"
                )
            time.sleep(0.1)

    def _answers_ready(self) -> bool:
        connection = http.client.HTTPSConnection(
            self.host, self.port, timeout=5, context=self.admin_tls
        )
        try:
            connection.request("GET", "/readyz")
            return connection.getresponse().status == http.HTTPStatus.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()
