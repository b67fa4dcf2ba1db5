"""What a token's header brings along of keys: never used, but it must be what it says it is.

go-jose reads these members of every header before anything is verified, so kube-apiserver refuses
a token for one that cannot be read (shared.go, rawHeader.sanitized).
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm
from jwt.exceptions import InvalidKeyError

_ALGORITHMS: Mapping[str, Any] = {"EC": ECAlgorithm, "OKP": OKPAlgorithm, "RSA": RSAAlgorithm}
_PUBLIC = (ec.EllipticCurvePublicKey, ed25519.Ed25519PublicKey, rsa.RSAPublicKey)


def problem(header: Mapping[str, Any]) -> str | None:
    """Return what of a header's keys, certificates and nonce cannot be read, None if all can."""
    nonce = header.get("nonce")
    if nonce is not None and not isinstance(nonce, str):
        return "failed to unmarshal nonce"
    if header.get("x5c") is not None and not _is_chain(header["x5c"]):
        return "failed to unmarshal x5c header"
    if header.get("jwk") is not None and not _is_public_key(header["jwk"]):
        return "failed to unmarshal JWK"
    return None


def _is_chain(value: Any) -> bool:
    if not isinstance(value, list):
        return False
    try:
        for certificate in value:
            x509.load_der_x509_certificate(base64.b64decode(certificate, validate=True))
    except (TypeError, ValueError):
        return False
    return True


def _is_public_key(value: Any) -> bool:
    if not isinstance(value, dict) or value.get("kty") not in _ALGORITHMS:
        return False
    try:
        return isinstance(_ALGORITHMS[value["kty"]].from_jwk(value), _PUBLIC)
    except (InvalidKeyError, ValueError, TypeError):
        return False
