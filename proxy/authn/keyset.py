"""The keys that an issuer publishes (RFC 7517), as far as they may verify a token.

Keys are chosen as go-oidc does (jwks.go) and signatures checked as go-jose does (asymmetric.go),
which is to say as kube-apiserver does; PyJWT reads the keys. What a JWK says of its own use
(``use``, ``alg``, ``key_ops``) is not enforced there, so not here.

One difference is meant: go-jose refuses a whole document for one entry that it cannot read. Here
such an entry is skipped and counted, because a new kind of key beside the old one is no reason to
lock everybody out. Symmetric and private keys are never verification keys: they are skipped too.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import ECAlgorithm, RSAAlgorithm
from jwt.exceptions import InvalidKeyError

from proxy.authn import gojson
from proxy.authn.jws import decode_base64url

PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey

# Go's crypto/rsa refuses smaller ones; OpenSSL cannot verify with larger ones.
RSA_BITS = range(1024, 16384 + 1)
_MAX_EXPONENT = 2**31 - 1  # Go's as well; the larger it is, the longer a verification takes
MAX_ENTRIES = 64  # large issuers publish about ten; a token that names no key is tried with all

_HASHES: Mapping[str, Callable[[], hashes.HashAlgorithm]] = {
    "256": hashes.SHA256,
    "384": hashes.SHA384,
    "512": hashes.SHA512,
}
_CURVES = {"ES256": "secp256r1", "ES384": "secp384r1", "ES512": "secp521r1"}


class InvalidKeySet(Exception):
    """A document from which no verification key can be had."""


@dataclass(frozen=True, slots=True)
class VerificationKey:
    """A public key under the name that its issuer gives it (empty: none)."""

    kid: str
    identity: str  # SHA-256 of the SubjectPublicKeyInfo in hex: the same key under any name
    public_key: PublicKey = field(compare=False, repr=False)

    def verifies(self, algorithm: str, message: bytes, signature: bytes) -> bool:
        """Tell whether this key made the signature; False too when the key's type does not fit."""
        digest = _HASHES[algorithm[2:]]()
        try:
            if isinstance(self.public_key, ec.EllipticCurvePublicKey):
                _verify_ecdsa(self.public_key, algorithm, message, signature, digest)
            else:
                scheme = _rsa_padding(algorithm, digest)
                self.public_key.verify(signature, message, scheme, digest)
        except InvalidSignature:
            return False
        return True


@dataclass(frozen=True)
class KeySet:
    """The verification keys of one document, in its order."""

    keys: tuple[VerificationKey, ...]
    unusable: int = 0  # entries of the document that were skipped

    def candidates(self, kid: str) -> tuple[VerificationKey, ...]:
        """Return the keys that may have signed: those of that name, or all for a nameless token."""
        return tuple(key for key in self.keys if key.kid == kid) if kid else self.keys

    def __contains__(self, identity: object) -> bool:
        return identity in self._identities

    @cached_property
    def _identities(self) -> frozenset[str]:
        return frozenset(key.identity for key in self.keys)


def parse_jwks(document: bytes) -> KeySet:
    """Read a JWK Set. Raises InvalidKeySet, whose text may go into a log."""
    try:
        entries = dict(gojson.parse_object(document)).get("keys")
    except ValueError:
        raise InvalidKeySet("the key set is not a JSON object") from None
    if not isinstance(entries, list):
        raise InvalidKeySet('the key set has no list "keys"')
    if len(entries) > MAX_ENTRIES:
        raise InvalidKeySet(f"the key set has {len(entries)} keys; at most {MAX_ENTRIES} are read")
    keys = tuple(key for key in map(_verification_key, entries) if key is not None)
    if not keys:
        raise InvalidKeySet(f"none of the {len(entries)} keys of the key set is usable")
    return KeySet(keys, unusable=len(entries) - len(keys))


def _verification_key(entry: Any) -> VerificationKey | None:
    if not isinstance(entry, dict) or "d" in entry:
        return None
    kid = "" if entry.get("kid") is None else entry["kid"]
    public_key = _public_key(entry)
    if public_key is None or not isinstance(kid, str):
        return None
    encoded = public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return VerificationKey(kid, hashlib.sha256(encoded).hexdigest(), public_key)


def _public_key(entry: Mapping[str, Any]) -> PublicKey | None:
    try:
        if entry.get("kty") == "RSA" and _all_base64url(entry, "n", "e"):
            key = RSAAlgorithm.from_jwk(dict(entry))
            return key if isinstance(key, rsa.RSAPublicKey) and _is_sound(key) else None
        if entry.get("kty") == "EC" and _all_base64url(entry, "x", "y"):
            point = ECAlgorithm.from_jwk(dict(entry))
            if isinstance(point, ec.EllipticCurvePublicKey):
                return point if point.curve.name in _CURVES.values() else None
    except (InvalidKeyError, ValueError):  # ValueError: not a point of the curve, an even exponent
        return None
    return None


def _is_sound(key: rsa.RSAPublicKey) -> bool:
    return key.key_size in RSA_BITS and key.public_numbers().e <= _MAX_EXPONENT


def _all_base64url(entry: Mapping[str, Any], *names: str) -> bool:
    values = [entry.get(name) for name in names]
    return all(
        isinstance(value, str) and decode_base64url(value.encode()) is not None for value in values
    )


def _rsa_padding(algorithm: str, digest: hashes.HashAlgorithm) -> padding.AsymmetricPadding:
    if algorithm.startswith("RS"):
        return padding.PKCS1v15()
    if algorithm.startswith("PS"):  # any salt length, as rsa.VerifyPSS without options
        return padding.PSS(padding.MGF1(digest), padding.PSS.AUTO)
    raise InvalidSignature


def _verify_ecdsa(
    key: ec.EllipticCurvePublicKey,
    algorithm: str,
    message: bytes,
    signature: bytes,
    digest: hashes.HashAlgorithm,
) -> None:
    """Verify r and s, each as long as the curve's field and side by side (RFC 7518 section 3.4)."""
    length = (key.curve.key_size + 7) // 8
    if key.curve.name != _CURVES.get(algorithm) or len(signature) != 2 * length:
        raise InvalidSignature
    r, s = (int.from_bytes(half, "big") for half in (signature[:length], signature[length:]))
    key.verify(utils.encode_dss_signature(r, s), message, ec.ECDSA(digest))
