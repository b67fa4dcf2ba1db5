"""Everything between a person's kubectl, or a browser, and a process in a pod, all of it running.

alice may do anything with pods; bob may read and exec, and carol may only read.
"""

from __future__ import annotations

import asyncio
import os
import ssl
import subprocess
import threading
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import aiohttp

from tests.kubectl import PATIENCE, find_kubectl, kubectl
from tests.real.account import bind, proxy_account
from tests.serving import Serve, issuer_in_thread

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path
    from typing import IO

    from tests.issuer import FakeIssuer
    from tests.real.cluster import Cluster
    from tests.real.node import Node

ALICE, BOB, CAROL = (f"{name}@streams.example.com" for name in ("alice", "bob", "carol"))
TRANSPORTS = {
    name: {"KUBECTL_REMOTE_COMMAND_WEBSOCKETS": on, "KUBECTL_PORT_FORWARD_WEBSOCKETS": on}
    for name, on in (("websocket", "true"), ("spdy", "false"))
}
# What Headlamp's terminal offers; the API server takes the first that it knows.
HEADLAMP_PROTOCOLS = (
    "base64.binary.k8s.io",
    "v4.channel.k8s.io",
    "v3.channel.k8s.io",
    "v2.channel.k8s.io",
    "channel.k8s.io",
)
READ = {"apiGroups": [""], "resources": ["pods", "pods/log"], "verbs": ["get", "list", "watch"]}
ENTER = {
    "apiGroups": [""],
    "resources": ["pods/exec", "pods/attach", "pods/portforward"],
    "verbs": ["get", "create"],
}
RIGHTS = {ALICE: [READ, ENTER], BOB: [READ, ENTER], CAROL: [READ]}


@dataclass
class Streams:
    """A proxy in front of a cluster with a node; ``namespace`` is where a test's pods are."""

    cluster: Cluster
    node: Node
    issuer: FakeIssuer
    serve: Serve
    namespace: str = ""

    def pod(self, name: str, *command: str, tty: bool = False) -> Path:
        return self.node.pod(self.namespace, name, *command, tty=tty)

    def kubectl(
        self, who: str, *args: str, transport: str = "websocket", **kwargs: str | bool
    ) -> subprocess.CompletedProcess[str]:
        stdin, check = kwargs.get("stdin"), bool(kwargs.get("check", True))
        return kubectl(
            self._config(who),
            f"--namespace={self.namespace}",
            *args,
            stdin=str(stdin) if stdin is not None else None,
            check=check,
            env=TRANSPORTS[transport],
        )

    @contextmanager
    def started(
        self,
        who: str,
        *args: str,
        transport: str = "websocket",
        stdin: int | IO[bytes] = subprocess.PIPE,
        stdout: int | IO[bytes] = subprocess.PIPE,
        stderr: int | IO[bytes] = subprocess.PIPE,
        config: Path | None = None,
        patience: float = 2 * PATIENCE,
    ) -> Iterator[subprocess.Popen[bytes]]:
        """A kubectl that is running, and is killed in the end, or after ``patience`` seconds."""
        config = config or self._config(who)
        with subprocess.Popen(
            [
                find_kubectl(),
                f"--kubeconfig={config}",
                f"--cache-dir={config.parent / 'kubectl-cache'}",
                f"--namespace={self.namespace}",
                *args,
            ],
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            env={**os.environ, **TRANSPORTS[transport]},
        ) as process:
            timer = threading.Timer(patience, process.kill)
            timer.start()
            try:
                yield process
            finally:
                timer.cancel()
                process.kill()

    @asynccontextmanager
    async def websocket(
        self, who: str, path: str
    ) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
        """Open a path below the namespace's pods as Headlamp's backend passes it on."""
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(PATIENCE)) as session,
            session.ws_connect(
                f"{self.serve.url}{self.pods}/{path}",
                protocols=HEADLAMP_PROTOCOLS,
                headers={
                    "Authorization": f"Bearer {self.issuer.token(who)}",
                    "Origin": "https://headlamp.example.com",
                },
                ssl=ssl.create_default_context(cafile=str(self.serve.ca_file)),
                max_msg_size=0,
            ) as socket,
        ):
            connection = socket._response.connection
            assert connection is not None
            assert connection.protocol is not None
            gone = connection.protocol.closed
            yield socket
        if gone is not None:  # TLS takes its leave after the session; the loop must outlive it
            async with asyncio.timeout(PATIENCE):
                await gone

    @property
    def pods(self) -> str:
        return f"/api/v1/namespaces/{self.namespace}/pods"

    def wait_logged(self, subresource: str, **fields: object) -> None:
        """Wait until a request of this namespace is logged with these fields."""
        self.serve.wait_until(
            lambda: any(
                line.get("namespace") == self.namespace
                and line.get("subresource") == subresource
                and line.items() >= fields.items()
                for line in self.serve.requests()
            ),
            f"logged with {fields}",
        )

    def wait_released(self) -> None:
        """Wait until the proxy holds nothing of any client, nor for one."""
        for sample in (
            'streams_open{kind="upgrade"}',
            'streams_open{kind="stream"}',
            "connections_open",
            'upstream_connections{state="active"}',
        ):
            self.serve.wait_until(lambda s=sample: self.serve.metric(s) == 0, f"0: {sample}")  # type: ignore[misc]

    def _config(self, who: str) -> Path:
        return self.serve.kubeconfig(who.partition("@")[0], self.issuer.token(who))


@contextmanager
def running(cluster: Cluster, node: Node, folder: Path) -> Iterator[Streams]:
    token_file = folder / "token"
    token_file.write_text(proxy_account(cluster, "streams", RIGHTS, []))
    for who, rules in RIGHTS.items():
        bind(cluster, who.replace("@", "-at-"), rules, {"kind": "User", "name": who})
    with (
        issuer_in_thread() as (issuer, _),
        Serve(
            folder,
            f"--oidc-issuer-url={issuer.url}",
            f"--oidc-client-id={issuer.client_id}",
            f"--oidc-ca-file={issuer.ca_file}",
            f"--upstream={cluster.url}",
            f"--upstream-ca-file={cluster.ca_file}",
            f"--upstream-token-file={token_file}",
            f"--record-sessions={folder / 'recordings'}",
        ) as serve,
    ):
        serve.wait_ready()
        yield Streams(cluster, node, issuer, serve)
