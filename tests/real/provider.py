"""An issuer as a client and a browser in one see it, whichever of them it is.

Both generations of tsidp are spoken to in the same words; they differ in how they know whose
browser it is.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl, urlencode, urlsplit

from proxy.tools.demo.issuer import protocol
from proxy.tools.demo.issuer.server import Issuer
from proxy.tools.demo.listening import HOST, make_certificates, serving
from tests.process import free_port
from tests.real.cluster import Cluster
from tests.real.tailnet import Client, Reply, ask
from tests.serving import loop_in_thread

NONCE = "n-0S6_WzA2Mj"
SCOPE = "openid email profile"


@dataclass
class Provider:
    """An issuer, a client of it, and how a person's browser is known there."""

    url: str
    ca_file: Path
    client: Client
    headers: Mapping[str, str]
    query: Mapping[str, str]

    def get(self, path: str, **headers: str) -> Reply:
        return ask(self.url, self.ca_file, "GET", path, headers=headers)

    def authorize(self, **changes: str | None) -> Reply:
        usual = {
            "client_id": self.client.id,
            "redirect_uri": self.client.redirect_uri,
            "response_type": "code",
            "scope": SCOPE,
            "state": "s",
            "nonce": NONCE,
            **self.query,
        }
        return self.get(f"/authorize?{urlencode(changed(usual, changes))}", **self.headers)

    def code(self, **changes: str | None) -> str:
        location = self.authorize(**changes).headers["Location"]
        return dict(parse_qsl(urlsplit(location).query))["code"]

    def token(self, **changes: str | None) -> Reply:
        usual = {
            "grant_type": "authorization_code",
            "code": self.code(),
            "redirect_uri": self.client.redirect_uri,
            "client_id": self.client.id,
            "client_secret": self.client.secret,
        }
        return ask(self.url, self.ca_file, "POST", "/token", changed(usual, changes))

    def id_token(self) -> str:
        return str(json.loads(self.token().text)["id_token"])


def changed(usual: Mapping[str, str], changes: Mapping[str, str | None]) -> dict[str, str]:
    return {name: value for name, value in {**usual, **changes}.items() if value is not None}


@contextmanager
def demo_provider(folder: Path, redirect_uri: str, person: str = "alice") -> Iterator[Provider]:
    """The demo's issuer, which plays the newer tsidp (see proxy/tools/demo/issuer)."""
    port = free_port()
    client = Client("4f1c0d9be27a4c5f8a36b1d2e3f40516", "5e" * 32, redirect_uri)
    registered = protocol.Client(client.id, client.secret, (redirect_uri,))
    issuer = Issuer(f"https://{HOST}:{port}", registered)
    ca_file = make_certificates(folder)
    with loop_in_thread() as run, run.entered(serving(issuer.app(), port, folder)):
        yield Provider(issuer.url, ca_file, client, {}, {"user": person})


def trusting(
    cluster: Cluster, token_file: Path, issuer_url: str, client_id: str, ca_file: Path
) -> tuple[str, ...]:
    """The flags of a proxy between this issuer and this cluster."""
    return (
        f"--oidc-issuer-url={issuer_url}",
        f"--oidc-client-id={client_id}",
        f"--oidc-ca-file={ca_file}",
        f"--upstream={cluster.url}",
        f"--upstream-ca-file={cluster.ca_file}",
        f"--upstream-token-file={token_file}",
    )
