"""Tokens made to deceive, on their whole way: none of them speaks of anybody."""

from __future__ import annotations

import base64
import hmac
import json

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy import errors
from proxy.algorithms import ALGORITHMS
from proxy.authn.authenticator import Authenticator, TrustedIssuer
from proxy.authn.mapping import ClaimMapping
from proxy.authn.verifier import TokenRules
from proxy.userinfo import UserInfo
from tests.authn.tokens import ISSUER, NOW, HeldKeys, claims, token
from tests.issuer import CLIENT_ID, SigningKey, b64url, ec_key, rsa_key

RSA, EC, THIEF = rsa_key(), ec_key(), rsa_key(7)
MAPPING = ClaimMapping("email", groups_claims=("tags", "groups"))
EVERY_ALGORITHM = TokenRules(ISSUER, frozenset([CLIENT_ID]), frozenset(ALGORITHMS))
AUTHENTICATOR = Authenticator([TrustedIssuer(EVERY_ALGORITHM, MAPPING, HeldKeys(RSA, EC))])

PUBLIC = RSA.private.public_key()
GOOD = token(groups=["dev"])
ALICE = AUTHENTICATOR.authenticate(GOOD, NOW).user


def parts(header: object, payload: object = None) -> str:
    payload = claims(email="root@example.com") if payload is None else payload
    return ".".join(b64url(json.dumps(part).encode()) for part in (header, payload))


def refused(text: str | bytes) -> type[errors.ProxyError]:
    raw = text.encode() if isinstance(text, str) else text
    with pytest.raises(errors.AuthenticationError) as refusal:
        AUTHENTICATOR.authenticate(raw, NOW)
    return type(refusal.value)


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "nOnE", "", None])
@pytest.mark.parametrize("signature", ["", GOOD.decode().rpartition(".")[2]])
def test_a_token_that_says_it_needs_no_signature(algorithm: str | None, signature: str) -> None:
    text = f"{parts({'alg': algorithm, 'kid': RSA.kid})}.{signature}"
    assert refused(text) is errors.AlgorithmNotAllowed


@pytest.mark.parametrize(
    "secret",
    [
        PUBLIC.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        PUBLIC.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        PUBLIC.public_bytes(Encoding.PEM, PublicFormat.PKCS1),
        json.dumps(RSA.jwk()).encode(),
        b"",
    ],
    ids=["pem", "der", "pkcs1", "jwk", "empty"],
)
@pytest.mark.parametrize(
    ("named", "error"),
    [
        ("HS256", errors.AlgorithmNotAllowed),
        ("RS256", errors.SignatureInvalid),
        ("ES256", errors.SignatureInvalid),
    ],
)
def test_a_mac_with_the_public_key_as_its_secret(
    secret: bytes, named: str, error: type[errors.ProxyError]
) -> None:
    message = parts({"alg": named, "kid": RSA.kid})
    mac = hmac.digest(secret, message.encode(), "sha256")
    assert refused(f"{message}.{b64url(mac)}") is error


@pytest.mark.parametrize(
    "header",
    [
        {"jwk": THIEF.jwk()},
        {"jwk": THIEF.jwk(kid=RSA.kid)},
        {"jku": "https://thief.example/jwks.json"},
        {"x5u": "https://thief.example/cert.pem"},
        {"x5c": ["MIIB"], "x5t": "AA"},
        {"kid": THIEF.kid, "jwk": THIEF.jwk()},
        {"kid": ""},
        {"kid": None},
        {"kid": "../../../../dev/null"},
        {"kid": "x' UNION SELECT 'key"},
        {"kid": "https://thief.example/key"},
        {"kid": RSA.kid + "\0"},
        {"kid": f" {RSA.kid}"},
    ],
    ids=str,
)
def test_a_token_that_brings_its_own_key_or_points_to_it(header: dict[str, object]) -> None:
    forged = token({"kid": RSA.kid} | header, key=THIEF, email="root@example.com")
    assert refused(forged) in (errors.SignatureInvalid, errors.KeyUnknown)


def test_a_genuine_token_with_such_members_is_what_it_was() -> None:
    header = {"jwk": THIEF.jwk(), "jku": "https://thief.example", "x5u": "https://thief.example"}
    assert AUTHENTICATOR.authenticate(token(header), NOW).user.username == ALICE.username


@pytest.mark.parametrize("key", [RSA, EC])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_signature_under_the_name_of_another_algorithm(key: SigningKey, algorithm: str) -> None:
    if algorithm != key.alg:
        assert refused(token({"alg": algorithm}, key=key)) is errors.SignatureInvalid


