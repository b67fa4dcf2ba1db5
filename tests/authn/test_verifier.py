"""Whether a token is genuine, meant for us and of this hour, in that order."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from proxy import errors
from proxy.algorithms import ALGORITHMS
from proxy.authn import jws
from proxy.authn.verifier import TokenRules, VerifiedToken, unverified_issuer, verify
from tests.authn.tokens import ISSUER, NOW, RULES, key_set, token
from tests.issuer import CLIENT_ID, rsa_key

KEYS = key_set(rsa_key(0))
EXP = int(NOW)


def verified(text: bytes, now: float = NOW, **rules: Any) -> VerifiedToken:
    return verify(jws.parse(text), KEYS, replace(RULES, **rules), now)


def raw(payload: bytes) -> bytes:
    return rsa_key(0).token(payload).encode()


def test_a_genuine_token_gives_its_claims_by_exact_name() -> None:
    found = verified(token(email="a@b", Email="x"))
    assert (found.claims["email"], found.claims["Email"]) == ("a@b", "x")
    assert found.key in KEYS
    assert "a@b" not in repr(found)


def test_of_equal_names_the_last_one_is_the_claim() -> None:
    payload = b'{"iss":"%s","aud":"%s","exp":%d,"email":"a","email":"b"}'
    found = verified(raw(payload % (ISSUER.encode(), CLIENT_ID.encode(), EXP + 1)))
    assert found.claims["email"] == "b"


# --- The order -----------------------------------------------------------------------------------

WRONG: list[tuple[type[errors.ProxyError], dict[str, Any]]] = [
    (errors.ClaimMalformed, {"sub": 5}),
    (errors.IssuerUnknown, {"iss": "https://x"}),
    (errors.AudienceMismatch, {"aud": "x"}),
    (errors.TokenExpired, {"exp": EXP - 1}),
    (errors.TokenNotYetValid, {"nbf": EXP + 61}),
]


@pytest.mark.parametrize("first", range(len(WRONG)))
def test_of_several_things_that_are_wrong_the_first_is_told(first: int) -> None:
    overrides: dict[str, Any] = {}
    for _, wrong in WRONG[first:]:
        overrides |= wrong
    with pytest.raises(WRONG[first][0]):
        verified(token(**overrides))
    with pytest.raises(errors.SignatureInvalid):
        verified(token({"kid": rsa_key(0).kid}, key=rsa_key(1), **overrides))
    with pytest.raises(errors.KeyUnknown):
        verified(token(key=rsa_key(1), **overrides))
    with pytest.raises(errors.AlgorithmNotAllowed):
        verified(token({"alg": "RS384", "kid": "x"}, **overrides))


# --- Time ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("leeway", "now", "holds"),
    [
        (0.0, EXP, True),  # as kube-apiserver: expired is what is before now
        (0.0, EXP + 0.001, False),
        (60.0, EXP + 60, True),
        (60.0, EXP + 60.001, False),
    ],
)
def test_a_token_holds_to_its_end_and_the_leeway(leeway: float, now: float, holds: bool) -> None:
    text = token(exp=EXP)
    if holds:
        assert verified(text, now, leeway=leeway).expires_at == EXP + leeway
    else:
        with pytest.raises(errors.TokenExpired):
            verified(text, now, leeway=leeway)


@pytest.mark.parametrize(
    "exp",
    [0, -1, -(2**70), 2**63 - 1, 2**63, 10**30, 1e300, -1e300, str(2**63 - 1)],
)
def test_an_end_that_go_s_clock_cannot_hold_has_passed(exp: object) -> None:
    with pytest.raises(errors.TokenExpired):
        verified(token(exp=exp))


@pytest.mark.parametrize("exp", [10**400, -(10**400)])
def test_an_end_that_no_number_can_hold_is_malformed(exp: int) -> None:
    with pytest.raises(errors.ClaimMalformed):
        verified(token(exp=exp))


@pytest.mark.parametrize("exp", [2**40, str(EXP + 5), EXP + 5.9])
def test_an_end_in_another_form_is_understood(exp: object) -> None:
    assert verified(token(exp=exp)).expires_at > NOW


@pytest.mark.parametrize("leeway", [0.0, 60.0, 600.0])
def test_a_token_s_beginning_has_kube_apiserver_s_minute_whatever_the_leeway(leeway: float) -> None:
    verified(token(nbf=EXP + 60), leeway=leeway)
    with pytest.raises(errors.TokenNotYetValid):
        verified(token(nbf=EXP + 61), leeway=leeway)


def test_when_a_token_was_issued_is_not_asked() -> None:
    verified(token(iat=EXP + 86_400))
    verified(token(iat=...))


# --- Parties -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("audience", "accepted", "holds"),
    [
        ("a", {"a"}, True),
        (["x", "a"], {"a", "b"}, True),
        ("b", {"a", "b"}, True),
        ("A", {"a"}, False),
        ("a ", {"a"}, False),
        ("a,b", {"a", "b"}, False),
        ([], {"a"}, False),
        (None, {"a"}, False),
    ],
)
def test_one_audience_of_the_accepted_ones_is_enough(
    audience: object, accepted: set[str], holds: bool
) -> None:
    text = token(aud=audience)
    if holds:
        verified(text, audiences=frozenset(accepted))
    else:
        with pytest.raises(errors.AudienceMismatch):
            verified(text, audiences=frozenset(accepted))


@pytest.mark.parametrize(
    ("payload", "issuer"),
    [
        (b'{"iss":"https://a"}', "https://a"),
        (b'{"iss":"https://a","ISS":"https://b"}', "https://b"),
        (b'{"iss":"https://a","iss":null}', "https://a"),
        (b'{"iss":"accounts.google.com"}', "https://accounts.google.com"),
        (b"{}", ""),
        (b'{"iss":null}', ""),
    ],
)
def test_the_issuer_that_a_token_claims(payload: bytes, issuer: str) -> None:
    assert unverified_issuer(jws.parse(raw(payload))) == issuer


def test_google_s_short_name_is_verified_as_the_long_one() -> None:
    google = "https://accounts.google.com"
    verified(token(iss="accounts.google.com"), issuer=google)
    verified(token(iss=google), issuer=google)
    with pytest.raises(errors.IssuerUnknown):
        verified(token(iss=google), issuer="accounts.google.com")


# --- Keys and algorithms -------------------------------------------------------------------------


def test_a_nameless_token_is_tried_with_every_key() -> None:
    keys = key_set(rsa_key(1), rsa_key(0), rsa_key(2))
    found = verify(jws.parse(token({"kid": None})), keys, RULES, NOW)
    assert found.key == keys.keys[1].identity
    with pytest.raises(errors.SignatureInvalid):
        verified(token({"kid": None}, key=rsa_key(1)))


def test_keys_of_one_name_are_all_tried() -> None:
    keys = key_set(rsa_key(1).jwk(kid="a"), rsa_key(0).jwk(kid="a"))
    verify(jws.parse(token({"kid": "a"})), keys, RULES, NOW)


def test_a_named_token_is_not_tried_with_a_nameless_key() -> None:
    keys = key_set(rsa_key(0).jwk(kid=None))
    with pytest.raises(errors.KeyUnknown):
        verify(jws.parse(token()), keys, RULES, NOW)


@pytest.mark.parametrize("algorithm", [*ALGORITHMS, "none", "None", "", "HS256", "rs256", "EdDSA"])
def test_only_an_algorithm_that_was_configured_is_taken(algorithm: str) -> None:
    text = token({"alg": algorithm})
    if algorithm == "RS256":
        verified(text)
    else:
        with pytest.raises(errors.AlgorithmNotAllowed):
            verified(text)


@pytest.mark.parametrize("algorithm", ["none", "HS256", "HS512", "EdDSA", "", "RS1", "rs256"])
def test_rules_cannot_take_an_algorithm_that_is_no_signature(algorithm: str) -> None:
    with pytest.raises(ValueError, match="only RS"):
        TokenRules(ISSUER, frozenset(["a"]), frozenset(["RS256", algorithm]))


@pytest.mark.parametrize(
    "without", [{"issuer": ""}, {"audiences": frozenset()}, {"algorithms": frozenset()}], ids=str
)
def test_rules_are_whole(without: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="are needed"):
        replace(RULES, **without)
