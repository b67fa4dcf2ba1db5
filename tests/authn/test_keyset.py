"""Published keys: which are verification keys, which may have signed, and which did."""

from __future__ import annotations

import hashlib
import itertools
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from proxy.algorithms import ALGORITHMS
from proxy.authn.keyset import InvalidKeySet, KeySet, VerificationKey, parse_jwks
from tests.authn.tokens import key_set
from tests.issuer import SigningKey, b64url, ec_key, jwks_document, rsa_key

RSA, EC = rsa_key(), ec_key()
KEYS = {"RS": RSA, "PS": RSA, "ES256": EC, "ES384": ec_key("P-384"), "ES512": ec_key("P-521")}
MESSAGE = b"header.payload"


def verification_key(key: SigningKey) -> VerificationKey:
    return key_set(key).keys[0]


def signer(algorithm: str) -> SigningKey:
    return KEYS.get(algorithm) or KEYS[algorithm[:2]]


# --- Reading -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "member",
    [{"use": "enc"}, {"use": None}, {"alg": "HS256"}, {"alg": "none"}, {"key_ops": ["sign"]},
     {"x5c": ["garbage"], "x5t": "garbage"}, {"ext": True}],
    ids=str,
)  # fmt: skip
def test_what_a_key_says_of_its_use_is_not_enforced_as_in_kube_apiserver(
    member: dict[str, Any],
) -> None:
    assert len(key_set(RSA.jwk(**member)).keys) == 1


def test_a_key_with_the_members_of_other_kinds_is_what_its_kty_says() -> None:
    both = EC.jwk(n=RSA.jwk()["n"], e="AQAB", k="AAAA")
    assert key_set(both).keys[0].identity == key_set(EC).keys[0].identity


def test_a_key_is_known_by_what_it_is_and_not_by_its_name() -> None:
    one, renamed = key_set(RSA.jwk(), RSA.jwk(kid="other")).keys
    public = RSA.private.public_key()
    encoded = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert one.identity == renamed.identity == hashlib.sha256(encoded).hexdigest()
    assert one.identity in key_set(RSA)
    assert one.identity not in key_set(rsa_key(1))


def private_rsa() -> dict[str, Any]:
    assert isinstance(RSA.private, rsa.RSAPrivateKey)
    number = RSA.private.private_numbers().d
    return RSA.jwk(d=b64url(number.to_bytes(256, "big")))


def secp256k1() -> dict[str, Any]:
    """Return a sound key of a curve that JOSE knows and kube-apiserver does not."""
    point = ec.generate_private_key(ec.SECP256K1()).public_key().public_numbers()
    x, y = (b64url(coordinate.to_bytes(32, "big")) for coordinate in (point.x, point.y))
    return EC.jwk(crv="secp256k1", x=x, y=y)


