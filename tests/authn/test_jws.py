"""What is a compact JWS, and what of its header means anything."""

from __future__ import annotations

import json
from typing import Any

import pytest

from proxy import errors
from proxy.authn.jws import MAX_TOKEN_BYTES, decode_base64url, parse
from tests.issuer import b64url, rsa_key


def compact(header: bytes, payload: bytes = b"{}", signature: bytes = b"s") -> bytes:
    return ".".join(map(b64url, (header, payload, signature))).encode()


def header(**members: Any) -> bytes:
    return compact(json.dumps({"alg": "RS256"} | members).encode())


def test_a_token_is_taken_apart_into_what_was_signed_and_the_signature() -> None:
    raw = compact(b'{"alg":"RS256","kid":"7"}', b'{"iss":"i","iss":"j"}', b"\0\xff")
    token = parse(raw)
    assert (token.algorithm, token.key_id) == ("RS256", "7")
    assert token.members == [("iss", "i"), ("iss", "j")]
    assert token.signature == b"\0\xff"
    assert raw == token.signing_input + b"." + b64url(b"\0\xff").encode()


@pytest.mark.parametrize("kid", [None, ""], ids=str)
def test_a_token_without_a_key_id_names_no_key(kid: str | None) -> None:
    assert parse(header(kid=kid)).key_id == ""
    assert parse(compact(b"{}")).key_id == ""


@pytest.mark.parametrize(
    "members",
    [
        {"typ": "at+jwt"},
        {"typ": 7, "cty": ["x"]},
        {"jku": "https://evil.example.com/keys", "x5u": "https://evil.example.com/cert"},
        {"jwk": rsa_key(1).jwk()},
        {"KID": "other", "ALG": "none"},  # header names are exact, unlike the payload's
        {"crit": None},
        {"crit": []},
        {"crit": ["b64"]},
        {"crit": ["b64"], "b64": True},
    ],
    ids=str,
)
def test_header_members_that_mean_nothing_here_are_ignored(members: dict[str, Any]) -> None:
    token = parse(header(kid="7", **members))
    assert (token.algorithm, token.key_id) == ("RS256", "7")


@pytest.mark.parametrize(
    "token",
    [
        b"",
        b".",
        b"..",
        b"a.b",
        b"a.b.c.d",
        b"{}",
        compact(b"{}") + b".",
        compact(b"{}") + b"=",
        b" " + compact(b"{}"),
        compact(b"{}").replace(b".", b"\n.", 1),
        compact(b"[]"),
        compact(b"null"),
        compact(b"{}", b"[]"),
        compact(b"{}", b"null"),
        compact(b"{}", b"{} x"),
        compact(b'{"alg":"RS256","alg":"RS256"}'),
        compact(b'{"kid":"a","kid":"b"}'),
        header(alg=5),
        header(kid=5),
        header(kid=["a"]),
        header(crit="b64"),
        header(crit=0),
        header(crit=["exp"]),
        header(crit=["b64", "exp"]),
        header(crit=["b64"], b64=False),
        header(crit=[["b64"]]),
        header(b64=False),
        header(b64="true"),
        compact(b"{}", b'{"a":' + b"[" * 5_000 + b"]" * 5_000 + b"}"),
        compact(b'{"a":' * 1_500 + b"1" + b"}" * 1_500),
        compact(b"{}", b'{"exp":' + b"1" * 5_000 + b"}"),
    ],
    ids=lambda token: str(token[:40]),
)
def test_anything_else_is_malformed(token: bytes) -> None:
    with pytest.raises(errors.TokenMalformed):
        parse(token)


def test_a_token_above_the_limit_is_not_even_taken_apart() -> None:
    with pytest.raises(errors.TokenTooLarge):
        parse(b"a" * (MAX_TOKEN_BYTES + 1))


@pytest.mark.parametrize(
    ("text", "decoded"),
    [
        (b"", b""),
        (b"AA", b"\0"),
        (b"AB", b"\0"),  # bits that are left over are ignored, as Go does
        (b"-_-_", b"\xfb\xff\xbf"),
        (b"A", None),
        (b"AAAAA", None),
        (b"AA==", None),
        (b"+/+/", None),
        (b"AA\n", None),
        (b"A A", None),
    ],
    ids=str,
)
def test_base64url_is_unpadded_and_of_one_alphabet(text: bytes, decoded: bytes | None) -> None:
    assert decode_base64url(text) == decoded
