"""kube-apiserver's own cases (oidc_test.go), through our flags: the same token, the same user.

``vectors/kube_oidc_token_cases.json`` says of itself how it is to be read. Run is every case that
kube-apiserver's --oidc-* flags can express. The others need an AuthenticationConfiguration file.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import pytest

from proxy import errors
from proxy.authn.authenticator import Authenticator, TrustedIssuer
from proxy.authn.keyset import KeySet, parse_jwks
from proxy.authn.mapping import ClaimMapping
from proxy.authn.verifier import TokenRules
from proxy.config import Config, ConfigError
from proxy.userinfo import UserInfo
from tests.config.loading import load_with
from tests.issuer import SigningKey, ec_key, jwks_document, rsa_key

Case = Mapping[str, Any]

VECTORS: Final = Path(__file__).parent / "vectors" / "kube_oidc_token_cases.json"
ISSUER: Final = "https://issuer.example.com:8443"
DOCUMENT: Final = json.loads(VECTORS.read_text().replace("{{ISSUER}}", ISSUER))
CASES: Final[list[Case]] = [
    case for case in DOCUMENT["cases"] if case["config_flags"] and not case.get("not_runnable")
]

# What is ours besides --oidc-*, and where our defaults are meant to differ.
OURS: Final = ("--upstream=https://10.0.0.1", "--plaintext", "--oidc-clock-skew=0s")

ERRORS: Final[Mapping[str, tuple[type[errors.AuthenticationError], ...]]] = {
    "alg_not_allowed": (errors.AlgorithmNotAllowed,),
    "audience": (errors.AudienceMismatch,),
    "distributed_claims": (errors.ClaimMalformed,),
    "distributed_claims_malformed": (errors.ClaimMalformed,),
    "email_not_verified": (errors.EmailNotVerified,),
    "email_verified_type": (errors.ClaimMalformed,),
    "expired": (errors.TokenExpired,),
    "groups_claim_type": (errors.ClaimMalformed,),
    "required_claim_missing": (errors.RequiredClaimMismatch,),
    "required_claim_value": (errors.RequiredClaimMismatch,),
    "signature": (errors.KeyUnknown, errors.SignatureInvalid),
    "username_claim_missing": (errors.UsernameMissing,),
}


class HeldKeys:
    """A key source that has what it has."""

    def __init__(self, keys: KeySet) -> None:
        self.keys: KeySet | None = keys

    async def refresh(self) -> bool:
        return False


def config_of(case: Case) -> Config:
    flags = case["config_flags"]
    if not any(flag.startswith("--oidc-groups-claim") for flag in flags):
        flags = [*flags, "--oidc-groups-claim="]
    return load_with(*flags, base=OURS)


def signing_key(name: str) -> SigningKey:
    """Return a key of the kind that the vectors' symbolic name stands for, one for each name."""
    kind = DOCUMENT["keys"][name]
    index = 10 + int(name.rpartition("_")[2])
    return ec_key(kind["crv"], index) if kind["kty"] == "EC" else rsa_key(index)


def authenticate(case: Case) -> UserInfo:
    config = config_of(case)
    keys = [signing_key(name) for name in case["published_keys"]]
    trusted = TrustedIssuer(
        TokenRules(
            config.oidc_issuer_url,
            frozenset(config.oidc_client_id),
            frozenset(config.oidc_signing_algs),
            config.oidc_clock_skew,
        ),
        ClaimMapping(
            config.oidc_username_claim,
            config.oidc_username_prefix,
            config.oidc_groups_claim,
            config.oidc_groups_prefix,
            config.oidc_required_claim,
        ),
        HeldKeys(parse_jwks(jwks_document(*keys))),
    )
    token = signing_key(case["signing_key"]).token(case["claims"], alg=case["alg"])
    return Authenticator([trusted]).authenticate(token.encode(), case["now"]).user


def named(cases: list[Case]) -> list[Any]:
    return [pytest.param(case, id=case["name"].replace(" ", "-")) for case in cases]


def is_fetched(case: Case) -> bool:
    """Whether kube-apiserver goes and asks somebody else for the groups of this token."""
    return bool(case.get("distributed")) and not any(
        flag.removeprefix("--oidc-groups-claim=") in case["claims"]
        for flag in case["config_flags"]
        if flag.startswith("--oidc-groups-claim=")
    )


USERS = [case for case in CASES if case["want"] and not is_fetched(case)]
FETCHED = [case for case in CASES if case["want"] and is_fetched(case)]
REFUSED = [case for case in CASES if case["want_error"]]
SKIPPED = [case for case in CASES if case["want_skip"]]
NOT_STARTED = [case for case in CASES if case["want_init_error"]]


def test_every_case_that_flags_can_express_is_run() -> None:
    run = [*USERS, *FETCHED, *REFUSED, *SKIPPED, *NOT_STARTED]
    assert len(run) == len(CASES) > 30


@pytest.mark.parametrize("case", named(USERS))
def test_a_token_makes_the_user_that_kube_apiserver_sees(case: Case) -> None:
    want = case["want"]
    assert authenticate(case) == UserInfo(
        want["username"],
        uid=want["uid"],
        groups=tuple(want["groups"]),
        extra={key: tuple(values) for key, values in want["extra"].items()},
    )


@pytest.mark.parametrize("case", named(FETCHED))
def test_a_token_whose_groups_would_have_to_be_fetched_is_refused(case: Case) -> None:
    """Here we are meant to differ: groups are never left out silently, and never fetched."""
    with pytest.raises(errors.ClaimMalformed, match="distributed"):
        authenticate(case)


@pytest.mark.parametrize("case", named(REFUSED))
def test_a_token_that_kube_apiserver_refuses_is_refused(case: Case) -> None:
    with pytest.raises(ERRORS[case["want_error_class"]]):
        authenticate(case)


@pytest.mark.parametrize("case", named(SKIPPED))
def test_a_token_of_another_issuer_is_nobodys(case: Case) -> None:
    with pytest.raises(errors.IssuerUnknown):
        authenticate(case)


@pytest.mark.parametrize("case", named(NOT_STARTED))
def test_a_configuration_that_kube_apiserver_refuses_is_refused(case: Case) -> None:
    with pytest.raises(ConfigError):
        config_of(case)