OFF_CURVE = EC.jwk(x=b64url(b"\1" * 32), y=b64url(b"\1" * 32))
UNUSABLE: dict[str, Any] = {
    "a symmetric key": {"kty": "oct", "kid": "1", "k": "AAAA"},
    "a symmetric key with a public one's members": RSA.jwk(kty="oct", k="AAAA"),
    "an EC key that says it is RSA": EC.jwk(kty="RSA"),
    "an RSA key that says it is EC": RSA.jwk(kty="EC", crv="P-256"),
    "a private RSA key": private_rsa(),
    "a private EC key": EC.jwk(d=b64url(b"\1" * 32)),
    "half a private key": RSA.jwk(d=None) | {"d": None},
    "Ed25519": {"kty": "OKP", "crv": "Ed25519", "x": b64url(b"\1" * 32)},
    "an unknown kind": {"kty": "ML-DSA"},
    "no kind": RSA.jwk(kty=None),
    "a kind in lower case": RSA.jwk(kty="rsa"),
    "a kind that is no string": RSA.jwk(kty=["RSA"]),
    "secp256k1": secp256k1(),
    "a list for a curve": EC.jwk(crv=["P-256"]),
    "a short coordinate": EC.jwk(x=b64url(b"\1" * 31)),
    "no curve": EC.jwk(crv=None),
    "another curve's point": EC.jwk(crv="P-384"),
    "a point off its curve": OFF_CURVE,
    "the point at infinity": EC.jwk(x=b64url(b"\0" * 32), y=b64url(b"\0" * 32)),
    "no y": EC.jwk(y=None),
    "RSA without n": RSA.jwk(n=None),
    "an n that is no string": RSA.jwk(n=65537),
    "an n that is padded": RSA.jwk(n=RSA.jwk()["n"] + "="),
    "an n in plain base64": RSA.jwk(n="+" + RSA.jwk()["n"][1:]),
    "an n beyond ASCII": RSA.jwk(n="\uff21" * 342),
    "an empty n": RSA.jwk(n=""),
    "an even e": RSA.jwk(e="AAAC"),
    "an e of one": RSA.jwk(e="AQ"),
    "an e of zero": RSA.jwk(e="AA"),
    "an e of 32 bits": RSA.jwk(e=b64url(b"\x80\0\0\1")),
    "an RSA key of 512 bits": RSA.jwk(n=b64url(b"\xff" * 64)),
    "an RSA key of 1023 bits": RSA.jwk(n=b64url(b"\x7f" + b"\xff" * 127)),
    "an RSA key of 16392 bits": RSA.jwk(n=b64url(b"\xff" * 2049)),
    "a kid that is a number": RSA.jwk(kid=5),
    "a kid of zero": RSA.jwk(kid=0),
    "a kid that is false": RSA.jwk(kid=False),
    "null": None,
    "a string": "RSA",
    "a list": [],
}


@pytest.mark.parametrize("entry", UNUSABLE.values(), ids=list(UNUSABLE))
def test_an_entry_that_is_no_verification_key_is_skipped_and_counted(entry: Any) -> None:
    document = json.dumps({"keys": [entry, rsa_key(1).jwk()]}).encode()
    keys = parse_jwks(document)
    assert [key.kid for key in keys.keys] == [rsa_key(1).kid]
    assert keys.unusable == 1
    with pytest.raises(InvalidKeySet, match="none of the 1 keys"):
        parse_jwks(json.dumps({"keys": [entry]}).encode())


@pytest.mark.parametrize(
    "document",
    [b"", b"[]", b"null", b"{}", b'{"keys":null}', b'{"keys":{}}', b'{"keys":[]}', b'{"KEYS":[]}',
     b"<html>", b'{"keys":' + b"[" * 9999],
)  # fmt: skip
def test_what_is_no_key_set_is_said_to_be_none(document: bytes) -> None:
    with pytest.raises(InvalidKeySet):
        parse_jwks(document)


def test_an_rsa_key_of_1024_bits_is_the_smallest_as_in_go() -> None:
    key_set(rsa_key(bits=1024))


@given(st.binary(max_size=300))
def test_whatever_comes_is_a_key_set_or_an_invalid_one(document: bytes) -> None:
    with pytest.raises(InvalidKeySet):
        parse_jwks(document)


@given(
    st.fixed_dictionaries(
        {"kty": st.sampled_from(["RSA", "EC", "oct", "OKP"])},
        optional={
            name: st.sampled_from(["", "AQAB", "AA", "P-256", "P-521", "!", None, 5])
            | st.just(RSA.jwk()["n"])
            | st.binary(max_size=80).map(b64url)
            for name in ("n", "e", "x", "y", "crv", "d", "kid", "k", "p", "q", "oth")
        },
    )
)
def test_whatever_an_entry_holds_it_is_a_key_or_skipped(entry: dict[str, Any]) -> None:
    keys = parse_jwks(json.dumps({"keys": [entry, RSA.jwk()]}).encode())
    assert len(keys.keys) + keys.unusable == 2


# --- Choosing ------------------------------------------------------------------------------------


def kids(keys: KeySet, kid: str) -> list[str]:
    return [key.kid for key in keys.candidates(kid)]


