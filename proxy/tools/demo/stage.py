"""Puts up everything that a tour needs, and takes it down again, in reverse.

What belongs together is one ``Stage``. The folder goes last: until then every program may write.
"""

from __future__ import annotations

import contextlib
import secrets
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import aiohttp

from proxy.tools.demo.children import Child, running
from proxy.tools.demo.cluster.server import SampleCluster
from proxy.tools.demo.issuer.protocol import Client
from proxy.tools.demo.issuer.server import Issuer
from proxy.tools.demo.kubeconfigs import (
    PROGRAM,
    SignIn,
    exec_user,
    find_kubectl,
    write_kubeconfig,
    write_kubectl,
)
from proxy.tools.demo.listening import HOST, free_port, make_certificates, serving
from proxy.tools.demo.manifests import manifests
from proxy.tools.demo.people import USERS
from proxy.tools.demo.real_cluster import Cluster, answers, find_programs, real_cluster

PREFIX: Final = "headlamp-demo-"


@dataclass(frozen=True, slots=True)
class Proxy:
    """The proxy, run as its user would run it with ``flags``."""

    child: Child
    port: int
    admin_url: str
    flags: tuple[str, ...]

    @property
    def url(self) -> str:
        return f"https://{HOST}:{self.port}"


@dataclass(frozen=True, slots=True)
class Stage:
    folder: Path
    client: Client
    sign_in: SignIn
    cluster: Cluster
    proxy: Proxy

    @property
    def trust(self) -> Path:
        """What a Headlamp mounts in place of its service account."""
        return _trust(self.folder)


@contextlib.asynccontextmanager
async def put_up() -> AsyncIterator[Stage]:
    """Start everything. Raises DemoError."""
    kubectl = find_kubectl()
    async with contextlib.AsyncExitStack() as stack:
        folder = stack.enter_context(_folder())
        client = Client(secrets.token_hex(16), secrets.token_hex(32))
        sign_in = await stack.enter_async_context(_issuer(folder, client))
        cluster = await stack.enter_async_context(_cluster(_made(folder / "cluster")))
        proxy = await stack.enter_async_context(_proxy(folder, sign_in, cluster))
        write_kubectl(folder, kubectl)
        for user in USERS:
            credential = exec_user(sign_in.command(user.name))
            write_kubeconfig(folder / user.name, proxy.url, _trust(folder) / "ca.crt", credential)
        yield Stage(folder, client, sign_in, cluster, proxy)


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix=PREFIX) as name:
        yield Path(name).resolve()


@contextlib.asynccontextmanager
async def _issuer(folder: Path, client: Client) -> AsyncIterator[SignIn]:
    port, certificates = free_port(), folder / "issuer"
    ca_file = make_certificates(certificates)
    secret_file = _private(folder / "client-secret", client.secret)
    issuer = Issuer(f"https://{HOST}:{port}", client)
    async with serving(issuer.app(), port, certificates):
        yield SignIn(issuer.url, ca_file, client.id, secret_file)


@contextlib.asynccontextmanager
async def _cluster(folder: Path) -> AsyncIterator[Cluster]:
    programs = find_programs()
    if programs is not None:
        async with real_cluster(programs, folder) as cluster:
            yield cluster
        return
    port, token = free_port(), secrets.token_hex(32)
    ca_file = make_certificates(folder)
    async with serving(SampleCluster(manifests(), token).app(), port, folder):
        described = "a small built-in sample, not Kubernetes; RBAC as in Kubernetes"
        yield Cluster(f"https://{HOST}:{port}", ca_file, token, described, has_nodes=True)


@contextlib.asynccontextmanager
async def _proxy(folder: Path, sign_in: SignIn, cluster: Cluster) -> AsyncIterator[Proxy]:
    port, admin = free_port(), f"{HOST}:{free_port()}"
    flags = (
        f"--oidc-issuer-url={sign_in.issuer_url}",
        f"--oidc-client-id={sign_in.client_id}",
        f"--oidc-ca-file={sign_in.issuer_ca}",
        f"--upstream={cluster.url}",
        f"--upstream-ca-file={cluster.ca_file}",
        f"--upstream-token-file={_private(folder / 'token', cluster.token)}",
        f"--listen={HOST}:{port}",
        f"--admin-listen={admin}",
        f"--trust-dir={_trust(folder)}",
        f"--cert-dir={folder / 'certs'}",
        "--shutdown-grace=1s",
    )
    async with (
        running([*PROGRAM, "serve", *flags], folder / "proxy.log") as child,
        aiohttp.ClientSession() as session,
    ):
        await child.until(lambda: answers(session, f"http://{admin}/readyz"))
        yield Proxy(child, port, f"http://{admin}", flags)


def _trust(folder: Path) -> Path:
    return folder / "trust"


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def _private(path: Path, text: str) -> Path:
    path.touch(0o600)
    path.write_text(text)
    return path
