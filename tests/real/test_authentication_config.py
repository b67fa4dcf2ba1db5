"""The same file, given to kube-apiserver and to this proxy: the same users, the same refusals.

One AuthenticationConfiguration with an authenticator for each row below is handed to a real
kube-apiserver, unchanged, and to ``explain``. A token of each is put to kube-apiserver by
TokenReview.
"""

from __future__ import annotations

import base64
import json
import re
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from proxy.cli import main
from tests.issuer import DISCOVERY, FakeIssuer, answering, ec_key, rsa_key
from tests.process import free_port
from tests.real.cluster import Cluster
from tests.serving import issuer_in_thread

SUB: Final = {"username": {"claim": "sub", "prefix": ""}}
ALGORITHMS: Final = {
    "rs256": rsa_key(0),
    "es256": ec_key("P-256"),
    "es384": ec_key("P-384"),
    "es512": ec_key("P-521"),
}


@dataclass(frozen=True)
class Row:
    """What of an authenticator is not usual, and the claims of a token besides the usual."""

    authenticator: Mapping[str, Any]
    claims: Mapping[str, Any]
    alg: str | None = None


def mapped(*, rules: Any = (), user_rules: Any = (), **mappings: Any) -> dict[str, Any]:
    return {
        "claimMappings": SUB | mappings,
        "claimValidationRules": list(rules),
        "userValidationRules": list(user_rules),
    }


def by(expression: str) -> dict[str, str]:
    return {"expression": expression}


ROWS: Final[dict[str, Row]] = {
    "by claims": Row(
        mapped(
            username={"claim": "email", "prefix": "oidc:"},
            groups={"claim": "groups", "prefix": "g:"},
            uid={"claim": "sub"},
        ),
        {"groups": ["a", "b", "a", ""]},
    ),
    "by expressions": Row(
        mapped(
            username=by("claims.sub + '@' + claims.tailnet"),
            groups=by("claims.roles.split(',').map(r, 'role:' + r)"),
            uid=by("string(int(claims.nid))"),
            extra=[{"key": "example.org/nodes", "valueExpression": "[claims.node]"}],
        ),
        {"roles": "x,y"},
    ),
    "a native list": Row(mapped(groups=by("claims.roles.split(',')")), {"roles": "x,y"}),
    "a broken claim rule": Row(mapped(rules=[by("claims.hd == 'x'")]), {"hd": "y"}),
    "a broken user rule": Row(
        mapped(user_rules=[by("!user.username.startsWith('system:')")]), {"sub": "system:admin"}
    ),
    "a kept rule": Row(
        mapped(
            rules=[{"claim": "hd", "requiredValue": "x"}, by("claims.?hd.orValue('') == 'x'")],
            user_rules=[by("user.extra[?'a'].orValue([]).size() == 0")],
        ),
        {"hd": "x"},
    ),
    "email not verified": Row(
        mapped(username={"claim": "email", "prefix": ""}), {"email_verified": False}
    ),
    "a username that is missing": Row(mapped(username={"claim": "upn", "prefix": ""}), {}),
    "groups of a wrong type": Row(mapped(groups={"claim": "g", "prefix": ""}), {"g": 5}),
    "escaped names": Row(
        mapped(username=by("claims.kubernetes__dot__io.pod__dash__name")),
        {"kubernetes.io": {"pod-name": "p"}},
    ),
    "numbers": Row(mapped(username=by("string(claims.n)")), {"n": 12345678}),
    "an unknown audience": Row(mapped(), {"aud": "other"}),
    **{f"signed with {alg}": Row(mapped(), {}, alg=alg) for alg in ALGORITHMS},
    "signed with ps384": Row(mapped(), {}, alg="ps384"),
}


def path_of(name: str) -> str:
    return "/" + re.sub("[^a-z0-9]", "-", name)


@dataclass(frozen=True)
class Stage:
    cluster: Cluster
    issuer: FakeIssuer
    file: Path


