"""What doctor is let loose on: an issuer, a Headlamp, and whatever is wrong with them.

The issuer is the demo's, which is shaped like the newer tsidp; any path of it can be given another
answer. Of Headlamp, what doctor asks is faked: ``/config``, the redirect of ``/oidc`` and its
errors, in the words of go-oidc, the end of a login, and the answer of whatever stands behind
``/clusters/main``. Both are on real sockets with real TLS. The resolver is ours: it knows the names
that a test gives it, so no question leaves the machine.
"""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import trustme
from aiohttp import web

from proxy.cli import main
from proxy.tools.demo.issuer.protocol import Client
from proxy.tools.demo.issuer.server import Issuer
from tests import leaks
from tests.process import free_port
from tests.serving import Run

CLIENT_ID = "4f1c0d9be27a4c5f8a36b1d2e3f40516"
SECRET = "5e" * 32
LOGIN_CALLBACK = "http://localhost:8000"

leaks.hand_out(SECRET)

Handler = Callable[[web.Request], Any]


@dataclass
class Site:
    """Something on a port of loopback; ``overrides`` are answers for paths of it."""

    name: str
    port: int
    context: ssl.SSLContext | None
    path: str = ""
    overrides: dict[str, Handler] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"{'https' if self.context else 'http'}://{self.name}:{self.port}{self.path}"

    @web.middleware
    async def overriding(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        override = self.overrides.get(request.path)
        answer: web.StreamResponse = await (override or handler)(request)
        return answer


@dataclass
class Stage:
    """Everything as it should be, before a test breaks one thing."""

    run: Run
    folder: Path
    issuer: Issuer
    at: Site
    headlamp: Site
    authority: trustme.CA
    names: dict[str, str]
    stack: contextlib.ExitStack  # what a test has put up besides
    asks: dict[str, str] = field(default_factory=dict)  # changes of what Headlamp asks
    discovery: dict[str, Any] = field(default_factory=dict)  # changes of the issuer's document
    flags: dict[str, str | None] = field(default_factory=dict)  # changes of the command line
    registered: tuple[str, ...] | None = None  # the client's callbacks, where not the right ones

    @property
    def ca_file(self) -> Path:
        return self.folder / "ca.crt"

    def argv(self) -> list[str]:
        usual = {
            "--oidc-issuer-url": self.at.url,
            "--oidc-client-id": CLIENT_ID,
            "--oidc-ca-file": str(self.ca_file),
            "--headlamp-url": self.headlamp.url,
            "--headlamp-ca-file": str(self.ca_file),
        }
        changed = usual | self.flags
        return [f"{flag}={value}" for flag, value in changed.items() if value is not None]

    def asked(self) -> Mapping[str, str]:
        usual = {
            "client_id": CLIENT_ID,
            "redirect_uri": f"{self.headlamp.url}/oidc-callback",
            "response_type": "code",
            "scope": "openid profile email",
            "state": "state-of-headlamp",
        }
        return usual | self.asks


class Doctor:
    """Runs the command and keeps what it said."""

    def __init__(self, stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
        self.stage, self._capsys = stage, capsys
        self.status = -1
        self.err = ""
        self.ok = False
        self.trusts: dict[int, dict[str, Any]] = {}

    def run(self, *arguments: str) -> None:
        self.status = main(["doctor", "-o", "json", *self.stage.argv(), *arguments])
        out, self.err = self._capsys.readouterr()
        account = json.loads(out)
        self.ok = account["ok"]
        self.trusts = {trust["id"]: trust for trust in account["trusts"]}

    def text(self, *arguments: str) -> str:
        self.status = main(["doctor", *self.stage.argv(), *arguments])
        out, self.err = self._capsys.readouterr()
        return out


def headlamp_app(stage: Stage) -> web.Application:
    app = web.Application(middlewares=[stage.headlamp.overriding])

    async def config(_: web.Request) -> web.Response:
        return web.json_response({"clusters": [{"name": "main", "auth_type": "oidc"}]})

    async def oidc(request: web.Request) -> web.Response:
        assert request.query["cluster"] == "main"
        where = f"{stage.at.url}/authorize?{urlencode(stage.asked())}"
        return web.Response(status=302, headers={"Location": where})

    async def callback(request: web.Request) -> web.Response:
        """What Headlamp says to a code that nobody gave, in the words of golang.org/x/oauth2."""
        assert request.query["state"] == stage.asked()["state"]
        text = 'Failed to exchange token: oauth2: "invalid_grant" "code not found"'
        return web.Response(status=500, text=text)

    async def clusters(_: web.Request) -> web.Response:
        causes = [{"reason": "token_missing", "message": "No bearer token was sent."}]
        return web.json_response({"kind": "Status", "details": {"causes": causes}}, status=401)

    path = stage.headlamp.path
    app.router.add_get(f"{path}/config", config)
    app.router.add_get(f"{path}/oidc", oidc)
    app.router.add_get(f"{path}/oidc-callback", callback)
    app.router.add_get(f"{path}/clusters/main/api", clusters)
    return app


def issuer_app(stage: Stage) -> web.Application:
    app = stage.issuer.app()
    app.middlewares.append(stage.at.overriding)

    async def document(request: web.Request) -> web.Response:
        answer = await stage.issuer._discovery(request)
        members = json.loads(answer.body) | stage.discovery  # type: ignore[arg-type]
        return web.json_response(members)

    stage.at.overrides.setdefault("/.well-known/openid-configuration", document)
    return app


@contextlib.contextmanager
def served(run: Run, app: web.Application, site: Site) -> Iterator[None]:
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    run(runner.setup())
    try:
        run(web.TCPSite(runner, "127.0.0.1", site.port, ssl_context=site.context).start())
        yield
    finally:
        run(runner.cleanup())


@contextlib.contextmanager
def whole(stage: Stage) -> Iterator[None]:
    """Serve both as they are now."""
    stage.issuer.url = stage.at.url
    usual = (f"{stage.headlamp.url}/oidc-callback", LOGIN_CALLBACK)
    callbacks = usual if stage.registered is None else stage.registered
    stage.issuer.client = stage.issuer._sessions._client = Client(CLIENT_ID, SECRET, callbacks)
    with contextlib.ExitStack() as stack:
        for app, site in (
            (issuer_app(stage), stage.at),
            (headlamp_app(stage), stage.headlamp),
        ):
            stack.enter_context(served(stage.run, app, site))
        yield


def context_of(certificate: trustme.LeafCert) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    return context


def resolver(names: Mapping[str, str]) -> Callable[..., Any]:
    """A resolver that knows localhost, addresses, and these names."""
    real = socket.getaddrinfo

    def look_up(host: Any, port: Any, *args: Any, **kwargs: Any) -> Any:
        name = (host.decode() if isinstance(host, bytes) else host or "localhost").lower()
        if name in names:
            return real(names[name], port, *args, **kwargs)
        if name == "localhost" or name.replace(".", "").isdigit() or ":" in name:
            return real(host, port, *args, **kwargs)
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    return look_up


def site(authority: trustme.CA, name: str = "localhost") -> Site:
    return Site(name, free_port(), context_of(authority.issue_cert(name)))
