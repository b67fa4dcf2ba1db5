"""Whether a token is genuine, meant for us and of this hour: go-oidc's Verify, in its order.

kube-apiserver has no leeway on ``exp``. We may have some, because Headlamp still sends the old
token on the very request that refreshes it, and tsidp's tokens live only five minutes. ``nbf``
keeps go-oidc's fixed minute. ``iat``, ``azp``, ``nonce`` and ``at_hash`` are checked nowhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from proxy import errors
from proxy.algorithms import ALGORITHMS
from proxy.authn import gojson
from proxy.authn.claims import LAST_UNIX_SECOND, RegisteredClaims, registered_claims
from proxy.authn.jws import UnverifiedToken, decode_base64url
from proxy.authn.keyset import KeySet, VerificationKey

NOT_BEFORE_LEEWAY = 60.0  # seconds; go-oidc verify.go, not configurable there either

# Google leaves out the scheme in some tokens (go-oidc verify.go, kube-apiserver oidc.go).
_ISSUER_ALIASES = {"accounts.google.com": "https://accounts.google.com"}

_URL_SAFE = bytes.maketrans(b"+/", b"-_")


@dataclass(frozen=True, slots=True)
class TokenRules:
    """What a token of one issuer must be. ``leeway`` is in seconds and lengthens ``exp`` only."""

    issuer: str
    audiences: frozenset[str]
    algorithms: frozenset[str] = frozenset(["RS256"])
    leeway: float = 0.0

    def __post_init__(self) -> None:
        if not self.issuer or not self.audiences or not self.algorithms:
            raise ValueError("an issuer, an audience and an algorithm are needed")
        if not self.algorithms.issubset(ALGORITHMS):
            raise ValueError("only RS*, PS* and ES* algorithms can be accepted")


@dataclass(frozen=True, slots=True)
class VerifiedToken:
    """The claims of a genuine token, by exact name, and how long it may be believed."""

    claims: Mapping[str, Any] = field(repr=False)
    key: str  # identity of the key that signed
    expires_at: float  # unix seconds, leeway included


def unverified_issuer(token: UnverifiedToken) -> str:
    """Return the issuer that a token claims to come from. Raises TokenMalformed without one."""
    issuer = ""
    for name, value in token.members:
        if gojson.fold(name) == "iss" and value is not None:
            if not isinstance(value, str):
                raise errors.TokenMalformed("claim iss is not a string")
            issuer = value
    return _ISSUER_ALIASES.get(issuer, issuer)


def claimed_issuers(token: bytes) -> frozenset[str]:
    """Return every issuer that a token might be taken to name, well-formed or not.

    Wider than ``unverified_issuer`` on purpose: it says which tokens are ours to refuse.
    """
    parts = token.split(b".")
    payload = parts[1].translate(_URL_SAFE).rstrip(b"=") if len(parts) > 1 else b""
    try:
        members = gojson.parse_object(decode_base64url(payload) or b"")
    except ValueError:
        return frozenset()
    named = [v for name, v in members if gojson.fold(name) == "iss" and isinstance(v, str)]
    return frozenset(_ISSUER_ALIASES.get(issuer, issuer) for issuer in named)


def verify(token: UnverifiedToken, keys: KeySet, rules: TokenRules, now: float) -> VerifiedToken:
    """Return the claims of a token that holds up at ``now`` (unix seconds).

    Raises, in this order: AlgorithmNotAllowed, KeyUnknown, SignatureInvalid, ClaimMalformed,
    IssuerUnknown, AudienceMismatch, TokenExpired, TokenNotYetValid.
    """
    if token.algorithm not in rules.algorithms:
        raise errors.AlgorithmNotAllowed
    key = _signing_key(token, keys)
    registered = registered_claims(token.members)
    _check_parties(registered, rules)
    expires_at = _check_times(registered, rules.leeway, now)
    return VerifiedToken(dict(token.members), key.identity, expires_at)


def _signing_key(token: UnverifiedToken, keys: KeySet) -> VerificationKey:
    candidates = keys.candidates(token.key_id)
    if not candidates:
        raise errors.KeyUnknown
    for key in candidates:
        if key.verifies(token.algorithm, token.signing_input, token.signature):
            return key
    raise errors.SignatureInvalid


def _check_parties(registered: RegisteredClaims, rules: TokenRules) -> None:
    issuer = _ISSUER_ALIASES.get(registered.issuer, registered.issuer)
    if issuer != rules.issuer:
        raise errors.IssuerUnknown
    if rules.audiences.isdisjoint(registered.audience):
        raise errors.AudienceMismatch


def _check_times(registered: RegisteredClaims, leeway: float, now: float) -> float:
    if registered.expiry is None:
        raise errors.TokenExpired("the token has no exp")
    if registered.expiry > LAST_UNIX_SECOND or registered.expiry + leeway < now:
        raise errors.TokenExpired
    if registered.not_before is not None and now + NOT_BEFORE_LEEWAY < registered.not_before:
        raise errors.TokenNotYetValid
    return registered.expiry + leeway