@pytest.fixture(scope="module")
def stage(assets: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("authentication")
    file = folder / "authentication.json"
    with issuer_in_thread() as (issuer, _):
        issuer.keys = list(ALGORITHMS.values())
        for name in ROWS:
            document = issuer.discovery() | {"issuer": issuer.url + path_of(name)}
            issuer.overrides[path_of(name) + DISCOVERY] = answering(
                body=json.dumps(document).encode()
            )
        file.write_text(json.dumps(configuration(issuer)))
        (folder / "cluster").mkdir()
        flag = f"--authentication-config={file}"
        with Cluster.run(assets, folder / "cluster", flag) as cluster:
            yield Stage(cluster, issuer, file)


def configuration(issuer: FakeIssuer) -> dict[str, Any]:
    return {
        "apiVersion": "apiserver.config.k8s.io/v1",
        "kind": "AuthenticationConfiguration",
        "jwt": [
            {
                "issuer": {
                    "url": issuer.url + path_of(name),
                    "audiences": [issuer.client_id, "another"],
                    "audienceMatchPolicy": "MatchAny",
                    "certificateAuthority": issuer.ca_file.read_text(),
                },
                **row.authenticator,
            }
            for name, row in ROWS.items()
        ],
    }


def token_of(issuer: FakeIssuer, name: str) -> str:
    row = ROWS[name]
    claims = json.loads(json.dumps({"sub": "jane", "iss": issuer.url + path_of(name)}))
    key = ALGORITHMS["rs256" if row.alg in {None, "ps384"} else row.alg or ""]
    usual = json.loads(_payload(issuer.token(**(claims | dict(row.claims)))))
    return key.token(usual, alg="PS384" if row.alg == "ps384" else None)


def _payload(token: str) -> bytes:
    part = token.split(".")[1]
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def review(cluster: Cluster, token: str) -> dict[str, Any]:
    """Return kube-apiserver's user for a token, or {} for none."""
    body = {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenReview",
        "spec": {"token": token},
    }
    answer = cluster.kubectl("create", "--filename=-", "--output=json", stdin=json.dumps(body))
    status = json.loads(answer.stdout)["status"]
    return dict(status["user"]) if status.get("authenticated") else {}


def ours(
    stage: Stage, token: str, capsys: pytest.CaptureFixture[str], folder: Path
) -> dict[str, Any]:
    file = folder / "token"
    file.write_text(token)
    flags = [f"--authentication-config={stage.file}", "--oidc-clock-skew=0s", "--raw-identity"]
    main(["explain", f"--token-file={file}", *flags])
    said = json.loads(capsys.readouterr().out)
    return dict(said["user"] or {})


@pytest.mark.parametrize("name", ROWS)
def test_a_token_makes_the_same_user_as_at_kube_apiserver(
    stage: Stage, name: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    token = token_of(stage.issuer, name)
    theirs = review(stage.cluster, token)
    if theirs:
        # kube-apiserver adds this one after authentication, for every user.
        theirs["groups"] = [g for g in theirs["groups"] if g != "system:authenticated"]
    user = ours(stage, token, capsys, tmp_path)
    assert {name: value for name, value in user.items() if value} == {
        name: value for name, value in theirs.items() if value
    }


BAD: Final[dict[str, Any]] = {
    "several problems": {
        "issuer": {"url": "http://a", "audiences": []},
        "claimMappings": {"username": {"claim": "sub"}, "uid": by("foo")},
        "claimValidationRules": [by("claims.a"), {}],
    },
    "e-mail without a look": {
        "issuer": {"url": "https://a", "audiences": ["x"]},
        "claimMappings": {"username": by("claims.email")},
    },
    "an unknown field": {
        "issuer": {"url": "https://a", "audiences": ["x"], "Url": "https://b"},
        "claimMappings": SUB,
    },
}


@pytest.mark.parametrize("name", BAD)
def test_a_file_that_kube_apiserver_refuses_is_refused_in_its_words(
    assets: Path, name: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "authentication.json"
    document = {
        "apiVersion": "apiserver.config.k8s.io/v1",
        "kind": "AuthenticationConfiguration",
        "jwt": [BAD[name]],
    }
    file.write_text(json.dumps(document))
    theirs = refusal(assets, file, tmp_path)
    assert main(["check-config", f"--authentication-config={file}"]) == 2
    for problem in capsys.readouterr().err.split(f'--authentication-config "{file}" (flag): ')[1:]:
        assert problem.strip().replace("\\n", "\n") in theirs  # a problem is one line here


def refusal(assets: Path, file: Path, folder: Path) -> str:
    """Return what kube-apiserver says when it does not start; it has not asked etcd by then."""
    done = subprocess.run(
        [
            assets / "kube-apiserver",
            f"--authentication-config={file}",
            f"--etcd-servers=http://127.0.0.1:{free_port()}",
            f"--secure-port={free_port()}",
            f"--cert-dir={folder}",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={service_account_key(folder)}",
            f"--service-account-signing-key-file={service_account_key(folder)}",
        ],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode != 0
    if several_lines := re.search(r"err=<\n(.*?)\n >", done.stderr, re.DOTALL):
        return several_lines[1].replace("\n\t", "\n")
    (quoted,) = re.findall(r'err=("(?:[^"\\]|\\.)*")', done.stderr)
    return str(json.loads(quoted))


def service_account_key(folder: Path) -> Path:
    path = folder / "service-account.key"
    if not path.exists():
        path.write_bytes(
            rsa_key(1).private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        )
    return path