def test_a_token_under_the_name_of_another_key() -> None:
    assert refused(token({"kid": EC.kid}, key=RSA)) is errors.SignatureInvalid
    assert refused(token({"kid": RSA.kid}, key=EC)) is errors.SignatureInvalid


def test_the_parts_of_two_genuine_tokens_put_together() -> None:
    one, two = GOOD.split(b"."), token(email="bob@example.com").split(b".")
    assert refused(b".".join([one[0], two[1], one[2]])) is errors.SignatureInvalid
    assert refused(b".".join([one[0], one[1], two[2]])) is errors.SignatureInvalid


@pytest.mark.parametrize(
    "payload",
    [
        b'{"iss":"%s","aud":"%s","exp":%s,"email":"a@b"}' % (ISSUER.encode(), CLIENT_ID.encode(), n)
        for n in (b"1" * 400, b"-" + b"1" * 4000, b"1e400", b"1" * 5000, b"NaN", b"[[]]")
    ],
    ids=lambda payload: repr(payload[90:110]),
)
def test_numbers_that_are_none_in_a_token_of_the_issuer_s_own(payload: bytes) -> None:
    refused(RSA.token(payload))


@pytest.mark.parametrize("opening", [b"[", b'{"a":'])
def test_nesting_without_end(opening: bytes) -> None:
    deep = opening * 2000
    header, payload = b64url(b'{"alg":"RS256","x":' + deep), b64url(b'{"iss":' + deep)
    assert refused(f"{header}.e30.AA") is errors.TokenMalformed
    assert refused(f"e30.{payload}.AA") is errors.TokenMalformed


# --- By chance -----------------------------------------------------------------------------------


def outcome(raw: bytes) -> UserInfo | None:
    """Return whom ``raw`` speaks of, None if it is refused; anything else is a failure."""
    try:
        return AUTHENTICATOR.authenticate(raw, NOW).user
    except errors.ProxyError:
        return None


@given(st.binary(max_size=400))
def test_no_bytes_are_a_token_by_chance(raw: bytes) -> None:
    assert outcome(raw) is None


@given(st.lists(st.binary(max_size=120), min_size=3, max_size=3))
def test_nor_are_three_parts_of_base64(raw: list[bytes]) -> None:
    assert outcome(".".join(map(b64url, raw)).encode()) is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner),
    max_leaves=6,
)
HEADER_NAMES = ["alg", "kid", "crit", "b64", "jwk", "jku", "x5c", "typ", "nonce"]


@given(st.dictionaries(st.sampled_from(HEADER_NAMES), JSON | st.just("RS256")))
def test_any_header_over_a_payload_that_nobody_signed_is_refused(
    header: dict[str, object],
) -> None:
    assert outcome(f"{parts(header)}.AA".encode()) is None


CLAIM_NAMES = ["iss", "ISS", "aud", "exp", "Exp", "nbf", "iat", "sub", "email", "email_verified",
               "groups", "tags", "jti", "_claim_names", "_claim_sources", "nonce"]  # fmt: skip


@given(st.dictionaries(st.sampled_from(CLAIM_NAMES), JSON, max_size=4))
def test_whatever_an_issuer_signs_is_a_user_or_a_refusal(overrides: dict[str, object]) -> None:
    user = outcome(RSA.token(claims(email="a@b") | overrides).encode())
    assert user is None or isinstance(user.username, str)


@st.composite
def mutations(draw: st.DrawFn) -> bytes:
    """Return ``GOOD`` with a byte changed, added or taken away, once or more often."""
    raw = bytearray(GOOD)
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, len(raw) - 1))
        match draw(st.sampled_from(["change", "add", "take"])):
            case "change":
                raw[place] = draw(st.sampled_from(b"ABab01-_.=+ \n\0\xff"))
            case "add":
                raw.insert(place, draw(st.sampled_from(b"ABab01-_.=")))
            case "take":
                del raw[place]
    return bytes(raw)


@given(mutations())
def test_a_token_that_was_tampered_with_speaks_of_the_same_user_or_nobody(raw: bytes) -> None:
    """The same, where only bits changed that base64 does not use; never of anybody else."""
    assert outcome(raw) in (None, ALICE)


@settings(max_examples=40)
@given(st.data())
def test_a_payload_rewritten_under_an_old_signature_is_refused(data: st.DataObject) -> None:
    head, body, signature = GOOD.split(b".")
    payload = bytearray(base64.urlsafe_b64decode(body + b"=" * (-len(body) % 4)))
    place = data.draw(st.integers(0, len(payload) - 1))
    payload[place] ^= data.draw(st.integers(1, 255))
    assert outcome(b".".join([head, b64url(bytes(payload)).encode(), signature])) is None
