"""Tokens made to deceive, on their whole way: none of them speaks of anybody."""

from __future__ import annotations

import base64
import hmac
import itertools
import json
import ssl
import string
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy import errors
from proxy.algorithms import ALGORITHMS
from proxy.authn.authenticator import Authenticator, TrustedIssuer
from proxy.authn.keyset import parse_jwks
from proxy.authn.mapping import ClaimMapping
from proxy.authn.verifier import TokenRules
from proxy.userinfo import UserInfo
from tests.authn.tokens import ISSUER, NOW, NOWHERE, HeldKeys, claims, token
from tests.issuer import (
    CLIENT_ID,
    SigningKey,
    b64url,
    ec_key,
    issuer_authority,
    jwks_document,
    rsa_key,
)

RSA, EC, THIEF = rsa_key(), ec_key(), rsa_key(7)
MAPPING = ClaimMapping("email", groups_claims=("tags", "groups"))
EVERY_ALGORITHM = TokenRules(ISSUER, frozenset([CLIENT_ID]), frozenset(ALGORITHMS))
AUTHENTICATOR = Authenticator([TrustedIssuer(EVERY_ALGORITHM, MAPPING, HeldKeys(RSA, EC), NOWHERE)])

CERTIFICATE = base64.b64encode(
    ssl.PEM_cert_to_DER_cert(issuer_authority().cert_pem.bytes().decode())
).decode()
PUBLIC, EC_PUBLIC = RSA.private.public_key(), EC.private.public_key()
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


@pytest.mark.parametrize(
    "algorithm",
    ["none", "None", "NONE", "nOnE", "", None, "none ", " none", "none\0", "n\u043ene", "null"],
)
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
        RSA.jwk()["n"].encode(),
        EC_PUBLIC.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        EC_PUBLIC.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        EC_PUBLIC.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint),
        EC_PUBLIC.public_bytes(Encoding.X962, PublicFormat.CompressedPoint),
        json.dumps(EC.jwk()).encode(),
        b"",
    ],
    ids=[
        "pem",
        "der",
        "pkcs1",
        "jwk",
        "n",
        "ec pem",
        "ec der",
        "point",
        "compressed",
        "ec jwk",
        "",
    ],
)
@pytest.mark.parametrize("kid", [RSA.kid, EC.kid, ""])
@pytest.mark.parametrize(
    ("named", "digest", "error"),
    [
        ("HS256", "sha256", errors.AlgorithmNotAllowed),
        ("HS384", "sha384", errors.AlgorithmNotAllowed),
        ("HS512", "sha512", errors.AlgorithmNotAllowed),
        ("RS256", "sha256", errors.SignatureInvalid),
        ("PS256", "sha256", errors.SignatureInvalid),
        ("ES256", "sha256", errors.SignatureInvalid),
        ("ES256", "sha512", errors.SignatureInvalid),  # as long as a signature
    ],
)
def test_a_mac_with_a_public_key_as_its_secret(
    secret: bytes, kid: str, named: str, digest: str, error: type[errors.ProxyError]
) -> None:
    message = parts({"alg": named, "kid": kid})
    mac = hmac.digest(secret, message.encode(), digest)
    assert refused(f"{message}.{b64url(mac)}") is error


@pytest.mark.parametrize(
    "claimed",
    [
        {"alg": "none"}, {"alg": "HS256"}, {"alg": "RS512"}, {"use": "enc"}, {"key_ops": []},
        {"key_ops": ["encrypt"]}, {"kty": "oct", "k": "AAAA"}, {"kty": "EC"}, {"kty": "rsa"},
    ],
    ids=str,
)  # fmt: skip
def test_what_a_published_key_says_of_itself_makes_no_mac_a_signature(
    claimed: dict[str, Any],
) -> None:
    """Whatever is made of such a key, an algorithm that was not configured is not used."""
    document = jwks_document(RSA.jwk(**claimed), EC)
    held = HeldKeys()
    held.keys = parse_jwks(document)
    authenticator = Authenticator([TrustedIssuer(EVERY_ALGORITHM, MAPPING, held, NOWHERE)])
    for alg, secret in itertools.product(
        ("HS256", "none"), (b"\0\0\0", b"AAAA", RSA.jwk()["n"].encode(), document)
    ):
        message = parts({"alg": alg, "kid": RSA.kid})
        forged = f"{message}.{b64url(hmac.digest(secret, message.encode(), 'sha256'))}"
        with pytest.raises(errors.AlgorithmNotAllowed):
            authenticator.authenticate(forged.encode(), NOW)


