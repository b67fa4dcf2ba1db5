"""Every way in which a request can be refused or fail, in one tree.

An error knows four things that must never drift apart, so they are declared together, once: the
HTTP status, the Kubernetes ``reason`` (the words of ``metav1.StatusReason``, chosen as client-go's
``NewGenericServerResponse`` would for that status), the message for the person in front of the
screen, and the ``label``: one stable identifier that is the ``cause`` in the Status body, the
metric label and the log field alike. Other programs rely on these labels; none is ever renamed.

The message says what to do and gives an attacker nothing: no configured value, no token content.
What only the operator may see goes into ``detail``, which reaches the log and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from proxy.denial import Bearer


class ProxyError(Exception):
    """A request that ends here, with the answer it gets.

    ``detail`` is for the log only. It may name claims, files and hosts, never a token or a key.
    """

    code: ClassVar[int] = 500
    reason: ClassVar[str] = "InternalError"
    label: ClassVar[str] = ""
    message: ClassVar[str] = ""
    retry_after: ClassVar[int | None] = None  # seconds, sent as Retry-After
    bearer: Bearer | None = None  # whose token it was, where it held: for the audit log

    def __init__(self, detail: str = "") -> None:
        super().__init__(detail or self.message)
        self.detail = detail


def every_error() -> Iterator[type[ProxyError]]:
    """Yield each error that can be raised (the leaves of the tree), in the order of this file."""

    def leaves(parent: type[ProxyError]) -> Iterator[type[ProxyError]]:
        if parent.label:
            yield parent
        for child in parent.__subclasses__():
            yield from leaves(child)

    yield from leaves(ProxyError)


# --- The request itself: framing, target, limits -------------------------------------------------


class RequestError(ProxyError):
    """What arrived is not a request that may be forwarded with exactly one meaning."""

    code = 400
    reason = "BadRequest"


class MalformedRequest(RequestError):
    label = "malformed_request"
    message = "The request is not well-formed HTTP/1.1."


class TargetNotOriginForm(RequestError):
    label = "target_not_origin_form"
    message = "The request target must start with '/' (origin-form)."


class UpgradeNotSupported(RequestError):
    label = "upgrade_not_supported"
    message = "Only upgrades to websocket and to SPDY/3.1 are supported."


class ConnectionNamesIdentity(RequestError):
    label = "connection_names_identity"
    message = "The Connection header must not name a header that carries an identity."


class MultipleCredentials(RequestError):
    label = "multiple_credentials"
    message = "The request carries more than one credential; send exactly one bearer token."


class ImpersonationMalformed(RequestError):
    label = "impersonation_malformed"
    message = (
        "The impersonation headers do not name one identity: there must be one user, at most one "
        "uid, and no name that is empty, has a blank at an end or holds a control character."
    )


class TooManyImpersonated(RequestError):
    code = 431
    label = "too_many_impersonated"
    message = "The request has too many impersonation headers; ask for fewer groups and extras."


class MethodNotAllowed(RequestError):
    code = 405
    reason = "MethodNotAllowed"
    label = "method_not_allowed"
    message = "This method is not served here; use GET, HEAD, POST, PUT, PATCH, DELETE or OPTIONS."


class HeadTooLarge(RequestError):
    code = 431
    label = "head_too_large"
    message = "The request line and headers are too large, or there are too many headers."


class TokenTooLarge(RequestError):
    code = 431
    label = "token_too_large"
    message = "The bearer token is too large."


class RequestTimeout(RequestError):
    code = 408
    reason = "Timeout"
    label = "request_timeout"
    message = "The request headers did not arrive in time."


# --- Authentication: who is asking ---------------------------------------------------------------


class AuthenticationError(ProxyError):
    """There is no token, or it does not prove who is asking. Answered with WWW-Authenticate."""

    code = 401
    reason = "Unauthorized"


class TokenMissing(AuthenticationError):
    label = "token_missing"
    message = "No bearer token was sent. Sign in first."


class TokenMalformed(AuthenticationError):
    label = "token_malformed"
    message = (
        "The bearer token is not a well-formed ID token. If you signed in with an access token, "
        "use the ID token instead."
    )


class IssuerUnknown(AuthenticationError):
    label = "issuer_unknown"
    message = "The token was issued by an identity provider that is not trusted here."


class TokenUnknown(AuthenticationError):
    label = "token_unknown"
    message = (
        "Neither an identity provider that is trusted here nor the API server knows this token. "
        "Sign in again."
    )


class AudienceMismatch(AuthenticationError):
    label = "audience_mismatch"
    message = "The token was issued for another client, not for this cluster's client id."


class AlgorithmNotAllowed(AuthenticationError):
    label = "algorithm_not_allowed"
    message = "The token is signed with an algorithm that is not accepted here."


class KeyUnknown(AuthenticationError):
    label = "key_unknown"
    message = "The token was signed with a key that its issuer does not publish. Sign in again."


class SignatureInvalid(AuthenticationError):
    label = "signature_invalid"
    message = "The token's signature is not valid. Sign in again."


class TokenExpired(AuthenticationError):
    label = "token_expired"
    message = "The token has expired. Sign in again."


class TokenNotYetValid(AuthenticationError):
    label = "token_not_yet_valid"
    message = "The token is not valid yet. A clock may be wrong: the issuer's or this cluster's."


class ClaimMalformed(AuthenticationError):
    label = "claim_malformed"
    message = "A claim of the token has a type that is not accepted."


class UsernameMissing(AuthenticationError):
    label = "username_missing"
    message = (
        "The token does not carry the claim that names its user. If that is the e-mail address, "
        "sign in with the scope 'email'."
    )


class EmailNotVerified(AuthenticationError):
    label = "email_not_verified"
    message = "The identity provider says that the e-mail address of this user is not verified."


class RequiredClaimMismatch(AuthenticationError):
    label = "required_claim_mismatch"
    message = "The token lacks a claim that is required here, or carries another value of it."


class ExpressionFailed(AuthenticationError):
    label = "expression_failed"
    message = "The token's claims do not fit the expressions by which users are made of them here."


class ClaimRuleBroken(AuthenticationError):
    label = "claim_rule_broken"
    message = "The token's claims do not keep a rule that is set here."


class UserRuleBroken(AuthenticationError):
    label = "user_rule_broken"
    message = "The user that the token speaks of does not keep a rule that is set here."


class DistributedClaimsUnavailable(AuthenticationError):
    label = "distributed_claims_unavailable"
    message = "The token points elsewhere for the groups of its user, where they cannot be had."


class KeysUnavailable(ProxyError):
    code = 503
    reason = "ServiceUnavailable"
    label = "keys_unavailable"
    message = "The identity provider's keys could not be fetched yet. Try again in a moment."
    retry_after = 5


class TokenReviewUnavailable(ProxyError):
    code = 503
    reason = "ServiceUnavailable"
    label = "token_review_unavailable"
    message = "The API server did not say whose token this is. Try again in a moment."
    retry_after = 5


# --- Identity: what may be asserted upstream -----------------------------------------------------


class IdentityError(ProxyError):
    """The user is known, but the identity is not one that this proxy may assert."""

    code = 403
    reason = "Forbidden"


class ImpersonationNotAllowed(IdentityError):
    label = "impersonation_not_allowed"
    message = "Impersonation headers are not accepted here; leave out --as and --as-group."


class ImpersonationDenied(IdentityError):
    label = "impersonation_denied"
    message = (
        "You may not impersonate that user, or one of these groups, uids or extras: it needs the "
        "verb 'impersonate' on each."
    )


class UsernameMalformed(IdentityError):
    label = "username_malformed"
    message = (
        "The user name in the token is empty, begins or ends with a blank, or holds a control "
        "character."
    )


class UsernameReserved(IdentityError):
    label = "username_reserved"
    message = "The user name in the token is reserved for the cluster's own components."


class GroupMalformed(IdentityError):
    label = "group_malformed"
    message = (
        "A group in the token is empty, begins or ends with a blank, or holds a control character."
    )


class GroupReserved(IdentityError):
    label = "group_reserved"
    message = "A group in the token is reserved for the cluster or for this proxy."


class TooManyGroups(IdentityError):
    label = "too_many_groups"
    message = "The token carries too many groups."


class AccessReviewUnavailable(ProxyError):
    code = 503
    reason = "ServiceUnavailable"
    label = "access_review_unavailable"
    message = "The API server did not say whether you may impersonate. Try again in a moment."
    retry_after = 5


class UidMalformed(IdentityError):
    label = "uid_malformed"
    message = "The user's UID begins or ends with a blank, or holds a control character."


class ExtraMalformed(IdentityError):
    label = "extra_malformed"
    message = (
        "Extra information about the user is empty, begins or ends with a blank, holds a control "
        "character, or is too much."
    )


class Denied(ProxyError):
    """The operator has locked this user, or this token, out; whatever else would be right."""

    code = 403
    reason = "Forbidden"
    label = "denied"
    message = (
        "Access to this cluster has been suspended for you. Ask those who run it; signing in "
        "again does not help."
    )


class SessionNotRecordable(ProxyError):
    """Every session must be recorded here, and of this one nothing can be."""

    code = 403
    reason = "Forbidden"
    label = "session_not_recordable"
    message = (
        "Sessions are recorded here, and this one cannot be. Use a client that speaks WebSocket: "
        "Headlamp, or kubectl 1.31 or later without KUBECTL_REMOTE_COMMAND_WEBSOCKETS=false."
    )


class RecordingFailed(ProxyError):
    """Every session must be recorded here, and the recording cannot be written."""

    code = 403
    reason = "Forbidden"
    label = "recording_failed"
    message = (
        "Sessions are recorded here, and the recording cannot be written now. Tell those who run "
        "this cluster."
    )


# --- Limits --------------------------------------------------------------------------------------


class LimitError(ProxyError):
    """The user has as much under way as one user may."""

    code = 429
    reason = "TooManyRequests"
    retry_after = 1


class TooManyRequests(LimitError):
    label = "too_many_requests"
    message = "You have too many requests in flight. Try again in a moment."


class TooManyStreams(LimitError):
    label = "too_many_streams"
    message = "You have too many watches and sessions open. Close some and try again."


class TooManyConnections(ProxyError):
    """Answered before anything is known of who asks."""

    code = 503
    reason = "ServiceUnavailable"
    label = "too_many_connections"
    message = "The proxy has as many connections as it may have. Try again in a moment."
    retry_after = 5


# --- Our own side: credential, upstream ----------------------------------------------------------


class CredentialError(ProxyError):
    """This proxy's own credential is the trouble, never the user's: not a 401."""

    code = 503
    reason = "ServiceUnavailable"
    retry_after = 5


class CredentialUnavailable(CredentialError):
    label = "credential_unavailable"
    message = "The proxy has no usable credential of its own for the API server."


class CredentialRejected(CredentialError):
    label = "credential_rejected"
    message = "The API server did not accept the proxy's own credential."


class CredentialWithheld(ProxyError):
    """There is a credential, and it would be dangerous to use it for anybody."""

    code = 503
    reason = "ServiceUnavailable"
    retry_after = 30


class ServiceAccountPrivileged(CredentialWithheld):
    label = "service_account_privileged"
    message = (
        "The proxy does not use its service account, which may do everything in the cluster. An "
        "administrator must take rights away from it."
    )


class ImpersonationBroken(CredentialWithheld):
    label = "impersonation_broken"
    message = (
        "The proxy does not forward requests: the API server sees another user than the one it "
        "is told. An administrator must look at what stands between them."
    )


class UpstreamError(ProxyError):
    """The API server did not give an answer that can be passed on."""

    code = 502


class UpstreamUnreachable(UpstreamError):
    label = "upstream_unreachable"
    message = "The API server could not be reached."


class UpstreamCertificate(UpstreamError):
    label = "upstream_certificate"
    message = "The API server's certificate could not be verified."


class UpstreamReset(UpstreamError):
    label = "upstream_reset"
    message = "The API server closed the connection before it answered."


class UpstreamMalformed(UpstreamError):
    label = "upstream_malformed"
    message = "The API server's answer is not well-formed HTTP."


class UpstreamTimeout(UpstreamError):
    code = 504
    reason = "Timeout"
    label = "upstream_timeout"
    message = "The API server did not answer in time."


class Internal(ProxyError):
    label = "internal"
    message = "The proxy failed to handle the request; its log says more."
