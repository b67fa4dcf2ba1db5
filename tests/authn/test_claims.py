"""The registered claims, typed as go-oidc's struct is."""

from __future__ import annotations

import json

import pytest

from proxy.authn.claims import RegisteredClaims, registered_claims
from proxy.authn.gojson import parse_object
from proxy.errors import ClaimMalformed


def read(payload: object) -> RegisteredClaims:
    document = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    return registered_claims(parse_object(document))


@pytest.mark.parametrize(
    ("audience", "members"),
    [
        ("a", ("a",)),
        ("a,b", ("a,b",)),
        (["a", "b"], ("a", "b")),
        ([], ()),
        (None, ("",)),
        (["a", None], ("a", "")),
    ],
)
def test_an_audience_is_a_string_or_a_list(audience: object, members: tuple[str, ...]) -> None:
    assert read({"aud": audience}).audience == members


@pytest.mark.parametrize("audience", [5, True, {"a": "b"}, [5], [["a"]], ["a", {}]])
def test_an_audience_is_nothing_else(audience: object) -> None:
    with pytest.raises(ClaimMalformed):
        read({"aud": audience})


@pytest.mark.parametrize("claim", [b"exp", b"nbf"])
@pytest.mark.parametrize(
    ("literal", "seconds"),
    [
        (b"1257897600", 1257897600),
        (b'"1257897600"', 1257897600),
        (b"1257897600.9", 1257897600),
        (b"-1.5", -1),
        (b'"1.5e3"', 1500),
        (b"1e3", 1000),
        (b"1.795833101e+09", 1795833101),  # as the tsidp of tailscale.com writes it
        (b"0", 0),
        (b'"-0"', 0),
        (b"9223372036854775807", 2**63 - 1),
        (b"1e300", int(1e300)),
    ],
)
def test_a_time_is_a_number_also_in_quotes_cut_to_seconds(
    claim: bytes, literal: bytes, seconds: int
) -> None:
    claims = read(b'{"%s":%s}' % (claim, literal))
    assert (claims.expiry if claim == b"exp" else claims.not_before) == seconds


@pytest.mark.parametrize("claim", [b"exp", b"iat", b"nbf"])
@pytest.mark.parametrize(
    "literal",
    [b'""', b'"x"', b'" 1"', b'"1 "', b'"+1"', b'"01"', b'"0x1"', b'"1_0"', b'"NaN"', b'"inf"',
     '"\uff11"'.encode(), b"true", b"[]", b"{}", b"1e999", b'"1e999"', b"-1e999",
     b"1" * 400, b"-" + b"1" * 400, b'"' + b"1" * 400 + b'"'],
    ids=lambda literal: repr(literal[:12]),
)  # fmt: skip
def test_a_time_is_nothing_else(claim: bytes, literal: bytes) -> None:
    with pytest.raises(ClaimMalformed):
        read(b'{"%s":%s}' % (claim, literal))


def test_of_the_times_only_nbf_may_be_null() -> None:
    assert read({"nbf": None}).not_before is None
    for name in ("exp", "iat"):
        with pytest.raises(ClaimMalformed):
            read({name: None})


@pytest.mark.parametrize("name", ["iss", "sub", "nonce", "at_hash"])
def test_some_claims_must_be_strings_even_if_nobody_asks_for_them(name: str) -> None:
    read({name: "x"})
    read({name: None})
    wrong: tuple[object, ...] = (5, True, [], {})
    for value in wrong:
        with pytest.raises(ClaimMalformed):
            read({name: value})


@pytest.mark.parametrize("name", ["email", "groups", "jti", "azp", "auth_time", "act"])
def test_others_may_be_anything_here(name: str) -> None:
    assert read({name: {"x": [5]}}) == RegisteredClaims()


@pytest.mark.parametrize(
    ("payload", "issuer"),
    [
        (b"{}", ""),
        (b'{"iss":"a","iss":"b"}', "b"),
        (b'{"iss":"a","ISS":"b"}', "b"),
        (b'{"ISS":"b","iss":"a"}', "a"),
        ('{"iss":"a","i\u017fs":"b"}'.encode(), "b"),
        (b'{"iss":"a","iss":null}', "a"),
        (b'{"iss":"a","iss":""}', ""),
    ],
)
def test_names_match_in_any_case_and_the_last_one_counts(payload: bytes, issuer: str) -> None:
    assert read(payload).issuer == issuer


def test_a_wrong_type_counts_even_if_a_later_one_is_right() -> None:
    with pytest.raises(ClaimMalformed):
        read(b'{"sub":5,"sub":"x"}')


@pytest.mark.parametrize(
    "payload",
    [
        {},
        {"_claim_names": None, "_claim_sources": None},
        {"_claim_names": {}, "_claim_sources": {"s": {"endpoint": "https://x"}}},
        {"_claim_names": {"groups": "s"}, "_claim_sources": {"s": None}},
        {"_claim_names": {"groups": "s"}, "_claim_sources": {"s": {"JWT": "x", "other": 5}}},
        {"_CLAIM_NAMES": {"groups": "s"}, "_Claim_Sources": {"s": {}}},
    ],
)
def test_where_other_claims_are_to_be_had_is_well_formed(payload: object) -> None:
    read(payload)


@pytest.mark.parametrize(
    "payload",
    [
        {"_claim_names": 5},
        {"_claim_names": []},
        {"_claim_names": {"groups": 5}},
        {"_claim_names": {"groups": ""}},
        {"_claim_names": {"groups": None}},
        {"_claim_names": {"groups": "s"}},
        {"_claim_names": {"groups": "s"}, "_claim_sources": {}},
        {"_claim_names": {"groups": "s"}, "_claim_sources": {"S": {}}},
        {"_claim_sources": 5},
        {"_claim_sources": {"s": 5}},
        {"_claim_sources": {"s": {"endpoint": 5}}},
        {"_claim_sources": {"s": {"Access_Token": []}}},
    ],
)
def test_or_the_token_is_refused_whoever_wants_them(payload: object) -> None:
    with pytest.raises(ClaimMalformed):
        read(payload)
