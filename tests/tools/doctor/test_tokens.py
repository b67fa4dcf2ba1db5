# ruff: noqa: E501 (a row is one line)

"""A token that is given: each reason to refuse it is named in the trust that it belongs to."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from tests import leaks
from tests.issuer import rsa_key, tsidp_claims
from tests.tools.doctor.stage import CLIENT_ID, Doctor, Stage, whole

NOW = int(time.time())


def token(stage: Stage, **changes: Any) -> str:
    usual = tsidp_claims(stage.at.url, groups=["k8s-viewers"], audience=CLIENT_ID) | changes
    claims = {name: value for name, value in usual.items() if value is not None}
    return stage.issuer._key.token(claims)


def given(stage: Stage, text: str) -> None:
    path = stage.folder / "token"
    path.write_text(text)
    leaks.hand_out_token(text)
    stage.flags["--token-file"] = str(path)


def test_a_good_token_says_who_it_is_and_what_is_not_told_of_the_secret(
    stage: Stage, doctor: Doctor
) -> None:
    with whole(stage):
        given(stage, token(stage))
        doctor.run()
    assert doctor.trusts[2]["status"] == "ok"
    assert doctor.trusts[3]["status"] == "ok"
    assert doctor.ok


Change = Callable[[Stage], str]


@pytest.mark.parametrize(
    ("make", "trust", "cause", "mend"),
    [
        (lambda _: "9b1e4c7a5d2f8031", 2, "token_malformed", "-oidc-use-access-token=false"),
        (lambda s: token(s, iss="https://other.example.com"), 2, "issuer_unknown", "--oidc-issuer-url=https://other.example.com"),
        (lambda s: token(s, aud="another"), 3, "audience_mismatch", "--oidc-client-id=another"),
        (lambda s: token(s, aud=["another", "api"]), 3, "audience_mismatch", "--oidc-client-id=another"),
        (lambda s: rsa_key(3).token(tsidp_claims(s.at.url)), 2, "key_unknown", "TS_STATE_DIR"),
        (lambda s: token(s)[:-8] + "AAAAAAAA", 2, "signature_invalid", "sign in again"),
        (lambda s: token(s, exp=NOW - 3600), 2, "token_expired", "sign in again"),
        (lambda s: token(s, nbf=NOW + 3600), 2, "token_not_yet_valid", "timedatectl"),
        (lambda s: token(s, email=None), 2, "username_missing", "-oidc-scopes=email,profile"),
        (lambda s: token(s, email_verified=False), 2, "email_not_verified", "--oidc-username-claim=sub"),
        (lambda s: token(s, email_verified="true"), 2, "claim_malformed", '"email_verified"'),
        (lambda s: token(s, groups=["system:masters"]), 5, "group_reserved", "--groups-allow"),
        (lambda s: token(s, groups=["k8s-viewers "]), 5, "group_malformed", "grant"),
        (lambda s: token(s, email="system:admin"), 5, "username_reserved", "reserved prefix"),
    ],
)  # fmt: skip
def test_each_refusal_belongs_to_one_trust(
    stage: Stage, doctor: Doctor, make: Change, trust: int, cause: str, mend: str
) -> None:
    with whole(stage):
        text = make(stage)
        given(stage, text)
        doctor.run()
    found = doctor.trusts[trust]
    assert (found["status"], found["cause"]) == ("failed", cause), doctor.trusts
    assert mend in found["mend"]
    assert doctor.status == 1
    others = [doctor.trusts[other]["status"] for other in (1, 2, 3) if other != trust]
    assert "failed" not in others
    assert text not in str(doctor.trusts) + doctor.err


@pytest.mark.parametrize(
    ("required", "mend"),
    [
        ("tailnet=other.ts.net.", "--oidc-required-claim=tailnet=tail1234.ts.net."),
        ("hd=example.com", "remove --oidc-required-claim=hd=example.com"),
    ],
)
def test_a_required_claim_is_mended_by_what_the_token_has(
    stage: Stage, doctor: Doctor, required: str, mend: str
) -> None:
    stage.flags["--oidc-required-claim"] = required
    with whole(stage):
        given(stage, token(stage))
        doctor.run()
    assert doctor.trusts[2]["cause"] == "required_claim_mismatch"
    assert mend in doctor.trusts[2]["mend"]


def test_who_is_shared_in_is_noted(stage: Stage, doctor: Doctor) -> None:
    with whole(stage):
        given(stage, token(stage, tailnet=None))
        doctor.run()
    notes = [doctor.trusts[5], *doctor.trusts[5]["notes"]]
    assert "shared_in_user" in [note["cause"] for note in notes]


def test_a_token_is_read_from_standard_input(
    stage: Stage, doctor: Doctor, monkeypatch: pytest.MonkeyPatch
) -> None:
    import io
    import sys

    with whole(stage):
        text = token(stage, aud="another").encode()
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text)))
        doctor.run("--token-file=-")
    assert doctor.trusts[3]["cause"] == "audience_mismatch"
