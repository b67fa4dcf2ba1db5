"""The stand-in for Headlamp's backend, in the pod that README describes, and a browser.

The program (tests/headlamp) says what it stands for, and that Headlamp itself was not run. It finds
its API server in the environment and what it trusts where a service account would be: both are
those that README gives Headlamp's container.
"""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import Iterator, Mapping
from contextlib import AbstractAsyncContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self
from urllib.parse import urlsplit

import aiohttp
from yarl import URL

from tests import leaks
from tests.process import Process
from tests.real.cluster import Cluster
from tests.real.fixed_path import with_folder_at
from tests.real.programs import require
from tests.real.provider import trusting
from tests.real.tailnet import Client, Reply
from tests.serving import Serve

SERVICE_ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"
WATCH_PROTOCOL = "base64.binary.k8s.io"
EXEC_PROTOCOLS = (
    *(WATCH_PROTOCOL, "v4.channel.k8s.io", "v3.channel.k8s.io"),
    *("v2.channel.k8s.io", "channel.k8s.io"),
)
START_TIMEOUT = 20.0  # seconds
STOP_GRACE = 5.0  # seconds


@dataclass(frozen=True)
class SignIn:
    """What Headlamp and the proxy are told of an issuer, whose client Headlamp is."""

    issuer_url: str
    ca_file: Path
    client: Client


class Proxied(Protocol):
    """What Headlamp is told of its API server: the proxy's address and CA, as a rule."""

    url: str
    ca_file: Path


class Headlamp:
    """A running backend; it knows the proxy by address and CA alone."""

    def __init__(self, folder: Path, port: int, sign_in: SignIn, serve: Proxied) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.client = sign_in.client
        self.log = folder / "headlamp.log"
        self._port = port
        self._serve = serve
        self._process: Process | None = None
        self._flags = (
            f"-port={port}",
            "-listen-addr=127.0.0.1",
            f"-oidc-idp-issuer-url={sign_in.issuer_url}",
            f"-oidc-ca-file={sign_in.ca_file}",
            f"-oidc-client-id={sign_in.client.id}",
            f"-oidc-client-secret={sign_in.client.secret}",
            f"-oidc-callback-url={callback_url(port)}",
        )

    def __enter__(self) -> Headlamp:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        address = urlsplit(self._serve.url)
        program = require("headlamp") / "headlamp-stand-in"
        self._process = Process(
            with_folder_at(SERVICE_ACCOUNT, self._serve.ca_file.parent, program, *self._flags),
            self.log,
            env={
                "KUBERNETES_SERVICE_HOST": str(address.hostname),
                "KUBERNETES_SERVICE_PORT": str(address.port),
            },
        )
        self._process.wait_until(self._listens, "listening", START_TIMEOUT)

    def stop(self) -> None:
        if self._process is not None:
            self._process.stop(STOP_GRACE)
            self._process = None

    def restart(self) -> None:
        self.stop()
        self.start()

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self._port)) == 0


def callback_url(port: int) -> str:
    return f"http://127.0.0.1:{port}/oidc-callback"


@contextmanager
def dashboard(
    folder: Path, cluster: Cluster, token: str, sign_in: SignIn, port: int, *flags: str
) -> Iterator[tuple[Serve, Headlamp]]:
    """A proxy with these flags besides, and Headlamp on this port, as containers of one pod."""
    token_file = folder / "token"
    token_file.write_text(token)
    trust = trusting(cluster, token_file, sign_in.issuer_url, sign_in.client.id, sign_in.ca_file)
    with Serve(folder, *trust, *flags) as serve:
        serve.wait_ready()
        with Headlamp(folder, port, sign_in, serve) as headlamp:
            yield serve, headlamp


class Browser:
    """Somebody's browser: its cookies, and how the issuer knows who it is.

    tsidp knows it by the device, which tailscaled names in a header; the demo's issuer by a choice
    on its page, which is a parameter. ``headers`` go everywhere, ``query`` goes to the issuer.
    """

    def __init__(
        self,
        headlamp: Headlamp,
        issuer_ca: Path,
        *,
        headers: Mapping[str, str] | None = None,
        query: Mapping[str, str] | None = None,
    ) -> None:
        self._headlamp = headlamp
        self._issuer_ca = issuer_ca
        self._headers = {"Origin": headlamp.url, "User-Agent": "Mozilla/5.0", **(headers or {})}
        self._query = dict(query or {})

    async def __aenter__(self) -> Self:
        tls = ssl.create_default_context(cafile=str(self._issuer_ca))
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=tls),
            cookie_jar=aiohttp.CookieJar(unsafe=True),  # unsafe: also those of an IP address
            headers=self._headers,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def sign_in(self) -> Reply:
        """Go from Headlamp to the issuer and back; return the last answer, as Headlamp gave it."""
        answer = await self.ask("GET", f"{self._headlamp.url}/oidc?cluster=main")
        asked = URL(answer.headers["Location"], encoded=True)
        answer = await self.ask("GET", str(asked.update_query(self._query)))
        if answer.status != 302:
            return answer
        return await self.ask("GET", answer.headers["Location"])

    def token(self) -> str:
        """The ID token that the cookies hold."""
        url = URL(f"{self._headlamp.url}/clusters/main/")
        cookies = self._session.cookie_jar.filter_cookies(url)
        return "".join(cookie.value for _, cookie in sorted(cookies.items()))

    async def request(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> Reply:
        """Ask the API server through Headlamp."""
        url = f"{self._headlamp.url}/clusters/main{path}"
        return await self.ask(method, url, body, headers)

    async def ask(
        self, method: str, url: str, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> Reply:
        async with self._session.request(
            method, URL(url, encoded=True), json=body, headers=headers, allow_redirects=False
        ) as answer:
            leaks.hand_out(*(cookie.value for cookie in answer.cookies.values()))
            leaks.hand_out_token(self.token())
            return Reply(answer.status, dict(answer.headers), await answer.text())

    async def whoami(self) -> tuple[str, list[str]]:
        """The user and groups that the API server sees. Raises AssertionError if it sees none."""
        review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
        answer = await self.request(
            "POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", review
        )
        assert answer.status == 201, answer
        user = json.loads(answer.text)["status"]["userInfo"]
        return user["username"], user["groups"]

    def websocket(
        self, path: str, *protocols: str
    ) -> AbstractAsyncContextManager[aiohttp.ClientWebSocketResponse]:
        """Open a WebSocket as the frontend does; browsers offer compression and send an Origin."""
        url = f"{self._headlamp.url}/clusters/main{path}"
        return self._session.ws_connect(URL(url, encoded=True), protocols=protocols, compress=15)


async def event(socket: aiohttp.ClientWebSocketResponse) -> dict[str, Any]:
    """The next event of a watch, which is plain JSON, whatever the name of the protocol says."""
    return dict(await socket.receive_json(timeout=10))
