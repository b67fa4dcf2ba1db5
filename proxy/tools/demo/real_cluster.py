"""A real kube-apiserver with its etcd, where both programs are found on this machine.

It is the genuine thing as far as the API goes: RBAC, impersonation, admission. There are no
controllers and no nodes, so pods stay Pending and there is nothing to log or to exec into.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp
from cryptography.hazmat.primitives import serialization

from proxy.credentials import issuing
from proxy.tools.demo.children import Argv, output_of, running
from proxy.tools.demo.kubeconfigs import find_kubectl, write_kubeconfig
from proxy.tools.demo.listening import HOST, free_port, make_certificates
from proxy.tools.demo.manifests import ACCOUNT_NAME, ACCOUNT_NAMESPACE, as_list, manifests


@dataclass(frozen=True, slots=True)
class Programs:
    kube_apiserver: Path
    etcd: Path


@dataclass(frozen=True, slots=True)
class Cluster:
    """An API server, and the token of the proxy's account there."""

    url: str
    ca_file: Path
    token: str
    described: str
    has_nodes: bool  # whether pods run, so that they have logs and can be exec'ed into


def find_programs() -> Programs | None:
    """Look in KUBEBUILDER_ASSETS, then on PATH."""
    path = os.pathsep.join([os.environ.get("KUBEBUILDER_ASSETS", ""), os.environ.get("PATH", "")])
    found = [shutil.which(name, path=path) for name in ("kube-apiserver", "etcd")]
    paths = [Path(name) for name in found if name]
    return Programs(*paths) if len(paths) == len(found) else None


@contextlib.asynccontextmanager
async def real_cluster(programs: Programs, folder: Path) -> AsyncIterator[Cluster]:
    """Run a cluster that holds the demo's objects, its files in ``folder``."""
    etcd_url, port = f"http://{HOST}:{free_port()}", free_port()
    url, ca_file = f"https://{HOST}:{port}", make_certificates(folder)
    admin_token = _write_credentials(folder)
    admin = folder / "admin"
    write_kubeconfig(admin, url, ca_file, {"token": admin_token})
    etcd: Argv = [programs.etcd, *_etcd_flags(folder, etcd_url)]
    apiserver: Argv = [programs.kube_apiserver, *_apiserver_flags(folder, etcd_url, port)]
    async with (
        running(etcd, folder / "etcd.log"),
        running(apiserver, folder / "kube-apiserver.log") as child,
    ):
        tls = ssl.create_default_context(cafile=ca_file)
        async with aiohttp.ClientSession() as session:
            await child.until(lambda: answers(session, f"{url}/readyz", tls))
        token = await _set_up(admin)
        described = f"kube-apiserver from {programs.kube_apiserver.parent}; no nodes"
        yield Cluster(url, ca_file, token, described, has_nodes=False)


async def answers(
    session: aiohttp.ClientSession, url: str, tls: ssl.SSLContext | None = None
) -> bool:
    """Whether a GET of ``url`` is a 200."""
    try:
        async with session.get(url, ssl=tls or True) as answer:
            return answer.status == 200
    except aiohttp.ClientError:
        return False


async def _set_up(admin: Path) -> str:
    """Make the demo's objects; return a token of the proxy's account."""
    kubectl: Argv = [
        find_kubectl(),
        f"--kubeconfig={admin}",
        f"--cache-dir={admin.parent / 'cache'}",
    ]
    objects = json.dumps(as_list(manifests()))
    await output_of([*kubectl, "create", "--filename=-"], objects)
    account = [ACCOUNT_NAME, f"--namespace={ACCOUNT_NAMESPACE}", "--duration=24h"]
    return (await output_of([*kubectl, "create", "token", *account])).strip()


def _write_credentials(folder: Path) -> str:
    """Write the key of service accounts' tokens; return an administrator's token."""
    key = issuing.new_key()
    (folder / "service-account.key").touch(0o600)
    (folder / "service-account.key").write_bytes(issuing.key_pem(key))
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    (folder / "service-account.pub").write_bytes(public)
    token = secrets.token_hex(16)
    (folder / "tokens.csv").touch(0o600)
    (folder / "tokens.csv").write_text(f'{token},admin,admin,"system:masters"\n')
    return token


def _etcd_flags(folder: Path, url: str) -> list[str]:
    return [
        f"--data-dir={folder / 'etcd'}",
        f"--listen-client-urls={url}",
        f"--advertise-client-urls={url}",
        f"--listen-peer-urls=http://{HOST}:0",
        "--unsafe-no-fsync",
    ]


def _apiserver_flags(folder: Path, etcd_url: str, port: int) -> list[str]:
    return [
        f"--etcd-servers={etcd_url}",
        f"--bind-address={HOST}",
        f"--secure-port={port}",
        f"--tls-cert-file={folder / 'tls.crt'}",
        f"--tls-private-key-file={folder / 'tls.key'}",
        f"--token-auth-file={folder / 'tokens.csv'}",
        "--authorization-mode=RBAC",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={folder / 'service-account.pub'}",
        f"--service-account-signing-key-file={folder / 'service-account.key'}",
        "--service-cluster-ip-range=10.96.0.0/16",
        # Endpoints may not hold a loopback address, so there is nothing to reconcile.
        "--endpoint-reconciler-type=none",
    ]
