"""Which published keys count, which are chosen for a token, and what their signatures must be."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from proxy.authn.keyset import ALGORITHMS, InvalidKeySet, parse_jwks
from tests.issuer import SigningKey, b64url, ec_key, jwks_document, rsa_key

RSA, OTHER_RSA = rsa_key(0), rsa_key(1)
EC = ec_key("P-256")
MESSAGE = b"header.payload"


def with_private_part(key: SigningKey) -> dict[str, Any]:
    """Return a key's entry as a careless issuer would publish it: with what signs."""
    numbers = key.private.private_numbers()
    d = numbers.d if isinstance(numbers, rsa.RSAPrivateNumbers) else numbers.private_value
    return key.jwk(d=b64url(d.to_bytes((key.private.key_size + 7) // 8, "big")))


def secp256k1() -> dict[str, Any]:
    point = ec.generate_private_key(ec.SECP256K1()).public_key().public_numbers()
    x, y = (b64url(coordinate.to_bytes(32, "big")) for coordinate in (point.x, point.y))
    return EC.jwk(crv="secp256k1", x=x, y=y)


UNUSABLE: dict[str, Any] = {
    "a symmetric key": {"kty": "oct", "kid": "s", "k": b64url(b"secret" * 8)},
    "an Ed25519 key": {"kty": "OKP", "crv": "Ed25519", "x": b64url(b"\1" * 32)},
    "a key of another kind": {"kty": "AKP", "alg": "ML-DSA-44", "pub": "AAAA"},
    "a key of no kind": RSA.jwk(kty=None),
    "a private RSA key": with_private_part(RSA),
    "a private EC key": with_private_part(EC),
    "an RSA key of 512 bits": RSA.jwk(n=b64url(b"\xff" * 64)),
    "an RSA key beyond OpenSSL": RSA.jwk(n=b64url(b"\xff" * 2049)),
    "an even exponent": RSA.jwk(e=b64url(b"\2")),
    "no modulus": RSA.jwk(n=None),
    "no exponent": RSA.jwk(e=None),
    "an empty modulus": RSA.jwk(n=""),
    "a number for a modulus": RSA.jwk(n=5),
    "a padded modulus": RSA.jwk(n=RSA.jwk()["n"] + "=="),
    "a modulus beyond ASCII": RSA.jwk(n="ä" * 300),
    "another curve": secp256k1(),
    "a curve that does not fit": EC.jwk(crv="P-384"),
    "a list for a curve": EC.jwk(crv=["P-256"]),
    "no curve": EC.jwk(crv=None),
    "a point beside the curve": EC.jwk(y=b64url(b"\1" * 32)),
    "a short coordinate": EC.jwk(x=b64url(b"\1" * 31)),
    "a kid that is a number": RSA.jwk(kid=5),
    "a kid that is a list": RSA.jwk(kid=["a"]),
    "no object": "RSA",
    "null": None,
}


@pytest.mark.parametrize("entry", UNUSABLE.values(), ids=UNUSABLE)
def test_an_entry_that_cannot_verify_is_skipped_and_counted(entry: Any) -> None:
    keys = parse_jwks(json.dumps({"keys": [entry, RSA.jwk()]}).encode())
    assert [key.kid for key in keys.keys] == [RSA.kid]
    assert keys.unusable == 1


@pytest.mark.parametrize("entry", UNUSABLE.values(), ids=UNUSABLE)
def test_a_document_of_unusable_entries_alone_is_invalid(entry: Any) -> None:
    with pytest.raises(InvalidKeySet, match="none of the 1 keys"):
        parse_jwks(json.dumps({"keys": [entry]}).encode())


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"<html>",
        b"null",
        b"[]",
        b"{}",
        b'{"keys":null}',
        b'{"keys":{}}',
        b'{"keys":[]}',
        b'{"Keys":[]}',
        b'{"keys":' + b"[" * 100_000,
    ],
    ids=lambda document: str(document[:20]),
)
def test_a_document_that_is_no_key_set_is_invalid(document: bytes) -> None:
    with pytest.raises(InvalidKeySet):
        parse_jwks(document)


@pytest.mark.parametrize(
    "changes",
    [{"use": "enc"}, {"use": None}, {"alg": None}, {"alg": "RSA-OAEP"}, {"key_ops": ["encrypt"]}],
    ids=str,
)
def test_what_a_key_says_of_its_own_use_is_not_enforced(changes: dict[str, Any]) -> None:
    (key,) = parse_jwks(jwks_document(RSA.jwk(**changes))).keys
    assert key.verifies("RS256", MESSAGE, RSA.sign(MESSAGE, "RS256"))


def test_a_named_token_is_for_the_keys_of_that_name_and_a_nameless_one_for_all() -> None:
    keys = parse_jwks(jwks_document(RSA.jwk(kid="a"), EC.jwk(kid=None), OTHER_RSA.jwk(kid="a")))
    first, nameless, second = keys.keys
    assert keys.candidates("a") == (first, second)
    assert keys.candidates("A") == ()
    assert keys.candidates("") == (first, nameless, second)


def test_a_key_is_itself_under_any_name_and_nothing_else_is() -> None:
    (key,) = parse_jwks(jwks_document(RSA)).keys
    renamed = parse_jwks(jwks_document(RSA.jwk(kid="new", alg=None), EC))
    assert key.identity in renamed
    assert key.identity not in parse_jwks(jwks_document(OTHER_RSA, EC))


def test_equal_documents_make_equal_key_sets_and_a_new_name_another() -> None:
    assert parse_jwks(jwks_document(RSA, EC)) == parse_jwks(jwks_document(RSA, EC))
    assert parse_jwks(jwks_document(RSA)) != parse_jwks(jwks_document(RSA.jwk(kid="new")))
    assert parse_jwks(jwks_document(RSA)) != parse_jwks(jwks_document(RSA, EC))


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_key_verifies_only_algorithms_of_its_type_and_curve(algorithm: str) -> None:
    for signer in (RSA, ec_key("P-256"), ec_key("P-384"), ec_key("P-521")):
        (key,) = parse_jwks(jwks_document(signer)).keys
        fits = signer.alg == algorithm or (signer is RSA and not algorithm.startswith("ES"))
        signature = signer.sign(MESSAGE, algorithm if fits else None)
        assert key.verifies(algorithm, MESSAGE, signature) is fits
        assert not key.verifies(algorithm, MESSAGE + b"x", signature)


@pytest.mark.parametrize("salt", [0, 1, 20, 32, 222])
def test_pss_signatures_may_have_a_salt_of_any_length(salt: int) -> None:
    (key,) = parse_jwks(jwks_document(RSA)).keys
    assert key.verifies("PS256", MESSAGE, RSA.sign(MESSAGE, "PS256", salt=salt))


def test_a_small_rsa_key_that_go_still_takes_is_taken() -> None:
    small = rsa_key(0, 1024)
    (key,) = parse_jwks(jwks_document(small)).keys
    assert key.verifies("RS256", MESSAGE, small.sign(MESSAGE))


def test_ecdsa_signatures_are_raw_and_of_exact_length() -> None:
    (key,) = parse_jwks(jwks_document(EC)).keys
    raw = EC.sign(MESSAGE)
    r, s = int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big")
    assert key.verifies("ES256", MESSAGE, raw)
    for wrong in (encode_dss_signature(r, s), raw[:-1], raw + b"\0", b"", bytes(64), b"\xff" * 64):
        assert not key.verifies("ES256", MESSAGE, wrong)


def test_an_ecdsa_signature_does_not_lose_its_leading_zeros() -> None:
    (key,) = parse_jwks(jwks_document(EC)).keys
    signatures = (EC.sign(MESSAGE) for _ in itertools.count())
    raw = next(signature for signature in signatures if signature[32] == 0)  # one in 256
    assert key.verifies("ES256", MESSAGE, raw)
    assert not key.verifies("ES256", MESSAGE, raw[:32] + raw[33:])


@pytest.mark.parametrize(
    "signature", [b"", b"x", bytes(255), bytes(256), bytes(257), b"\xff" * 256]
)
def test_no_garbage_is_a_signature_and_none_is_an_error(signature: bytes) -> None:
    (key,) = parse_jwks(jwks_document(RSA)).keys
    for algorithm in ALGORITHMS:
        assert not key.verifies(algorithm, MESSAGE, signature)


def test_no_key_shows_in_a_repr_or_an_error() -> None:
    keys = parse_jwks(jwks_document(RSA))
    assert RSA.jwk()["n"][:20] not in repr(keys)
