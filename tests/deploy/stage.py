"""The program, an issuer and an API server for tests of what watches the program.

The API server is the scripted one; it also answers as the real one does where the proxy's account
may not impersonate somebody.
"""

from __future__ import annotations

import asyncio
import base64
import json
import time
from contextlib import ExitStack
from http import HTTPStatus
from pathlib import Path

from aiohttp import web

from tests.deploy.helm import CHART
from tests.issuer import JWKS, jwks_document
from tests.process import free_port
from tests.scripted_cluster import ScriptedCluster
from tests.scripted_server import Reply, Request
from tests.serving import Serve, issuer_in_thread

RULES = CHART / "files" / "rules.yaml"
FORBIDDEN = 'users "x" is forbidden: User "proxy" cannot impersonate resource "users"'


class Cluster(ScriptedCluster):
    """Answers as the API server does where the proxy's account may not impersonate somebody."""

    def answer(self, request: Request, reply: Reply) -> None:
        if request.path == "/forbidden":
            reply.document({"kind": "Status", "message": FORBIDDEN}, HTTPStatus.FORBIDDEN)
        else:
            super().answer(request, reply)


class LavishCluster(ScriptedCluster):
    """Says yes to whatever the proxy asks about its own account."""

    def answer(self, request: Request, reply: Reply) -> None:
        if request.path.endswith("/selfsubjectaccessreviews"):
            reply.document({**request.json(), "status": {"allowed": True}}, HTTPStatus.CREATED)
        elif request.path.endswith("/selfsubjectreviews") and not request.values(
            "Impersonate-User"
        ):
            user = {"username": "system:serviceaccount:headlamp:headlamp"}
            review = {**request.json(), "status": {"userInfo": user}}
            reply.document(review, HTTPStatus.CREATED)
        else:
            super().answer(request, reply)


class Stage:
    """Proxies and all that can go wrong with them: no issuer, no disk, too many rights."""

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        self.issuer, self._run = stack.enter_context(issuer_in_thread())
        self.cluster = stack.enter_context(Cluster(folder))
        self.token_file = folder / "token"
        self.write_token(expires_in=3600)
        for name in ("well", "lost", "deaf", "lavish", "lavish-api"):
            (folder / name).mkdir()
        self.well = stack.enter_context(self._serve(folder / "well", self.issuer.url))
        self.lost = stack.enter_context(
            self._serve(folder / "lost", f"https://localhost:{free_port()}")
        )
        deaf = self._serve(folder / "deaf", self.issuer.url)
        deaf.log = Path("/dev/full")
        self.deaf = stack.enter_context(deaf)
        generous = stack.enter_context(LavishCluster(folder / "lavish-api"))
        self.lavish = stack.enter_context(self._serve(folder / "lavish", self.issuer.url, generous))
        self.well.wait_ready()

    def _serve(self, folder: Path, issuer: str, cluster: ScriptedCluster | None = None) -> Serve:
        api = cluster or self.cluster
        return Serve(
            folder,
            f"--oidc-issuer-url={issuer}",
            f"--oidc-client-id={self.issuer.client_id}",
            f"--oidc-ca-file={self.issuer.ca_file}",
            f"--upstream={api.url}",
            f"--upstream-ca-file={api.ca_file}",
            f"--upstream-token-file={self.token_file}",
        )

    def write_token(self, expires_in: float) -> None:
        claims = json.dumps({"exp": int(time.time() + expires_in)}).encode()
        body = base64.urlsafe_b64encode(claims).rstrip(b"=").decode()
        self.token_file.write_text(f"e30.{body}.c2ln")

    def slow_rotation(self) -> None:
        """Have the issuer sign with another key, and take a while to publish it."""
        self.issuer.rotate()
        keys = jwks_document(*self.issuer.keys)

        async def slowly(_: web.Request) -> web.StreamResponse:
            await asyncio.sleep(0.3)
            return web.Response(body=keys)

        self.issuer.overrides[JWKS] = slowly

    def ask(self, path: str = "/version", token: str | None = None, **headers: str) -> int:
        return self.well.get(path, token or self.issuer.token(), headers)[0]


def targets(**proxies: Serve) -> dict[str, str]:
    return {name: f"127.0.0.1:{proxy.admin_port}" for name, proxy in proxies.items()}


def filled_in(query: str) -> str:
    """The query with Grafana's variables as Grafana would fill them in."""
    for name, value in {
        "$__rate_interval": "5s",
        "$__range": "1m",
        "$namespace": ".*",
        "$pod": ".*",
    }.items():
        query = query.replace(name, value)
    return query
