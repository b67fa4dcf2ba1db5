"""The types that go-oidc gives to registered claims, whether anybody asked for them or not."""

from __future__ import annotations

from typing import Any

import pytest

from proxy import errors
from proxy.authn import gojson
from proxy.authn.claims import LAST_UNIX_SECOND, RegisteredClaims, registered_claims


def read(payload: str) -> RegisteredClaims:
    return registered_claims(gojson.parse_object(payload.encode()))


@pytest.mark.parametrize(
    ("payload", "seconds"),
    [
        ('{"exp":1257897600}', 1257897600),
        ('{"exp":"1257897600"}', 1257897600),
        ('{"exp":1257897600.9}', 1257897600),
        ('{"exp":"1257897600.9"}', 1257897600),
        ('{"exp":1.2578976e9}', 1257897600),
        ('{"exp":"1.2578976e9"}', 1257897600),
        ('{"exp":-1.9}', -1),
        ('{"exp":-0}', 0),
        ('{"Exp":7}', 7),
        ('{"exp":1,"EXP":7}', 7),
        ('{"exp":7,"exp":8,"eXp":9}', 9),
        ('{"EXP":7,"exp":8}', 8),
        ("{}", None),
    ],
)
def test_times_are_numbers_or_quoted_numbers_cut_to_seconds_and_the_last_one_wins(
    payload: str, seconds: int | None
) -> None:
    assert read(payload).expiry == seconds


@pytest.mark.parametrize("number", ["9223372036854775807", "1e300", '"1e30"', "9" * 300])
def test_a_time_that_go_could_not_hold_is_beyond_the_last_second(number: str) -> None:
    expiry = read(f'{{"exp":{number}}}').expiry
    assert expiry is not None
    assert expiry > LAST_UNIX_SECOND


@pytest.mark.parametrize("name", ["exp", "iat", "nbf"])
@pytest.mark.parametrize(
    "value",
    [
        *['"x"', '""', '" 1"', '"1 "', '"+1"', '"01"', '"0x1"', '"1_0"', '"٣"', '"NaN"', '"1e999"'],
        *["true", "[]", "{}", "1e999", "-1e999", "9" * 4000],
    ],
    ids=lambda value: value[:10],
)
def test_any_other_time_spoils_the_token(name: str, value: str) -> None:
    with pytest.raises(errors.ClaimMalformed):
        read(f'{{"{name}":{value}}}')


@pytest.mark.parametrize("payload", ['{"exp":null}', '{"iat":null}', '{"exp":"x","exp":5}'])
def test_a_null_or_an_earlier_duplicate_of_a_wrong_type_spoils_it_too(payload: str) -> None:
    with pytest.raises(errors.ClaimMalformed):
        read(payload)


def test_a_null_nbf_is_none_at_all() -> None:
    assert read('{"nbf":5,"nbf":null}').not_before is None


@pytest.mark.parametrize(
    ("value", "audience"),
    [
        ('"a"', ("a",)),
        ('["a"]', ("a",)),
        ('["a","b","a"]', ("a", "b", "a")),
        ("[]", ()),
        ("null", ("",)),
        ('["a",null]', ("a", "")),
        ('"a,b"', ("a,b",)),
    ],
)
def test_an_audience_is_one_or_several_and_never_split(
    value: str, audience: tuple[str, ...]
) -> None:
    assert read(f'{{"aud":{value}}}').audience == audience
    assert read(f'{{"aud":"other","AUD":{value}}}').audience == audience


@pytest.mark.parametrize("value", ["5", "{}", '[["a"]]', '["a",5]', "true"])
def test_an_audience_of_another_type_spoils_the_token(value: str) -> None:
    with pytest.raises(errors.ClaimMalformed):
        read(f'{{"aud":{value}}}')


@pytest.mark.parametrize("name", ["iss", "sub", "nonce", "at_hash", "SUB", "\u017fub"])
@pytest.mark.parametrize("value", ["5", "[]", "{}", "true"])
def test_strings_must_be_strings_even_if_nobody_asks_for_them(name: str, value: str) -> None:
    with pytest.raises(errors.ClaimMalformed):
        read(f'{{"{name}":{value}}}')


@pytest.mark.parametrize(
    ("payload", "issuer"),
    [
        ('{"iss":"a","ISS":"b"}', "b"),
        ('{"iss":"a","i\u017f\u017f":null}', "a"),
        ('{"iss":null}', ""),
    ],
)
def test_the_last_issuer_wins_and_null_changes_nothing(payload: str, issuer: str) -> None:
    assert read(payload).issuer == issuer


@pytest.mark.parametrize(
    "sources",
    [
        '"_claim_names":{},"_claim_sources":{}',
        '"_claim_names":null,"_claim_sources":null',
        '"_claim_names":{"g":"s"},"_claim_sources":{"s":{"endpoint":"https://x","JWT":7}}',
        '"_claim_names":{"g":"s"},"_claim_sources":{"s":null}',
    ],
)
def test_sources_of_other_claims_may_be_there(sources: str) -> None:
    read(f"{{{sources}}}")


@pytest.mark.parametrize(
    "sources",
    [
        '"_claim_names":{"g":"s"}',
        '"_claim_names":{"g":"s"},"_claim_sources":{"t":{}}',
        '"_claim_names":{"g":""},"_claim_sources":{"":{}}',
        '"_claim_names":{"g":null},"_claim_sources":{"s":{}}',
        '"_claim_names":{"g":5}',
        '"_claim_names":[]',
        '"_claim_sources":"s"',
        '"_claim_sources":{"s":"t"}',
        '"_claim_sources":{"s":{"endpoint":5}}',
        '"_claim_sources":{"s":{"Access_Token":5}}',
    ],
)
def test_sources_that_do_not_add_up_spoil_the_token(sources: str) -> None:
    with pytest.raises(errors.ClaimMalformed):
        read(f"{{{sources}}}")


@pytest.mark.parametrize("other", [5, None, [], {"a": 1}, "x"], ids=str)
def test_claims_that_are_not_registered_may_be_anything(other: Any) -> None:
    assert registered_claims([("email", other), ("tags", other)]) == RegisteredClaims()
