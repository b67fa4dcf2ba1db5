"""kube-apiserver's own cases (oidc_test.go), through ``explain``: the same token, the same user.

``tests/authn/vectors/kube_oidc_token_cases.json`` says of itself how it is to be read. A case runs
through our flags where kube-apiserver's can express it, and through a file unless what it shows is
the choice of algorithms, which no file can make. The program runs in this process; the issuer is
real, and on loopback.
"""

from __future__ import annotations

import asyncio
import copy
import io
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import pytest
from aiohttp import web

from proxy.cli import main
from tests.issuer import DISCOVERY, FakeIssuer, SigningKey, answering, ec_key, rsa_key
from tests.serving import issuer_in_thread

Case = Mapping[str, Any]

VECTORS: Final = Path(__file__).parents[1] / "authn" / "vectors" / "kube_oidc_token_cases.json"
DOCUMENT: Final = json.loads(VECTORS.read_text())
CASES: Final[list[Case]] = [c for c in DOCUMENT["cases"] if not c.get("not_runnable")]
BY_FLAGS: Final = [case for case in CASES if case["config_flags"]]
BY_FILE: Final = [case for case in CASES if "signing_alg" not in case["uses"]]


@dataclass(frozen=True)
class Answer:
    """What the program said, and how it ended."""

    status: int
    said: Mapping[str, Any]


Explain = Callable[..., Answer]


@pytest.fixture(scope="module")
def issuer() -> Iterator[FakeIssuer]:
    with issuer_in_thread() as (issuer, _):
        yield issuer


@pytest.fixture
def explain(
    issuer: FakeIssuer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Explain:
    def run(case: Case, *flags: str) -> Answer:
        case = _placed(case, issuer)
        _publish(case, issuer)
        token = _token(case)
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(token.encode())))
        status = main(
            [
                *("explain", "--token-file=-", "--raw-identity", "--oidc-clock-skew=0s"),
                f"--now={case['now'] or 0}",
                *(f"--disallowed-issuer={url}" for url in case.get("disallowed_issuers", ())),
                *flags,
            ]
        )
        return Answer(status, json.loads(capsys.readouterr().out))

    return run


def _placed(case: Case, issuer: FakeIssuer) -> dict[str, Any]:
    """Return a case with the issuer's real address in it."""
    placed: dict[str, Any] = json.loads(json.dumps(case).replace("{{ISSUER}}", issuer.url))
    return placed


def _publish(case: Case, issuer: FakeIssuer) -> None:
    """Have the issuer serve what the case says: documents, keys and claims endpoints."""
    keys = [_key(name) for name in case["published_keys"]]
    issuer.keys = keys
    issuer.overrides.clear()
    issuer.discovery_overrides = {"issuer": case["config"]["jwt"][0]["issuer"]["url"]}
    document = {**issuer.discovery(), **case.get("openid_config", {})}
    if case.get("openid_config"):
        document["jwks_uri"] = issuer.discovery()["jwks_uri"]
    answer = answering(body=json.dumps(document).encode())
    for path in _discovery_paths(case):
        issuer.overrides[path] = answer
    for path, route in case.get("distributed", {}).items():
        issuer.overrides[path] = _claims_endpoint(case, route)


def _discovery_paths(case: Case) -> list[str]:
    urls = [case["config"]["jwt"][0]["issuer"].get("discoveryURL", "")]
    return [DISCOVERY, *(urlsplit(url).path for url in urls if url)]


def _claims_endpoint(case: Case, route: Mapping[str, Any]) -> Any:
    token = _key(route.get("signing_key", case["signing_key"])).token(
        route["claims"], alg=route.get("alg", case["alg"])
    )

    async def answer(request: web.Request) -> web.Response:
        await asyncio.sleep(0)
        if request.headers.get("Authorization", "") != route["want_authorization"]:
            return web.Response(status=401)
        return web.Response(status=route.get("status", 200), text=route.get("body", token))

    return answer


def _key(name: str) -> SigningKey:
    """Return a key of the kind that the vectors' symbolic name stands for, one for each name."""
    kind = DOCUMENT["keys"][name]
    index = 10 + int(name.rpartition("_")[2])
    return ec_key(kind["crv"], index) if kind["kty"] == "EC" else rsa_key(index)


def _token(case: Case) -> str:
    if case["signing_key"] is None:
        return case["token"] or "no.token.here"
    return _key(case["signing_key"]).token(case["claims"], alg=case["alg"])


def flags_of(case: Case, issuer: FakeIssuer) -> list[str]:
    flags = _placed(case, issuer)["config_flags"]
    if not any(flag.startswith("--oidc-groups-claim") for flag in flags):
        flags = [*flags, "--oidc-groups-claim="]  # ours has another default
    if case["keys_via"] == "static":
        flags = [*flags, f"--oidc-discovery-url={issuer.url}{DISCOVERY}"]
    return [*flags, f"--oidc-ca-file={issuer.ca_file}"]


def file_of(case: Case, issuer: FakeIssuer, folder: Path) -> list[str]:
    config = copy.deepcopy(_placed(case, issuer)["config"])
    for authenticator in config["jwt"]:
        authenticator["issuer"]["certificateAuthority"] = issuer.ca_file.read_text()
        if case["keys_via"] == "static":
            authenticator["issuer"].setdefault("discoveryURL", f"{issuer.url}{DISCOVERY}")
    path = folder / "authentication.json"
    path.write_text(json.dumps(config))
    return [f"--authentication-config={path}"]


def judge(case: Case, answer: Answer, issuer: FakeIssuer, *, of_flags: bool = False) -> None:
    """Assert that the answer is kube-apiserver's, down to the stable part of its words.

    A flag that cannot be is refused in our words, which name the flag and not a field.
    """
    case = _placed(case, issuer)
    said = answer.said
    if case["want_init_error"]:
        assert answer.status == 2
        if of_flags:
            assert said["error"].startswith("--oidc-")
        else:
            assert case["want_init_error_contains"] in said["error"]
    elif case["want"]:
        assert (said["error"], answer.status) == ("", 0)
        assert said["user"] == case["want"]
        assert said["authenticated"] is True
    else:
        assert answer.status == 1
        assert (said["authenticated"], said["user"]) == (False, None)
        assert case["want_error"] or case["want_skip"]
        if case["want_error"]:
            assert case["want_error_contains"] in said["error"]


def named(cases: list[Case]) -> list[Any]:
    return [pytest.param(case, id=case["name"].replace(" ", "-")) for case in cases]


def test_every_case_is_run() -> None:
    run = {case["name"] for case in [*BY_FLAGS, *BY_FILE]}
    assert run == {case["name"] for case in CASES}
    assert len(run) == 83


@pytest.mark.parametrize("case", named(BY_FLAGS))
def test_flags_give_what_kube_apiserver_gives(
    case: Case, explain: Explain, issuer: FakeIssuer
) -> None:
    judge(case, explain(case, *flags_of(case, issuer)), issuer, of_flags=True)


@pytest.mark.parametrize("case", named(BY_FILE))
def test_a_file_gives_what_kube_apiserver_gives(
    case: Case, explain: Explain, issuer: FakeIssuer, tmp_path: Path
) -> None:
    judge(case, explain(case, *file_of(case, issuer, tmp_path)), issuer)
