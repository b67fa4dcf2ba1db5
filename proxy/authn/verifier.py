"""Whether a token is genuine, meant for us and of this hour: go-oidc's Verify, in its order.

kube-apiserver has no leeway on ``exp``. We may have some, because Headlamp still sends the old
token on the very request that refreshes it, and tsidp's tokens live only five minutes. ``nbf``
keeps go-oidc's fixed minute. ``iat``, ``azp``, ``nonce`` and ``at_hash`` are checked nowhere.
The details of errors are go-oidc's words, so that its logs and ours can be compared.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from proxy import errors
from proxy.algorithms import ALGORITHMS
from proxy.authn import gojson
from proxy.authn.claims import LAST_UNIX_SECOND, RegisteredClaims, registered_claims
from proxy.authn.gotext import quoted, quoted_list, timestamp
from proxy.authn.jws import UnverifiedToken, decode_base64url
from proxy.authn.keyset import KeySet, VerificationKey

NOT_BEFORE_LEEWAY = 60.0  # seconds; go-oidc verify.go, not configurable there either

_VERIFY = "oidc: verify token"
_SIGNATURE = f"{_VERIFY}: failed to verify signature: failed to verify id token signature"

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
    IssuerUnknown, AudienceMismatch, TokenExpired, TokenNotYetValid; with several audiences,
    AudienceMismatch is the last, because it is kube-apiserver itself that checks them then.
    """
    if token.algorithm not in rules.algorithms:
        raise errors.AlgorithmNotAllowed(
            f"{_VERIFY}: oidc: id token signed with unsupported algorithm, expected "
            f"{quoted_list(sorted(rules.algorithms))} got {quoted(token.algorithm)}"
        )
    key = _signing_key(token, keys)
    registered = registered_claims(token.members)
    _check_issuer(registered, rules)
    if len(rules.audiences) == 1:
        _check_audience(registered, rules)
    expires_at = _check_times(registered, rules.leeway, now)
    if len(rules.audiences) > 1:
        _check_audience(registered, rules)
    return VerifiedToken(dict(token.members), key.identity, expires_at)


def _signing_key(token: UnverifiedToken, keys: KeySet) -> VerificationKey:
    candidates = keys.candidates(token.key_id)
    if not candidates:
        raise errors.KeyUnknown(_SIGNATURE)
    for key in candidates:
        if key.verifies(token.algorithm, token.signing_input, token.signature):
            return key
    raise errors.SignatureInvalid(_SIGNATURE)


def _check_issuer(registered: RegisteredClaims, rules: TokenRules) -> None:
    issuer = _ISSUER_ALIASES.get(registered.issuer, registered.issuer)
    if issuer != rules.issuer:
        raise errors.IssuerUnknown(
            f"{_VERIFY}: oidc: id token issued by a different provider, expected "
            f"{quoted(rules.issuer)} got {quoted(registered.issuer)}"
        )


def _check_audience(registered: RegisteredClaims, rules: TokenRules) -> None:
    if not rules.audiences.isdisjoint(registered.audience):
        return
    audiences = sorted(rules.audiences)
    one = len(audiences) == 1
    expected = quoted(audiences[0]) if one else f"in {quoted_list(audiences)}"
    raise errors.AudienceMismatch(
        f"{_VERIFY}: oidc: expected audience {expected} got {quoted_list(registered.audience)}"
    )


def _check_times(registered: RegisteredClaims, leeway: float, now: float) -> float:
    expiry = registered.expiry
    if expiry is None:
        raise errors.TokenExpired(f"{_VERIFY}: oidc: token is expired (Token Expiry: none)")
    if expiry > LAST_UNIX_SECOND or expiry + leeway < now:
        raise errors.TokenExpired(
            f"{_VERIFY}: oidc: token is expired (Token Expiry: {timestamp(expiry)})"
        )
    if registered.not_before is not None and now + NOT_BEFORE_LEEWAY < registered.not_before:
        raise errors.TokenNotYetValid(
            f"{_VERIFY}: oidc: current time {timestamp(int(now))} before the nbf (not before) "
            f"time: {timestamp(registered.not_before)}"
        )
    return expiry + leeway