def test_a_named_key_is_the_only_candidate_and_all_are_for_a_nameless_token() -> None:
    keys = key_set(RSA.jwk(kid="a"), EC.jwk(kid="b"), RSA.jwk(kid="a"), RSA.jwk(kid=None))
    assert kids(keys, "a") == ["a", "a"]
    assert kids(keys, "b") == ["b"]
    assert kids(keys, "c") == kids(keys, "A") == kids(keys, "a ") == []
    assert kids(keys, "") == ["a", "b", "a", ""]


# --- Verifying -----------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_signature_holds_for_its_key_message_and_algorithm_alone(algorithm: str) -> None:
    key = signer(algorithm)
    signature = key.sign(MESSAGE, algorithm)
    assert verification_key(key).verifies(algorithm, MESSAGE, signature)
    assert not verification_key(key).verifies(algorithm, MESSAGE + b".", signature)
    for other in ALGORITHMS:
        if other != algorithm:
            assert not verification_key(key).verifies(other, MESSAGE, signature)
    for stranger in (rsa_key(1), ec_key("P-256", 1), ec_key("P-384", 1), ec_key("P-521", 1)):
        assert not verification_key(stranger).verifies(algorithm, MESSAGE, signature)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_signature_that_is_cut_bent_or_made_up_does_not_hold(algorithm: str) -> None:
    key = signer(algorithm)
    good = key.sign(MESSAGE, algorithm)
    zeros = b"\0" * len(good)
    bent = bytes([good[0] ^ 1]) + good[1:]
    for signature in (b"", good[:-1], good + b"\0", b"\0" + good, bent, zeros, b"\xff" * len(good)):
        assert not verification_key(key).verifies(algorithm, MESSAGE, signature)


@pytest.mark.parametrize("salt", [0, 1, 20, 32, 100, 256 - 32 - 2])
def test_a_pss_salt_may_have_any_length(salt: int) -> None:
    signature = RSA.sign(MESSAGE, "PS256", salt=salt)
    assert verification_key(RSA).verifies("PS256", MESSAGE, signature)


def test_the_smallest_rsa_key_can_be_asked_about_the_largest_hash() -> None:
    key = verification_key(rsa_key(bits=1024))
    for algorithm in ("RS512", "PS512"):
        assert not key.verifies(algorithm, MESSAGE, b"\1" * 128)


def test_an_ecdsa_signature_in_der_does_not_hold() -> None:
    assert isinstance(EC.private, ec.EllipticCurvePrivateKey)
    der = EC.private.sign(MESSAGE, ec.ECDSA(hashes.SHA256()))
    assert not verification_key(EC).verifies("ES256", MESSAGE, der)


def test_an_ecdsa_signature_does_not_lose_its_leading_zeros() -> None:
    signatures = (EC.sign(MESSAGE) for _ in itertools.count())
    raw = next(signature for signature in signatures if signature[32] == 0)  # one in 256
    assert verification_key(EC).verifies("ES256", MESSAGE, raw)
    assert not verification_key(EC).verifies("ES256", MESSAGE, raw[:32] + raw[33:])


@pytest.mark.parametrize("curve", ["P-256", "P-384", "P-521"])
def test_each_ecdsa_algorithm_has_one_curve(curve: str) -> None:
    """RFC 7518 section 3.4; a P-384 key must not verify an ES256 signature of its own making."""
    key = ec_key(curve)
    for algorithm in {"ES256", "ES384", "ES512"} - {key.alg}:
        signature = key.sign(MESSAGE, algorithm)
        assert not verification_key(key).verifies(algorithm, MESSAGE, signature)


@given(st.binary(max_size=300), st.sampled_from(ALGORITHMS))
def test_no_bytes_are_a_signature_by_chance(signature: bytes, algorithm: str) -> None:
    for key in (RSA, EC):
        assert not verification_key(key).verifies(algorithm, MESSAGE, signature)


def test_key_sets_are_equal_if_their_keys_are() -> None:
    document = jwks_document(RSA, EC)
    assert parse_jwks(document) == parse_jwks(document + b" ")
    assert parse_jwks(document) != parse_jwks(jwks_document(EC, RSA))
    assert key_set(RSA) != key_set(RSA.jwk(kid="other"))
