"""``explain`` and ``check-config``: exit statuses, one object on standard output, and the steps."""

from __future__ import annotations

import io
import json
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from proxy.cli import main
from proxy.tools.explain import account
from tests.issuer import DISCOVERY, FakeIssuer, answering, jwks_document, rsa_key
from tests.serving import issuer_in_thread

OWN = "headlamp-auth-proxy:authenticated"


@pytest.fixture(scope="module")
def shared() -> Iterator[FakeIssuer]:
    with issuer_in_thread() as (issuer, _):
        yield issuer


@pytest.fixture
def issuer(shared: FakeIssuer) -> FakeIssuer:
    shared.overrides.clear()
    shared.requests.clear()
    shared.keys = [rsa_key(0)]
    return shared


class Explain:
    """Runs ``explain`` on a token with the flags of an issuer."""

    def __init__(
        self, issuer: FakeIssuer, folder: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        self.flags = [
            f"--oidc-issuer-url={issuer.url}",
            f"--oidc-client-id={issuer.client_id}",
            f"--oidc-ca-file={issuer.ca_file}",
        ]
        self.status = -1
        self.err = ""
        self._token_file = folder / "token"
        self._capsys = capsys

    def text(self, token: str, *flags: str) -> str:
        self._token_file.write_text(token)
        argv = ["explain", f"--token-file={self._token_file}", *self.flags, *flags]
        self.status = main(argv)
        out, self.err = self._capsys.readouterr()
        return out

    def __call__(self, token: str, *flags: str) -> dict[str, Any]:
        said: dict[str, Any] = json.loads(self.text(token, *flags))
        assert said.keys() == {"authenticated", "user", "error", "steps"}
        assert said["authenticated"] == (self.status == 0) == (said["error"] == "")
        assert (said["user"] is not None) == said["authenticated"]
        return said


@pytest.fixture
def explain(issuer: FakeIssuer, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Explain:
    return Explain(issuer, tmp_path, capsys)


def step(said: dict[str, Any], name: str) -> dict[str, Any]:
    (found,) = [step for step in said["steps"] if step["step"] == name]
    return dict(found)


def test_a_token_s_way_is_told_step_by_step(issuer: FakeIssuer, explain: Explain) -> None:
    said = explain(issuer.token(groups=["dev"], jti="j1"), "--groups-allow=d*")
    assert said["user"] == {
        "username": "alice@example.com",
        "uid": "",
        "groups": ["dev", OWN],
        "extra": {"authentication.kubernetes.io/credential-id": ["JTI=j1"]},
    }
    assert [step["step"] for step in said["steps"]] == [
        *("keys", "issuer", "signature", "mapping", "guard"),
    ]
    assert step(said, "keys")["kids"] == [issuer.key.kid]
    assert step(said, "issuer") == {"step": "issuer", "issuer": issuer.url, "trusted": True}
    assert step(said, "mapping")["groups_from"] == {
        "claims": {"groups": ["dev"]},
        "absent": ["tags"],
        "prefix": "",
    }
    assert step(said, "guard")["headers"] == [
        "Impersonate-User: alice@example.com",
        "Impersonate-Group: dev",
        f"Impersonate-Group: {OWN}",
    ]
    assert explain.err == ""


def test_a_rule_that_is_broken_is_told(issuer: FakeIssuer, explain: Explain) -> None:
    said = explain(issuer.token(), "--oidc-required-claim=tailnet=other")
    assert said["error"].startswith("oidc: required claim tailnet value does not match.")
    assert step(said, "required claim")["required"] == "other"


def test_the_raw_identity_is_that_before_any_filter_guard_or_group_of_ours(
    issuer: FakeIssuer, explain: Explain
) -> None:
    token = issuer.token(email="system:admin", groups=["b", "b", "system:masters", ""])
    said = explain(token, "--raw-identity", "--groups-allow=x")
    assert said["user"]["username"] == "system:admin"
    assert said["user"]["groups"] == ["b", "b", "system:masters", ""]
    assert step(said, "guard")["refused"] == "username_reserved"


def test_what_the_guard_refuses_is_not_authenticated(issuer: FakeIssuer, explain: Explain) -> None:
    said = explain(issuer.token(groups=["system:masters"]))
    assert explain.status == 1
    assert said["error"] == "group 'system:masters' is reserved"
    assert step(said, "refused")["label"] == "group_reserved"


@pytest.mark.parametrize(
    ("flags", "is_valid"),
    [
        (("--now=1000000060",), True),
        (("--now=1000000060.5",), False),
        (("--now=1000000000", "--oidc-clock-skew=0s"), True),
        (("--now=1000000000.001", "--oidc-clock-skew=0s"), False),
        (("--now", "999999999.999", "--oidc-clock-skew=0s"), True),
    ],
)
def test_the_time_may_have_a_fraction_and_the_skew_applies(
    issuer: FakeIssuer, explain: Explain, flags: tuple[str, ...], is_valid: bool
) -> None:
    said = explain(issuer.token(exp=1000000000, nbf=0), *flags)
    assert said["authenticated"] is is_valid
    assert is_valid or "oidc: token is expired" in said["error"]


def test_an_empty_groups_claim_turns_groups_off(issuer: FakeIssuer, explain: Explain) -> None:
    said = explain(issuer.token(groups=["a"]), "--oidc-groups-claim=", "--raw-identity")
    assert said["user"]["groups"] == []


def test_the_token_may_come_from_standard_input(
    issuer: FakeIssuer, explain: Explain, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = f"  {issuer.token()}\n".encode()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
    assert explain("", "--token-file=-")["authenticated"]


def test_nothing_is_fetched_where_a_file_has_the_keys_or_nobody_knows_the_issuer(
    issuer: FakeIssuer, explain: Explain, tmp_path: Path
) -> None:
    explain(issuer.token(iss="https://elsewhere.example"))
    keys = tmp_path / "jwks.json"
    keys.write_bytes(jwks_document(issuer.key))
    explain.flags = [*explain.flags[:2], f"--oidc-jwks-file={keys}"]
    assert explain(issuer.token())["authenticated"]
    assert issuer.requests == []


@pytest.mark.parametrize(
    ("token", "why"),
    [
        ("", "the file is empty"),
        ("\n", "the file is empty"),
        ("not one token", "holds no token"),
        ("x", "not three parts"),
        ("a.b.c", "not unpadded base64url"),
        ("x" * 20_000, "20000 bytes"),
    ],
)
def test_what_is_no_token_is_not_authenticated(explain: Explain, token: str, why: str) -> None:
    assert why in explain(token)["error"]
    assert explain.status == 1


def test_a_flag_that_is_misspelt_is_named_first_with_the_one_that_is_meant(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["explain", "--token-fiel=x", "-o", "text"]) == 2
    first, second, *_ = capsys.readouterr().err.splitlines()
    assert first == "--token-fiel: unknown flag; did you mean --token-file?"
    assert second.startswith("--token-file: is required")


def test_all_that_is_wrong_is_said_at_once(explain: Explain) -> None:
    said = explain("", "--raw-identiti", "--now=soon", "--oidc-clock-skew=5", "word")
    assert [line.partition(":")[0] for line in said["error"].splitlines()] == [
        *("--raw-identiti", "'word'", "--now 'soon'", '--oidc-clock-skew "5" (flag)'),
    ]


def test_keys_that_cannot_be_had_are_told(issuer: FakeIssuer, explain: Explain) -> None:
    issuer.overrides[DISCOVERY] = answering(500)
    said = explain(issuer.token())
    assert said["error"].startswith("oidc: authenticator not initialized")
    assert "answers 500" in step(said, "keys")["failure"]


def test_ten_seconds_is_the_end_of_patience() -> None:
    assert account.NETWORK == 10


def test_distributed_groups_are_fetched_and_told(issuer: FakeIssuer, explain: Explain) -> None:
    issuer.overrides["/groups"] = answering(body=issuer.token(groups=["far"]).encode())
    token = issuer.token(
        _claim_names={"groups": "s"},
        _claim_sources={"s": {"endpoint": f"{issuer.url}/groups"}},
    )
    said = explain(token)
    assert said["user"]["groups"] == ["far", OWN]
    assert step(said, "distributed claim")["endpoint"] == f"{issuer.url}/groups"


@pytest.mark.parametrize(
    ("flags", "problem"),
    [
        (("--oidc-signing-algs=none",), "--oidc-signing-algs"),
        (("--no-such",), "--no-such: unknown flag"),
        (("--now=yesterday",), "--now"),
        (("--now=nan",), "--now"),
        (("--now",), "--now: needs a value"),
        (("-o", "yaml"), "-o"),
        (("--token-file=/no/such/file",), "--token-file"),
        (("--token-file=",), "--token-file: is required"),
        (("--authentication-config=/no/such/file",), "--authentication-config"),
    ],
)
def test_what_is_asked_wrongly_is_refused_with_status_2(
    explain: Explain, flags: tuple[str, ...], problem: str
) -> None:
    said = explain("", *flags)
    assert explain.status == 2
    assert problem in said["error"]
    assert problem in explain.err


def test_asked_nothing_at_all_it_says_what_it_needs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain"]) == 2
    assert capsys.readouterr().err.startswith("--token-file: is required")


def test_text_is_for_people(issuer: FakeIssuer, explain: Explain) -> None:
    text = explain.text(issuer.token(groups=["dev"]), "-o", "text")
    assert text.startswith("authenticated\n  username  alice@example.com\n")
    assert "Impersonate-Group: dev" in text
    text = explain.text("x", "--output=text")
    assert text.startswith("not authenticated\n  because   ")
    assert explain.text("x", "-o", "text", "--no-such") == ""
    assert explain.status == 2


def test_neither_token_nor_key_is_ever_shown(issuer: FakeIssuer, explain: Explain) -> None:
    token = issuer.token()
    for flags in ((), ("-o", "text"), ("--oidc-client-id=other",)):
        shown = explain.text(token, *flags) + explain.err
        assert not [part for part in token.split(".") if part in shown]


def test_the_settings_of_serve_that_are_about_something_else_do_not_matter(
    issuer: FakeIssuer, explain: Explain
) -> None:
    said = explain(issuer.token(), "--listen=127.0.0.1:1", "--upstream=https://10.0.0.1")
    assert said["authenticated"]


def test_a_network_that_hangs_is_given_up(
    explain: Explain, issuer: FakeIssuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(account, "NETWORK", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        accepted: list[socket.socket] = []
        thread = threading.Thread(target=lambda: accepted.append(silent.accept()[0]))
        thread.start()
        url = f"https://127.0.0.1:{silent.getsockname()[1]}"
        said = explain(issuer.token(), f"--oidc-discovery-url={url}/d")
        assert step(said, "keys")["failure"] == "given up after 0.3 s"
        assert explain.status == 1
        thread.join()
        accepted[0].close()


def file_of(folder: Path, **changes: Any) -> str:
    """Write an AuthenticationConfiguration; return the flag for it."""
    issuer = {"url": "https://a", "audiences": ["x"]}
    mappings = {"username": {"claim": "sub", "prefix": ""}}
    jwt = {"issuer": issuer, "claimMappings": mappings} | changes
    document = {
        "apiVersion": "apiserver.config.k8s.io/v1",
        "kind": "AuthenticationConfiguration",
        "jwt": [jwt],
    }
    path = folder / "authentication.json"
    path.write_text(json.dumps(document))
    return f"--authentication-config={path}"


def check(*flags: str) -> int:
    return main(["check-config", *flags])


def test_a_good_configuration_passes_with_what_was_not_looked_at(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert check(file_of(tmp_path)) == 0
    out, err = capsys.readouterr()
    assert (out.count("\n"), err) == (1, "")
    assert "not looked at: how it is served" in out
    assert check(file_of(tmp_path), "--oidc-clock-skew=0s", "--oidc-http-proxy=http://p:1") == 0
    assert check("--oidc-issuer-url=https://a", "--oidc-client-id=x") == 0


def test_every_problem_of_a_file_is_told_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rules = [{"expression": "claims.a"}, {}]
    assert check(file_of(tmp_path, claimValidationRules=rules, userValidationRules=[{}])) == 2
    out, err = capsys.readouterr()
    assert out == ""
    where = "jwt[0].claimValidationRules"
    assert [line.rpartition("(flag): ")[2] for line in err.splitlines()] == [
        f'{where}[0].expression: Invalid value: "claims.a": must evaluate to bool',
        f"{where}[1]: Required value: claim or expression is required",
        "jwt[0].userValidationRules[0].expression: Required value",
    ]


def test_a_file_and_the_flags_that_it_replaces_exclude_each_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert check(file_of(tmp_path), "--oidc-issuer-url=https://a", "--oidc-groups-prefix=x") == 2
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition(" ")[0] for line in lines] == [
        *("--oidc-issuer-url", "--oidc-groups-prefix"),
    ]
    assert all("are mutually exclusive" in line for line in lines)


@pytest.mark.parametrize("enabled", [True, False])
def test_the_anonymous_section_is_refused_with_a_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], enabled: bool
) -> None:
    flag = file_of(tmp_path)
    path = Path(flag.partition("=")[2])
    path.write_text(json.dumps(json.loads(path.read_text()) | {"anonymous": {"enabled": enabled}}))
    assert check(flag) == 2
    assert "never forwards a request without an identity" in capsys.readouterr().err
