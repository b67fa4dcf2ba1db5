"""A compact JWS taken apart: one form, and of the header only alg and kid."""

from __future__ import annotations

import json

import pytest

from proxy import errors
from proxy.authn.jws import decode_base64url, parse
from proxy.limits import HIGHEST_TOKEN_BYTES
from tests.issuer import b64url, rsa_key


def compact(header: object = None, payload: bytes = b'{"iss":"x"}', signature: str = "c2ln") -> str:
    if not isinstance(header, bytes):
        header = json.dumps({"alg": "RS256"} if header is None else header).encode()
    return f"{b64url(header)}.{b64url(payload)}.{signature}"


def test_a_token_is_taken_apart() -> None:
    text = compact({"alg": "ES256", "kid": "7", "typ": "at+jwt"}, b'{"a":1,"a":2}')
    token = parse(text.encode())
    assert (token.algorithm, token.key_id, token.signature) == ("ES256", "7", b"sig")
    assert token.members == [("a", 1), ("a", 2)]
    assert token.signing_input == text.rpartition(".")[0].encode()


@pytest.mark.parametrize(
    ("header", "algorithm", "key_id"),
    [
        ({}, "", ""),
        ({"alg": None, "kid": None}, "", ""),
        ({"ALG": "RS256", "KID": "1"}, "", ""),
        ({"alg": "none"}, "none", ""),
        ({"alg": "RS256", "kid": "../../etc/passwd"}, "RS256", "../../etc/passwd"),
        ({"alg": "RS256", "kid": "' OR 1=1 --"}, "RS256", "' OR 1=1 --"),
    ],
)
def test_alg_and_kid_are_taken_by_exact_name(
    header: dict[str, object], algorithm: str, key_id: str
) -> None:
    token = parse(compact(header).encode())
    assert (token.algorithm, token.key_id) == (algorithm, key_id)


@pytest.mark.parametrize(
    "header",
    [
        {"typ": 5, "cty": [], "jku": "https://evil.example", "x5u": "https://evil.example"},
        {"jwk": rsa_key(3).jwk(), "x5c": [], "x5t": "AA", "nonce": "n"},
        {"jwk": None, "x5c": None, "nonce": None},
        {"crit": []},
        {"crit": None},
        {"crit": ["b64"]},
        {"crit": ["b64"], "b64": True},
        {"b64": None},
    ],
)
def test_no_other_header_member_means_anything(header: dict[str, object]) -> None:
    token = parse(compact({"alg": "RS256", "kid": "1"} | header).encode())
    assert (token.algorithm, token.key_id) == ("RS256", "1")


@pytest.mark.parametrize(
    "header",
    [
        {"jwk": {"kty": "oct", "k": "AA"}},
        {"jwk": {"kty": "RSA", "n": "AQ"}},
        {"jwk": {}},
        {"jwk": 5},
        {"x5c": ["AA"]},
        {"x5c": "AA"},
        {"x5c": [5]},
        {"nonce": 5},
    ],
)
def test_keys_certificates_and_a_nonce_must_be_that_though_nobody_uses_them(
    header: dict[str, object],
) -> None:
    with pytest.raises(errors.TokenMalformed):
        parse(compact({"alg": "RS256"} | header).encode())


@pytest.mark.parametrize(
    "header",
    [
        {"alg": 5},
        {"alg": ["RS256"]},
        {"kid": 5},
        {"kid": {}},
        {"kid": False},
        {"crit": ["exp"]},
        {"crit": ["b64", "exp"]},
        {"crit": [""]},
        {"crit": [None]},
        {"crit": [["b64"]]},
        {"crit": [{}]},
        {"crit": "b64"},
        {"crit": {}},
        {"crit": 0},
        {"crit": False},
        {"crit": ""},
        {"b64": False},
        {"b64": False, "crit": ["b64"]},
        {"b64": 0},
        b'{"alg":"RS256","alg":"RS256"}',
        b'{"kid":"1","alg":"RS256","kid":"2"}',
        b'{"x":1,"x":2}',
        b'{"alg":"RS256"',
        b"[]",
        b'"RS256"',
        b"",
        b"\xff",
        b'{"alg":"RS256","x":' + b"[" * 5000 + b"]" * 5000 + b"}",
        b'{"alg":"RS256","x":' + b"9" * 5000 + b"}",
    ],
    ids=lambda header: repr(header)[:30],
)
def test_a_header_that_could_be_read_in_two_ways_is_malformed(header: object) -> None:
    with pytest.raises(errors.TokenMalformed):
        parse(compact(header).encode())


@pytest.mark.parametrize("payload", [b"", b"null", b"[]", b"{", b'{"exp":NaN}', b"x"])
def test_a_payload_is_a_json_object(payload: bytes) -> None:
    with pytest.raises(errors.TokenMalformed):
        parse(compact(payload=payload).encode())


GOOD = compact()
HEADER, PAYLOAD, SIGNATURE = GOOD.split(".")


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "..",
        f"{HEADER}.{PAYLOAD}",
        f"{GOOD}.",
        f"{GOOD}.{SIGNATURE}",
        f".{GOOD}",
        f" {GOOD}",
        f"{GOOD}\n",
        f"{HEADER}.{PAYLOAD}.c2ln=",
        f"{HEADER}.{PAYLOAD}.c2l+",
        f"{HEADER}.{PAYLOAD}.c2l/",
        f"{HEADER}.{PAYLOAD}.c2lnc",
        f"{HEADER}.{PAYLOAD[:4]}\n{PAYLOAD[4:]}.c2ln",
        '{"payload":"e30","signatures":[]}',
    ],
)
def test_a_token_has_three_parts_of_unpadded_base64url(text: str) -> None:
    with pytest.raises(errors.TokenMalformed):
        parse(text.encode())


def test_a_token_has_a_greatest_length() -> None:
    with pytest.raises(errors.TokenTooLarge):
        parse(b"a" * (HIGHEST_TOKEN_BYTES + 1))
    with pytest.raises(errors.TokenMalformed):
        parse(b"a" * HIGHEST_TOKEN_BYTES)


@pytest.mark.parametrize(
    ("text", "data"),
    [
        (b"", b""),
        (b"_-8", b"\xff\xef"),
        (b"QQ", b"A"),
        (b"QR", b"A"),  # trailing bits are ignored, as Go does
        (b"Q", None),
        (b"QQ==", None),
        (b"Q Q", None),
        (b"QQ\n", None),
        (b"+/8", None),
        ("\uff31\uff31".encode(), None),
    ],
)
def test_base64url_is_as_go_reads_it(text: bytes, data: bytes | None) -> None:
    assert decode_base64url(text) == data


def test_a_payload_is_not_shown() -> None:
    """A detail goes into the log: it must not carry what a token says."""
    with pytest.raises(errors.TokenMalformed) as refused:
        parse(compact(payload=b'{"email":"alice@example.com"').encode())
    assert "alice" not in str(refused.value)
    assert refused.value.__cause__ is None
