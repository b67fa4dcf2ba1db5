"""The issuer's one key, and what is made with it: tokens and the published key set.

tsidp signs with RS256 only, names its key by a random uint64 in decimal, and does not rotate it.
Its JSON is Go's: members in alphabetical order, ``<``, ``>`` and ``&`` escaped.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

_GO_ESCAPES = str.maketrans({"<": "\\u003c", ">": "\\u003e", "&": "\\u0026"})


class SigningKey:
    """An RSA key of 2048 bits, made anew for each demo."""

    def __init__(self) -> None:
        self.kid = str(secrets.randbits(64))
        self._private = rsa.generate_private_key(public_exponent=65537, key_size=2048)

    def token(self, claims: Mapping[str, Any]) -> str:
        """Sign ``claims`` into a compact JWT."""
        return jwt.PyJWS().encode(
            go_json(claims).encode(), self._private, "RS256", {"kid": self.kid}, sort_headers=True
        )

    def key_set(self) -> dict[str, Any]:
        """Return the JWK Set, members in go-jose's order."""
        public = RSAAlgorithm.to_jwk(self._private.public_key(), as_dict=True)
        entry = {"use": "sig", "kty": "RSA", "kid": self.kid, "alg": "RS256"}
        return {"keys": [entry | {"n": public["n"], "e": public["e"]}]}


def go_json(value: Mapping[str, Any]) -> str:
    """Write JSON as Go's encoding/json writes a map."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return text.translate(_GO_ESCAPES)  # these three only ever stand inside strings
