"""A proxy's account and a user on the real API server, for doctor to look at; one scene a test.

Everything of a scene has a name of its own, for the cluster is shared. ``paste`` does with a mend
what an operator would: it goes into a shell as it is, with an administrator's kubeconfig.
"""

from __future__ import annotations

import json
import os
import secrets
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import pytest

from proxy.cli import main
from proxy.reviews.privileges import CANARY
from proxy.tools.deploy.rbac import NAME
from tests.issuer import CLIENT_ID, jwks_document, rsa_key, tsidp_claims
from tests.process import free_port
from tests.real.cluster import Cluster
from tests.real.granting import ISSUER, OWN_GROUP

RBAC = "rbac.authorization.k8s.io"
Object = dict[str, Any]
Rule = dict[str, list[str]]


def impersonating(users: list[str], groups: list[str], verb: str = "impersonate") -> list[Rule]:
    group = "" if verb == "impersonate" else "authentication.k8s.io"
    return [
        {"apiGroups": [group], "resources": ["users"], "verbs": [verb], "resourceNames": users},
        {"apiGroups": [group], "resources": ["groups"], "verbs": [verb], "resourceNames": groups},
    ]


@dataclass
class Scene:
    """``flags`` are what doctor is given, by name; without a value, a flag is left out."""

    cluster: Cluster
    folder: Path
    name: str  # of the namespace, and of what is in no namespace
    capsys: pytest.CaptureFixture[str]
    flags: dict[str, str | None] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.user = f"{self.name.removeprefix('test-')}-amelia@example.com"
        self.group = f"{self.name.removeprefix('test-')}-readers"
        self.token_file = self.folder / "token"
        jwks = self.folder / "jwks.json"
        jwks.write_bytes(jwks_document(rsa_key()))
        self.flags |= {
            "oidc-issuer-url": ISSUER,
            "oidc-client-id": CLIENT_ID,
            "oidc-jwks-file": str(jwks),
            "listen": f"127.0.0.1:{free_port()}",
            "admin-listen": f"127.0.0.1:{free_port()}",
            "upstream": self.cluster.url,
            "upstream-ca-file": str(self.cluster.ca_file),
            "upstream-token-file": str(self.token_file),
        }

    @property
    def account(self) -> str:
        return f"system:serviceaccount:{self.name}:proxy"

    def make(self) -> None:
        """Make the account as it should be: it may impersonate these two, and do nothing else."""
        self.kubectl("create", "serviceaccount", "proxy")
        self.role(impersonating([CANARY, self.user], [OWN_GROUP, self.group]))
        self.bind(self.proxy())
        self.token_file.write_text(self.cluster.service_account_token(self.name, "proxy"))

    # --- The cluster ---

    def kubectl(self, *args: str) -> str:
        return self.cluster.kubectl("-n", self.name, *args).stdout

    def apply(self, *objects: Object) -> None:
        for document in objects:
            self.cluster.apply(json.dumps(document))

    def role(self, rules: list[Rule], name: str = "") -> None:
        self.apply(
            {
                "apiVersion": f"{RBAC}/v1",
                "kind": "ClusterRole",
                "metadata": {"name": name or self.name},
                "rules": rules,
            }
        )

    def proxy(self, name: str = "proxy") -> Object:
        return {"kind": "ServiceAccount", "name": name, "namespace": self.name}

    def bind(self, *subjects: Object, role: str = "", name: str = "", namespace: str = "") -> None:
        metadata = {"name": name or self.name} | ({"namespace": namespace} if namespace else {})
        self.apply(
            {
                "apiVersion": f"{RBAC}/v1",
                "kind": "RoleBinding" if namespace else "ClusterRoleBinding",
                "metadata": metadata,
                "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": role or self.name},
                "subjects": list(subjects),
            }
        )

    def unbind(self) -> None:
        self.cluster.kubectl("delete", "clusterrolebinding", self.name)

    # --- Doctor ---

    def user_token(self, **claims: Any) -> Path:
        """Write a token of the user's; return its file."""
        path = self.folder / "user-token"
        of_user = {"email": self.user, "groups": [self.group]} | claims
        path.write_text(rsa_key().token(tsidp_claims(ISSUER) | of_user))
        return path

    def kubeconfig(self, user: dict[str, str], **cluster: Any) -> Path:
        """Write a kubeconfig of the proxy's, and have doctor use it."""
        path = self.folder / "kubeconfig"
        of_cluster = {
            "server": self.cluster.url,
            "certificate-authority": str(self.cluster.ca_file),
        }
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "c",
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
            "clusters": [{"name": "c", "cluster": of_cluster | cluster}],
            "users": [{"name": "u", "user": user}],
        }
        path.write_text(json.dumps(document))
        for flag in ("upstream", "upstream-ca-file", "upstream-token-file"):
            self.flags[flag] = None
        self.flags["kubeconfig"] = str(path)
        return path

    def doctor(self, *more: str) -> tuple[int, Object]:
        """Run doctor; return its exit status and what it printed."""
        flags = [f"--{name}={value}" for name, value in self.flags.items() if value is not None]
        self.capsys.readouterr()
        status = main(["doctor", "-o=json", *flags, *self.asked, *more])
        shown = self.capsys.readouterr()
        assert "Traceback" not in shown.err
        secret = self.token_file.read_text().strip() if self.token_file.is_file() else ""
        assert len(secret) < 40 or secret not in shown.out + shown.err
        printed: Object = json.loads(shown.out)
        return status, printed

    def trust(self, number: int, *more: str) -> Object:
        found: Object
        (found,) = [t for t in self.doctor(*more)[1]["trusts"] if t["id"] == number]
        return found

    def paste(self, mend: str) -> None:
        """Paste a mend as it is, but for the role's name, which others of the cluster have too."""
        mend = mend.replace(NAME, f"{self.name}-mended")
        env = os.environ | {"KUBECONFIG": str(self.cluster.admin_kubeconfig)}
        run = subprocess.run(
            ["bash", "-ec", mend], env=env, cwd=self.folder, capture_output=True, text=True
        )
        assert run.returncode == 0, f"{mend}\n{run.stdout}\n{run.stderr}"


