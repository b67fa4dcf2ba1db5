"""The whoami page behind Headlamp's stand-in, a real kube-apiserver, and people of every fate.

Tokens are minted (the proxy has the issuer's keys from a file) and put where Headlamp keeps them,
in its cookie; so each is of exactly the kind that a test wants.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.issuer import rsa_key, tsidp_claims
from tests.process import free_port
from tests.real.account import bind, proxy_account
from tests.real.cluster import Cluster
from tests.real.granting import ISSUER, issuer_flags
from tests.real.headlamp import Headlamp, SignIn
from tests.real.tailnet import Client
from tests.serving import Serve

PATH = "/.auth-proxy/whoami"
ALICE, BOB, NEWCOMER, MALLORY = (
    f"{name}@shop.example" for name in ("alice", "bob", "newcomer", "mallory")
)
ONLY_ASKED_ONCE = "judy@shop.example"  # so that nobody else's audit event is taken for theirs
ERIN = "erin@shop.example"  # whom the proxy's account may not impersonate
HOSTILE = '"><script>document.title="owned"</script>@example.com'
TEAM, HOSTILE_TEAM = "platform-team", "<img src=x onerror=\"document.title='owned'\">"
DROPPED = "all-of-the-company"


def token(email: str | None = ALICE, *groups: str, **claims: Any) -> str:
    """A token of the trusted issuer, as tsidp would write it but for ``claims``."""
    return rsa_key().token(tsidp_claims(ISSUER, email, list(groups)) | claims)


@dataclass
class Stage:
    cluster: Cluster
    serve: Serve
    headlamp: Headlamp

    @property
    def url(self) -> str:
        """The address of the page in a browser."""
        return f"{self.headlamp.url}/clusters/main{PATH}"

    def refuse_alice_something(self) -> None:
        """Have RBAC refuse alice what she will then read about."""
        for path in (
            "/api/v1/nodes",
            "/apis/apps/v1/namespaces/shop/deployments/web/scale",
            "/api/v1/namespaces/shop/secrets",
        ):
            assert self.serve.get(path, token(ALICE, TEAM))[0] == 403


@contextmanager
def staged(cluster: Cluster, folder: Path, namespace: str, *flags: str) -> Iterator[Stage]:
    """The whole; the proxy's account is in a namespace of this name."""
    people = [ALICE, BOB, NEWCOMER, MALLORY, HOSTILE, ONLY_ASKED_ONCE]
    account = proxy_account(cluster, namespace, people, [TEAM, HOSTILE_TEAM])
    (folder / "token").write_text(account)
    deny = folder / "deny.yaml"
    deny.write_text(yaml.safe_dump({"users": [MALLORY]}))
    cluster.kubectl("create", "namespace", "shop", check=False)
    reading = {
        "apiGroups": ["", "apps"],
        "resources": ["pods", "services", "configmaps", "deployments"],
        "verbs": ["get", "list", "watch"],
    }
    editing = {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["create", "update"]}
    bind(cluster, f"{namespace}-alice", [reading], {"kind": "User", "name": ALICE})
    bind(cluster, f"{namespace}-team", [editing], {"kind": "Group", "name": TEAM})
    with Serve(
        folder,
        *issuer_flags(folder),
        f"--upstream={cluster.url}",
        f"--upstream-ca-file={cluster.ca_file}",
        f"--upstream-token-file={folder / 'token'}",
        f"--deny-file={deny}",
        f"--groups-allow={TEAM}",
        "--groups-allow=<*",
        *flags,
    ) as serve:
        serve.wait_ready()
        nowhere = SignIn("https://127.0.0.1:9", serve.ca_file, Client("headlamp", "unused", ""))
        with Headlamp(folder, free_port(), nowhere, serve) as headlamp:
            yield Stage(cluster, serve, headlamp)


def scenes() -> Mapping[str, str | None]:
    """A token for each state that the page has, by the name of the state; None: no token."""
    now = int(time.time())
    return {
        "let-in": token(ALICE, TEAM, DROPPED),
        "nothing-beyond-discovery": token(BOB),
        "cannot-be-impersonated": token(ERIN),
        "expired": token(ALICE, TEAM, iat=now - 3900, nbf=now - 3900, exp=now - 3600),
        "wrong-audience": token(ALICE, TEAM, aud="grafana"),
        "no-email": token(None),
        "denied": token(MALLORY),
        "no-token": None,
        "hostile": token(HOSTILE, HOSTILE_TEAM),
    }
