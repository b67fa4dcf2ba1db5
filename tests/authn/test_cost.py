"""A stranger's token costs a bounded amount of work, whatever is in it.

Work is counted in calls and not in time, so that a busy machine changes nothing; what it is in
time, ``python -m bench.hostile_tokens`` says.
"""

from __future__ import annotations

import sys

import pytest

from bench.hostile_tokens import NOW, authenticator, tokens
from proxy import errors
from proxy.authn import jws
from proxy.authn.gojson import MAX_DEPTH, MAX_NESTED, parse_object
from proxy.authn.keyset import MAX_ENTRIES, InvalidKeySet, VerificationKey, parse_jwks
from proxy.authn.verifier import verify
from proxy.limits import HIGHEST_TOKEN_BYTES
from tests.authn.tokens import RULES, token
from tests.issuer import b64url, jwks_document, rsa_key

AUTHENTICATOR = authenticator()
MAX_CALLS = 3000  # a good token takes some 300, the dearest of these 2,200


def calls_for(text: bytes) -> int:
    """Return how many functions are called until the token is refused."""
    calls = 0

    def count(_frame: object, event: str, _argument: object) -> None:
        nonlocal calls
        calls += event in {"call", "c_call"}

    sys.setprofile(count)
    try:
        AUTHENTICATOR.authenticate(text, NOW)
    except errors.ProxyError:
        return calls
    finally:
        sys.setprofile(None)
    raise AssertionError("the token was believed")


def test_no_token_makes_more_work_than_a_few_good_ones() -> None:
    hostile = dict(tokens())
    for text in hostile.values():
        calls_for(text.encode())  # what is set up at first use is not the token's doing
    assert {n: c for n, t in hostile.items() if (c := calls_for(t.encode())) > MAX_CALLS} == {}
    assert len(hostile) > 300


def test_nothing_of_a_token_that_is_too_long_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jws, "decode_base64url", None)
    with pytest.raises(errors.TokenTooLarge):
        AUTHENTICATOR.authenticate(b"a" * (HIGHEST_TOKEN_BYTES + 1), NOW)


@pytest.mark.parametrize(
    "document",
    [
        b'{"a":[' + b"[]," * MAX_NESTED + b"0]}",
        b'{"a":[' + b"{}," * MAX_NESTED + b"0]}",
        b'{"a":"' + b"]" * 2 * MAX_NESTED + b'"}',
        b'{"a":' + b"[" * MAX_DEPTH + b"]" * MAX_DEPTH + b"}",
        b'{"a":' + b'{"a":' * MAX_DEPTH + b"0" + b"}" * MAX_DEPTH + b"}",
    ],
    ids=["lists", "objects", "brackets", "deep lists", "deep objects"],
)
def test_much_nesting_is_refused_before_it_is_read(
    document: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proxy.authn.gojson._text", None)
    with pytest.raises(ValueError, match=r"nested too deeply|too many lists"):
        parse_object(document)


def test_as_much_as_is_allowed_is_read() -> None:
    parse_object(b'{"a":[' + b"[]," * (MAX_NESTED - 3) + b"0]}")
    parse_object(b'{"a":' + b"[" * (MAX_DEPTH - 1) + b"]" * (MAX_DEPTH - 1) + b"}")


@pytest.mark.parametrize("part", ["header", "payload"])
@pytest.mark.parametrize("extra", [0, 1])
def test_a_token_has_a_greatest_number_of_members(part: str, extra: int) -> None:
    members = {f"x{n}": n for n in range(jws.MAX_MEMBERS + extra)}
    document = b64url(repr(members).replace("'", '"').encode())
    other = b64url(b'{"alg":"RS256"}')
    text = f"{document}.{other}.AA" if part == "header" else f"{other}.{document}.AA"
    if extra:
        with pytest.raises(errors.TokenMalformed, match="too many members"):
            jws.parse(text.encode())
    else:
        jws.parse(text.encode())


def test_a_token_is_tried_with_a_bounded_number_of_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[VerificationKey] = []

    def verifies(key: VerificationKey, *_: object) -> bool:
        tried.append(key)
        return False

    monkeypatch.setattr(VerificationKey, "verifies", verifies)
    keys = parse_jwks(jwks_document(*[rsa_key().jwk(kid=str(n)) for n in range(MAX_ENTRIES)]))
    with pytest.raises(errors.SignatureInvalid):
        verify(jws.parse(token({"kid": None})), keys, RULES, NOW)
    assert len(tried) == MAX_ENTRIES


def test_a_key_set_of_more_keys_than_that_is_none() -> None:
    entries = [rsa_key().jwk(kid=str(n)) for n in range(MAX_ENTRIES + 1)]
    with pytest.raises(InvalidKeySet, match="has 65 keys; at most 64 are read"):
        parse_jwks(jwks_document(*entries))
