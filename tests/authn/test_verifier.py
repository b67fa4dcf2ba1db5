"""Which tokens hold: go-oidc's checks, in its order, with a leeway on ``exp`` alone."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from proxy import errors
from proxy.authn import jws
from proxy.authn.keyset import ALGORITHMS, KeySet, parse_jwks
from proxy.authn.verifier import TokenRules, VerifiedToken, unverified_issuer, verify
from tests.issuer import CLIENT_ID, SigningKey, ec_key, jwks_document, rsa_key, tsidp_claims

ISSUER = "https://idp.tail1234.ts.net"
NOW = 1789000000.0
RULES = TokenRules(ISSUER, frozenset([CLIENT_ID]))
KEYS = parse_jwks(jwks_document(rsa_key()))
ANY_ALGORITHM = TokenRules(ISSUER, frozenset([CLIENT_ID]), frozenset(ALGORITHMS))


def claims(**changes: Any) -> dict[str, Any]:
    return tsidp_claims(ISSUER, groups=["tag:k8s-admin"], now=NOW) | changes


def check(
    token: str, rules: TokenRules = RULES, *, keys: KeySet = KEYS, now: float = NOW
) -> VerifiedToken:
    return verify(jws.parse(token.encode()), keys, rules, now)


TSIDP_TOKENS = {
    "today": claims(),
    "with the audience in a list, as releases before go-jose v4": claims(aud=[CLIENT_ID]),
    "with further audiences": claims(aud=[CLIENT_ID, "https://api"], azp=CLIENT_ID),
    "without scopes": tsidp_claims(ISSUER, email=None, now=NOW),
    "with nbf equal to iat, as before 2025-10": claims(nbf=int(NOW)),
    "with a bare group": claims(groups="admins"),
    "of a shared device": {n: v for n, v in claims().items() if n != "tailnet"},
    "of a device without addresses": claims(addresses=None),
    "of an old node": claims(nid=2**63 - 1),
    "by delegation": claims(act={"sub": "userid:1"}),
    "with a verified address": claims(email_verified=True),
}


@pytest.mark.parametrize("payload", TSIDP_TOKENS.values(), ids=TSIDP_TOKENS)
def test_every_form_of_token_that_tsidp_has_issued_holds(payload: dict[str, Any]) -> None:
    verified = check(rsa_key().token(payload))
    assert verified.claims == payload
    assert verified.expires_at == NOW + 300
    assert verified.key == KEYS.keys[0].identity


@pytest.mark.parametrize(
    ("key", "algorithm"),
    [(rsa_key(), algorithm) for algorithm in ALGORITHMS if not algorithm.startswith("ES")]
    + [(ec_key("P-256"), "ES256"), (ec_key("P-384"), "ES384"), (ec_key("P-521"), "ES512")],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_each_algorithm_holds_where_it_is_allowed_and_only_there(
    key: SigningKey, algorithm: str
) -> None:
    keys = parse_jwks(jwks_document(key))
    token = key.token(claims(), alg=algorithm)
    check(token, ANY_ALGORITHM, keys=keys)
    others = TokenRules(ISSUER, RULES.audiences, frozenset(ALGORITHMS) - {algorithm})
    with pytest.raises(errors.AlgorithmNotAllowed):
        check(token, others, keys=keys)


@pytest.mark.parametrize("alg", ["none", "HS256", "EdDSA", "rs256", "", None, "ES256K"])
def test_no_other_algorithm_is_ever_allowed(alg: str | None) -> None:
    with pytest.raises(errors.AlgorithmNotAllowed):
        check(rsa_key().token(claims(), {"alg": alg}), ANY_ALGORITHM)


@pytest.mark.parametrize("algorithm", ["none", "HS256", "EdDSA", "RS1", ""])
def test_no_other_algorithm_can_be_configured(algorithm: str) -> None:
    with pytest.raises(ValueError, match="algorithm"):
        TokenRules(ISSUER, frozenset([CLIENT_ID]), frozenset([algorithm]))


def test_rules_without_an_issuer_an_audience_or_an_algorithm_cannot_be_made() -> None:
    for parts in [("", {"a"}, {"RS256"}), (ISSUER, set(), {"RS256"}), (ISSUER, {"a"}, set())]:
        with pytest.raises(ValueError, match="needed"):
            TokenRules(parts[0], frozenset(parts[1]), frozenset(parts[2]))


def test_a_key_id_that_is_not_published_is_unknown_though_the_key_is() -> None:
    with pytest.raises(errors.KeyUnknown):
        check(rsa_key().token(claims(), {"kid": "other"}))


@pytest.mark.parametrize("kid", [None, ""], ids=str)
def test_a_token_that_names_no_key_is_tried_with_every_one(kid: str | None) -> None:
    keys = parse_jwks(jwks_document(ec_key(), rsa_key(1), rsa_key()))
    verified = check(rsa_key().token(claims(), {"kid": kid}), ANY_ALGORITHM, keys=keys)
    assert verified.key == keys.keys[2].identity


def test_several_keys_of_one_name_are_all_tried() -> None:
    keys = parse_jwks(jwks_document(rsa_key(1).jwk(kid="same"), rsa_key().jwk(kid="same")))
    check(rsa_key().token(claims(), {"kid": "same"}), keys=keys)


@pytest.mark.parametrize(
    "token",
    [
        rsa_key(1).token(claims(), {"kid": rsa_key().kid}),
        rsa_key(1).token(claims(), {"kid": rsa_key().kid, "jwk": rsa_key(1).jwk()}),
        rsa_key().token(claims()).rpartition(".")[0] + ".",
        rsa_key().token(claims()).rpartition(".")[0] + ".AAAA",
    ],
    ids=["another key", "a key that the token brings along", "none", "too short"],
)
def test_a_signature_of_anything_but_the_published_key_is_invalid(token: str) -> None:
    with pytest.raises(errors.SignatureInvalid):
        check(token)


def test_a_changed_claim_breaks_the_signature() -> None:
    header, _, signature = rsa_key().token(claims()).split(".")
    payload = rsa_key().token(claims(email="admin@example.com")).split(".")[1]
    with pytest.raises(errors.SignatureInvalid):
        check(f"{header}.{payload}.{signature}")


@pytest.mark.parametrize("leeway", [0.0, 60.0])
def test_a_token_is_believed_to_the_end_of_its_leeway_and_no_longer(leeway: float) -> None:
    rules = TokenRules(ISSUER, RULES.audiences, leeway=leeway)
    token = rsa_key().token(claims())
    end = NOW + 300 + leeway
    assert check(token, rules, now=end).expires_at == end
    with pytest.raises(errors.TokenExpired):
        check(token, rules, now=math.nextafter(end, math.inf))


def test_the_leeway_is_none_unless_it_is_given() -> None:
    assert RULES.leeway == 0.0


@pytest.mark.parametrize("exp", [0, -1, 2**63, 1e300, "9" * 300])
def test_an_end_that_kube_apiserver_would_see_in_the_past_is_past(exp: object) -> None:
    with pytest.raises(errors.TokenExpired):
        check(rsa_key().token(claims(exp=exp)))


def test_a_token_without_an_end_has_expired() -> None:
    endless = claims()
    del endless["exp"]
    with pytest.raises(errors.TokenExpired):
        check(rsa_key().token(endless))


@pytest.mark.parametrize("leeway", [0.0, 3600.0])
def test_not_before_has_a_minute_whatever_the_leeway(leeway: float) -> None:
    rules = TokenRules(ISSUER, RULES.audiences, leeway=leeway)
    check(rsa_key().token(claims(nbf=NOW + 60)), rules)
    with pytest.raises(errors.TokenNotYetValid):
        check(rsa_key().token(claims(nbf=NOW + 61)), rules)


def test_what_kube_apiserver_does_not_check_is_not_checked() -> None:
    unchecked = claims(iat=NOW + 9999, azp="another", nonce="n", at_hash="h", auth_time="x")
    check(rsa_key().token(unchecked))


@pytest.mark.parametrize("aud", [f"{CLIENT_ID} ", CLIENT_ID.upper(), f"{CLIENT_ID},b", [], None])
def test_the_audience_must_be_ours_byte_for_byte(aud: object) -> None:
    with pytest.raises(errors.AudienceMismatch):
        check(rsa_key().token(claims(aud=aud)))


def test_any_of_our_audiences_will_do() -> None:
    rules = TokenRules(ISSUER, frozenset(["headlamp", "kubectl"]))
    check(rsa_key().token(claims(aud=["x", "kubectl"])), rules)


@pytest.mark.parametrize("iss", [f"{ISSUER}/", ISSUER.upper(), "https://other.ts.net", "", None])
def test_the_issuer_must_be_ours_byte_for_byte(iss: object) -> None:
    with pytest.raises(errors.IssuerUnknown):
        check(rsa_key().token(claims(iss=iss)))


def test_google_may_leave_out_its_scheme() -> None:
    google = TokenRules("https://accounts.google.com", frozenset([CLIENT_ID]))
    token = rsa_key().token(claims(iss="accounts.google.com"))
    assert unverified_issuer(jws.parse(token.encode())) == google.issuer
    check(token, google)


def test_the_claims_are_those_of_the_exact_name_and_the_last_of_two() -> None:
    payload = json.dumps(claims())[:-1] + ',"email":"last@example.com","EMAIL":"x"}'
    verified = check(rsa_key().token(payload.encode()))
    assert verified.claims["email"] == "last@example.com"
    assert verified.claims["EMAIL"] == "x"


def test_the_first_thing_wrong_is_the_one_that_is_reported() -> None:
    """go-oidc's order; the signature comes before anything that a stranger could write."""
    wrong: dict[str, Any] = {"exp": 0, "nbf": NOW + 9999, "aud": "x", "iss": "https://x", "sub": 5}
    order: list[tuple[str, type[errors.ProxyError]]] = [
        ("sub", errors.ClaimMalformed),
        ("iss", errors.IssuerUnknown),
        ("aud", errors.AudienceMismatch),
        ("exp", errors.TokenExpired),
        ("nbf", errors.TokenNotYetValid),
    ]
    with pytest.raises(errors.AlgorithmNotAllowed):
        check(rsa_key(1).token(claims(**wrong), alg="PS256"))
    with pytest.raises(errors.KeyUnknown):
        check(rsa_key(1).token(claims(**wrong)))
    with pytest.raises(errors.SignatureInvalid):
        check(rsa_key(1).token(claims(**wrong), {"kid": rsa_key().kid}))
    for name, error in order:
        with pytest.raises(error):
            check(rsa_key().token(claims(**wrong)))
        del wrong[name]


@pytest.mark.parametrize(
    ("payload", "issuer"),
    [
        (b'{"iss":"a"}', "a"),
        (b'{"iss":"a","iss":"b"}', "b"),
        (b'{"iss":"a","ISS":"b"}', "b"),
        (b'{"iss":null}', ""),
        (b"{}", ""),
    ],
)
def test_the_issuer_for_choosing_the_rules_is_read_as_it_is_checked_later(
    payload: bytes, issuer: str
) -> None:
    assert unverified_issuer(jws.parse(rsa_key().token(payload).encode())) == issuer


def test_an_issuer_that_is_no_string_is_malformed() -> None:
    with pytest.raises(errors.TokenMalformed):
        unverified_issuer(jws.parse(rsa_key().token({"iss": 5}).encode()))


def test_no_repr_shows_the_claims() -> None:
    assert "alice" not in repr(check(rsa_key().token(claims())))