@pytest.mark.parametrize(
    "header",
    [
        {"jwk": THIEF.jwk()},
        {"jwk": THIEF.jwk(kid=RSA.kid)},
        {"jku": "https://thief.example/jwks.json"},
        {"x5u": "https://thief.example/cert.pem"},
        {"x5c": [CERTIFICATE], "x5t": "AA"},
        {"kid": THIEF.kid, "jwk": THIEF.jwk()},
        {"kid": ""},
        {"kid": None},
        {"kid": "../../../../dev/null"},
        {"kid": "x' UNION SELECT 'key"},
        {"kid": "https://thief.example/key"},
        {"kid": RSA.kid + "\0"},
        {"kid": f" {RSA.kid}"},
    ],
    ids=",".join,  # not the values: keys are made anew in each process
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


def test_a_payload_may_be_any_text_that_go_reads_and_is_the_same_user() -> None:
    """Duplicates: the last one counts, as kube-apiserver's map has it. No byte order mark."""
    payload = json.dumps(claims()).encode()
    assert AUTHENTICATOR.authenticate(RSA.token(payload).encode(), NOW).user.groups == ()
    twice = payload[:-1] + b',"email":"bob@example.com","exp":%d}' % (NOW + 60)
    assert AUTHENTICATOR.authenticate(RSA.token(twice).encode(), NOW).user.username[:3] == "bob"
    for spoilt in (
        b"\xef\xbb\xbf" + payload,
        payload.decode().encode("utf-16"),
        payload.decode().encode("utf-32"),
        payload + b"\0",
        payload + payload,
        b"[" + payload + b"]",
        json.dumps(payload.decode()).encode(),
        payload[:-1] + b',"exp":1}',
        payload[:-1] + b',"Exp":1}',
        payload[:-1] + b',"\xc5\xbfub":5}',
        payload[:-1] + b',"iss":"https://other.example"}',
        payload[:-1] + b',"AUD":[]}',
    ):
        refused(RSA.token(spoilt))


@pytest.mark.parametrize(
    "header",
    [
        b'\xef\xbb\xbf{"alg":"RS256"}',
        '{"alg":"RS256"}'.encode("utf-16"),
        b'{"alg":"RS256","kid":"\xff"}',
        b'{"alg":"none","alg":"RS256"}',
        b'{"alg":"RS256","alg":"none"}',
        b'{"alg":"RS256","\\u0061lg":"none"}',
        b'{"alg":["RS256"]}',
        b'{"alg":"RS256","crit":["exp"],"exp":1}',
        b'{"alg":"RS256","crit":["b64"],"b64":false}',
        b'{"alg":"RS256","b64":false}',
        b'{"alg":"RS256","kid":1}',
        b'{"alg":"RS256","kid":["1"]}',
        b'{"alg":"RS256"}{"alg":"RS256"}',
        b'{"alg":"RS256"} x',
        b'{"alg":"R\\u212a256"}',
        b'{"alg":"RS256\\u0000"}',
        b'{"alg":" RS256"}',
    ],
)
def test_a_header_that_another_reader_might_understand_differently(header: bytes) -> None:
    refused(RSA.token(claims(), header))


@pytest.mark.parametrize(
    "header",
    [{"typ": "at+jwt"}, {"typ": 5}, {"typ": None}, {"cty": "JWT"}, {"zip": "DEF"}, {"enc": "A"},
     {"crit": ["b64"], "b64": True}, {"nonce": "x"}],
    ids=str,
)  # fmt: skip
def test_a_genuine_token_says_what_it_likes_of_its_kind(header: dict[str, object]) -> None:
    """kube-apiserver asks for none of these; a nested token in a payload is no JSON object."""
    assert AUTHENTICATOR.authenticate(token(header), NOW).user.username == ALICE.username


def test_a_token_in_a_token_speaks_of_nobody() -> None:
    refused(RSA.token(GOOD, {"cty": "JWT"}))
    refused(RSA.token(json.dumps(GOOD.decode()).encode(), {"cty": "JWT"}))


HEAD, BODY, SIGNATURE = GOOD.decode().split(".")


@pytest.mark.parametrize(
    "text",
    [
        f"{HEAD}.{BODY}",
        f"{HEAD}.{BODY}.",
        f"{HEAD}..{SIGNATURE}",
        f".{BODY}.{SIGNATURE}",
        f"{HEAD}.{BODY}.{SIGNATURE}.",
        f"{HEAD}.{BODY}.{SIGNATURE}.{SIGNATURE}",
        f"{HEAD}.AA.AA.{BODY}.{SIGNATURE}",  # five parts: a JWE
        f"{HEAD}.{BODY}.{SIGNATURE}=",
        f"{HEAD}=.{BODY}.{SIGNATURE}",
        f"{HEAD}.{BODY}%3D.{SIGNATURE}",
        f"{HEAD}.{BODY}.{SIGNATURE} ",
        f"{HEAD}.{BODY}\n.{SIGNATURE}",
        f"{HEAD} .{BODY}.{SIGNATURE}",
        f"{HEAD}.{BODY}.{SIGNATURE[:-2]}+/",
        f"{HEAD}\u3002{BODY}\u3002{SIGNATURE}",
        json.dumps({"protected": HEAD, "payload": BODY, "signature": SIGNATURE}),
        json.dumps({"payload": BODY, "signatures": [{"protected": HEAD, "signature": SIGNATURE}]}),
        json.dumps(GOOD.decode()),
        f"~{GOOD.decode()}~",  # a selective disclosure
    ],
)
def test_a_genuine_token_in_another_form(text: str) -> None:
    refused(text)


def test_the_bits_that_base64_does_not_use_change_nothing() -> None:
    """As in Go. 256 bytes leave four of them: sixteen spellings, of one user."""
    alphabet = string.ascii_uppercase + string.ascii_lowercase + string.digits + "-_"
    last = alphabet.index(SIGNATURE[-1]) & ~15
    for spelling in alphabet[last : last + 16]:
        text = f"{HEAD}.{BODY}.{SIGNATURE[:-1]}{spelling}".encode()
        assert AUTHENTICATOR.authenticate(text, NOW).user == ALICE


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
