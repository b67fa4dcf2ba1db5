"""What can go wrong around a running proxy: its issuer, the API server, files, the machine.

The proxy is the real program in a process of its own. The API server is scripted at a socket
where a fault cannot be had from the real one (`tests/real/test_faults.py` has the rest), and a
``Cable`` lies between the two.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest

from proxy.reviews.client import USER_AGENT
from tests.cable import Cable
from tests.issuer import FakeIssuer, jwks_document, rsa_key, tsidp_claims
from tests.scripted_server import Reply, Request, ScriptedServer
from tests.serving import Run, Serve, issuer_in_thread

ISSUER = "https://idp.tail1234.ts.net"


class Api(ScriptedServer):
    """Says who it saw; ``?watch=true`` is a feed of the test's, ``?then=reset`` half an answer."""

    def remember(self, request: Request) -> None:
        """Leave out what the proxy asks about itself, whenever it likes."""
        if request.values("User-Agent") != [USER_AGENT]:
            super().remember(request)

    def answer(self, request: Request, reply: Reply) -> None:
        if request.values("User-Agent") == [USER_AGENT]:
            reply.document({}, HTTPStatus.NOT_FOUND)
        elif request.query.get("watch") == ["true"]:
            reply.stream(self.open_feed(), "application/json")
        elif request.query.get("then") == ["reset"]:
            reply.writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf of it")
            raise ConnectionResetError
        else:
            reply.document({"user": _only(request, "Impersonate-User"),
                            "bearer": _only(request, "Authorization")})  # fmt: skip


def _only(request: Request, name: str) -> str:
    (value,) = request.values(name)
    return value


@dataclass
class Stage:
    """The API server, the cable to it, and the files and flags of a proxy that is to use both."""

    folder: Path
    api: Api
    cable: Cable
    flags: list[str]

    @property
    def token_file(self) -> Path:
        return self.folder / "upstream-token"

    @property
    def ca_file(self) -> Path:
        return self.folder / "upstream-ca.crt"

    def serve(self, *flags: str, **options: Any) -> Serve:
        return Serve(self.folder, *self.flags, *flags, **options)


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    """A stage whose proxy has its keys from a file: no issuer needs to run."""
    jwks = tmp_path / "jwks.json"
    jwks.write_bytes(jwks_document(rsa_key()))
    with Api(tmp_path) as api, Cable.run(int(api.url.rpartition(":")[2])) as cable:
        made = Stage(tmp_path, api, cable, [])
        made.flags = [
            f"--oidc-issuer-url={ISSUER}",
            f"--oidc-client-id={tsidp_claims(ISSUER)['aud']}",
            f"--oidc-jwks-file={jwks}",
            *upstream_flags(made),
        ]
        yield made


@dataclass
class IssuerStage:
    """A stage whose proxy has its keys from an issuer."""

    stage: Stage
    issuer: FakeIssuer
    run: Run

    def serve(self, *flags: str) -> Serve:
        issuer = self.issuer
        return Serve(
            self.stage.folder,
            f"--oidc-issuer-url={issuer.url}",
            f"--oidc-client-id={issuer.client_id}",
            f"--oidc-ca-file={issuer.ca_file}",
            *upstream_flags(self.stage),
            *flags,
        )


@pytest.fixture
def with_issuer(stage: Stage) -> Iterator[IssuerStage]:
    with issuer_in_thread() as (issuer, run):
        yield IssuerStage(stage, issuer, run)


def upstream_flags(stage: Stage) -> list[str]:
    stage.token_file.write_text("the-proxys-own-token")
    stage.ca_file.write_bytes(stage.api.ca_file.read_bytes())
    return [
        f"--upstream=https://127.0.0.1:{stage.cable.port}",
        f"--upstream-ca-file={stage.ca_file}",
        f"--upstream-token-file={stage.token_file}",
    ]


def token(user: str = "alice@example.com", *, age: float = 0, **claims: object) -> str:
    return rsa_key().token(tsidp_claims(ISSUER, user, now=time.time() - age) | claims)


def reason(answer: tuple[int, dict[str, Any]]) -> tuple[int, str]:
    """The status of a refusal and the proxy's word for it."""
    status, body = answer
    causes = body.get("details", {}).get("causes", [{"reason": ""}])
    return status, causes[0]["reason"]
