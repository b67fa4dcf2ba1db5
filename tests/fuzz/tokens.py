"""Fuzz targets for tokens and keys: nobody is believed who was not signed for.

The issuer's key is the same in every run, so that seeds that it has signed can be kept; it is
written down here and protects nothing.
"""

from __future__ import annotations

import functools
import json
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric import ec, rsa

from proxy.algorithms import ALGORITHMS
from proxy.authn import credential as credentials
from proxy.authn import gojson
from proxy.authn.authenticator import Authenticator, TrustedIssuer
from proxy.authn.distributed import ClaimsElsewhere
from proxy.authn.keyset import RSA_BITS, InvalidKeySet, KeySet, parse_jwks
from proxy.authn.mapping import ClaimMapping
from proxy.authn.verifier import TokenRules
from proxy.errors import ProxyError
from proxy.headers import BEARER_PROTOCOL_PREFIX
from proxy.impersonation import Policy, impersonate, verify_outgoing
from proxy.limits import HIGHEST_TOKEN_BYTES, MAX_TOKEN_BYTES
from tests.authn.tokens import NOWHERE
from tests.issuer import CLIENT_ID, SigningKey, b64url, jwks_document, tsidp_claims

ISSUER: Final = "https://idp.tail1234.ts.net"
NOW: Final = 1_800_000_000.0
KEY: Final = SigningKey("1", ec.derive_private_key(20261128, ec.SECP256R1()), "ES256")
OWN_GROUP: Final = "headlamp-auth-proxy:authenticated"
POLICY: Final = Policy(OWN_GROUP)
RULES: Final = TokenRules(ISSUER, frozenset([CLIENT_ID]), frozenset(ALGORITHMS), leeway=60)
MAPPING: Final = ClaimMapping("email", groups_claims=("tags", "groups"))


class _Keys:
    keys: KeySet | None = parse_jwks(jwks_document(KEY))

    async def refresh(self) -> bool:
        return False


AUTHENTICATOR: Final = Authenticator([TrustedIssuer(RULES, MAPPING, _Keys(), NOWHERE)])


@functools.cache
def genuine() -> str:
    """Return the one token that the issuer ever made; its signature is another one each run."""
    claims = tsidp_claims(ISSUER, groups=["dev"], now=NOW) | {"jti": "0"}
    return KEY.token(claims)


def token(data: bytes) -> None:
    """Authenticate bytes of a stranger: whatever they are, they were not signed.

    ``{good}`` in them stands for the genuine token's parts, so that mutations start from these.
    """
    header, payload, signature = genuine().encode().split(b".")
    raw = data.replace(b"{header}", header).replace(b"{payload}", payload)
    raw = raw.replace(b"{signature}", signature)
    try:
        found = AUTHENTICATOR.authenticate(raw, NOW)
    except ProxyError:
        return
    assert len(raw) <= HIGHEST_TOKEN_BYTES
    assert raw.rpartition(b".")[0] == header + b"." + payload, "believed without a signature"
    assert found.user.username == "alice@example.com"


def signed(data: bytes) -> None:
    """Authenticate and assert whatever header (first line) and payload the issuer signs."""
    header, _, payload = data.partition(b"\n")
    message = f"{b64url(header)}.{b64url(payload)}"
    raw = f"{message}.{b64url(KEY.sign(message.encode()))}".encode()
    try:
        found = AUTHENTICATOR.authenticate(raw, NOW)
    except (ProxyError, ClaimsElsewhere):
        return
    members: dict[str, Any] = json.loads(header.decode("utf-8", "replace"))
    assert members["alg"] == "ES256"
    assert members.get("kid") in ("1", "", None)
    assert set(members.get("crit") or ()) <= {"b64"}
    claims: dict[str, Any] = json.loads(payload.decode("utf-8", "replace"))
    assert found.user.username == (claims["email"] or "") or "\ufffd" in found.user.username
    assert found.expires_at >= NOW
    assert claims.get("email_verified", True) is True
    try:
        identity = impersonate(found.user, POLICY)
    except ProxyError:
        return
    lines = identity.header.split(b"\r\n")
    assert lines[0] == b"Impersonate-User: " + found.user.username.encode()
    groups = [line.removeprefix(b"Impersonate-Group: ").decode() for line in lines[1:-1]]
    assert groups[-1] == OWN_GROUP
    assert set(groups[:-1]) == set(found.user.groups) - {"system:authenticated"}
    assert not [g for g in (found.user.username, *groups) if g.startswith("system:")]
    verify_outgoing(b"GET / HTTP/1.1\r\n" + identity.header + b"\r\n", identity)


def json_object(data: bytes) -> None:
    """Read JSON as Go does; where Python's strict reader finds the same object, so must we."""
    try:
        members = gojson.parse_object(data)
    except ValueError:
        return
    json.dumps(members, ensure_ascii=False).encode()  # no lone surrogate is left
    try:
        expected = json.loads(data.decode())
    except ValueError:
        return
    assert isinstance(expected, dict)
    if "\\u" not in data.decode():
        assert repr(dict(members)) == repr(expected)


def jwks(data: bytes) -> None:
    """Read a key set: every key of it is public, strong enough, and can be asked anything."""
    try:
        keys = parse_jwks(data)
    except InvalidKeySet:
        return
    assert keys.keys
    for key in keys.keys:
        assert isinstance(key.public_key, rsa.RSAPublicKey | ec.EllipticCurvePublicKey)
        if isinstance(key.public_key, rsa.RSAPublicKey):
            assert key.public_key.key_size in RSA_BITS
        assert key in keys.candidates(key.kid)
        assert key.identity in keys
    for key in keys.keys[:2]:
        for algorithm in ALGORITHMS:
            for signature in (b"", b"\0" * 64, b"\1" * 128):
                assert not key.verifies(algorithm, b"message", signature)


def credential(data: bytes) -> None:
    """Find the bearer token; a line each: Authorization values, an empty one, subprotocols."""
    authorization, _, protocols = data.partition(b"\n\n")
    values = authorization.split(b"\n") if authorization else []
    offered = protocols.split(b"\n") if protocols else None
    try:
        found = credentials.extract(values, offered)
    except ProxyError:
        return
    assert found.token
    assert len(found.token) <= MAX_TOKEN_BYTES
    assert not set(found.token) & set(b" \t,;\r\n\0")
    assert found.token.decode() not in repr(found) or len(found.token) < 12
    if found.protocols is None:
        assert len(values) == 1
        assert values[0].endswith(b" " + found.token)
    else:
        assert not values
        assert not [
            p
            for p in found.protocols.split(b",")
            if p.strip(b" \t").startswith(BEARER_PROTOCOL_PREFIX)
        ]