Wrong = Callable[[Scene], Any]


@dataclass(frozen=True)
class Row:
    """``wrong`` breaks it; ``mended``: the mend, pasted, makes it well."""

    name: str
    cause: str
    saw: str
    mend: str
    wrong: Wrong
    mended: bool = False


def each(*wrongs: Wrong) -> Wrong:
    """Break one thing after the other."""

    def wrong(scene: Scene) -> None:
        for one in wrongs:
            one(scene)

    return wrong


def flags(**changes: str | None) -> Wrong:
    """Give doctor other flags; without a value, a flag is left out."""

    def wrong(scene: Scene) -> None:
        scene.flags |= {name.replace("_", "-"): value for name, value in changes.items()}

    return wrong


def user(name: str) -> Object:
    return {"apiGroup": RBAC, "kind": "User", "name": name}


def group(name: str) -> Object:
    return {"apiGroup": RBAC, "kind": "Group", "name": name}


class Expected(Protocol):
    """What is looked at of a row."""

    @property
    def cause(self) -> str: ...
    @property
    def saw(self) -> str: ...
    @property
    def mend(self) -> str: ...
    @property
    def mended(self) -> bool: ...


def hold(scene: Scene, trust: int, row: Expected, status: str = "failed") -> None:
    """Hold what doctor says of a trust against a row, and its mend against the trust."""
    found = scene.trust(trust)
    assert (found["status"], found["cause"]) == (status, row.cause), found
    assert row.saw in found["saw"]
    assert row.mend in found["mend"]
    if row.mended:
        scene.paste(found["mend"])
        assert scene.trust(trust)["status"] == "ok"


def scene_of(cluster: Cluster, folder: Path, capsys: pytest.CaptureFixture[str]) -> Scene:
    name = f"test-{secrets.token_hex(4)}"
    cluster.kubectl("create", "namespace", name)
    scene = Scene(cluster, folder, name, capsys)
    scene.make()
    return scene
