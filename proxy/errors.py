"""Every way in which a request can be refused or fail, in one tree.

An error knows five things that must never drift apart, so they are declared together, once: the
HTTP status, the Kubernetes ``reason`` (the words of ``metav1.StatusReason``, chosen as client-go's
``NewGenericServerResponse`` would for that status), the message for the person in front of the
screen, what mends it, for those who run this, and the ``label``: one stable identifier that is the
``cause`` in the Status body, the metric label and the log field alike. Other programs rely on these
labels; none is ever renamed.

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
    mend: ClassVar[str] = ""  # for those who run it; docs/errors.md and the whoami page show it
    field: ClassVar[str] = ""  # the claim that it is about, where that is always the same
    has_story: ClassVar[bool] = False  # the whoami page can tell its user more
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
    mend = (
        "A client, or something between it and the proxy, writes HTTP that could be read in "
        "two ways; the log's `detail` says what. Use another client, or take out what "
        "stands between."
    )


class TargetNotOriginForm(RequestError):
    label = "target_not_origin_form"
    message = "The request target must start with '/' (origin-form)."
    mend = (
        "The client takes this for a forward proxy. Give it the address as its server, not "
        "as `HTTPS_PROXY`."
    )


class UpgradeNotSupported(RequestError):
    label = "upgrade_not_supported"
    message = "Only upgrades to websocket and to SPDY/3.1 are supported."
    mend = (
        "Only what Kubernetes itself upgrades to passes; use kubectl or Headlamp for "
        "`exec`, logs and port-forward."
    )


class ConnectionNamesIdentity(RequestError):
    label = "connection_names_identity"
    message = "The Connection header must not name a header that carries an identity."
    mend = (
        "Something in front lists an identity header in `Connection`; take that out of its "
        "configuration."
    )


class MultipleCredentials(RequestError):
    label = "multiple_credentials"
    message = "The request carries more than one credential; send exactly one bearer token."
    mend = (
        "Something in front adds an `Authorization` header of its own, or the client sends "
        "a token in two places; leave one."
    )


class ImpersonationMalformed(RequestError):
    label = "impersonation_malformed"
    message = (
        "The impersonation headers do not name one identity: there must be one user, at most one "
        "uid, and no name that is empty, has a blank at an end or holds a control character."
    )
    mend = "Mend the names given with `--as`, `--as-group` or `--as-uid`."


class TooManyImpersonated(RequestError):
    code = 431
    label = "too_many_impersonated"
    message = "The request has too many impersonation headers; ask for fewer groups and extras."
    mend = "Give fewer `--as-group` and extras."


class MethodNotAllowed(RequestError):
    code = 405
    reason = "MethodNotAllowed"
    label = "method_not_allowed"
    message = "This method is not served here; use GET, HEAD, POST, PUT, PATCH, DELETE or OPTIONS."
    mend = "No Kubernetes client uses another method; look at what sends it."


class PageMethodNotAllowed(RequestError):
    code = 405
    reason = "MethodNotAllowed"
    label = "page_method_not_allowed"
    message = "This page can only be read; use GET or HEAD."
    mend = "Open `/.auth-proxy/whoami` in a browser, or with `kubectl get --raw`."


class HeadTooLarge(RequestError):
    code = 431
    label = "head_too_large"
    message = "The request line and headers are too large, or there are too many headers."
    mend = (
        "Often cookies of other applications on Headlamp's host name: give it one of its "
        "own. Or raise `--max-head-bytes` or `--max-head-fields`."
    )


class TokenTooLarge(RequestError):
    code = 431
    label = "token_too_large"
    message = (
        "The bearer token is too large. Ask those who run the identity provider to put "
        "fewer groups into it."
    )
    mend = (
        "Issue fewer groups (tsidp: `extraClaims` of the grants that match this user), or "
        "raise `--max-token-bytes`."
    )
    has_story = True


class RequestTimeout(RequestError):
    code = 408
    reason = "Timeout"
    label = "request_timeout"
    message = "The request headers did not arrive in time."
    mend = (
        "The client or the network stalls before the headers are whole; if it is only slow, "
        "raise `--head-timeout`."
    )


# --- Authentication: who is asking ---------------------------------------------------------------


class AuthenticationError(ProxyError):
    """There is no token, or it does not prove who is asking. Answered with WWW-Authenticate."""

    code = 401
    reason = "Unauthorized"


class TokenMissing(AuthenticationError):
    label = "token_missing"
    message = "No bearer token was sent. Sign in first."
    mend = (
        "Sign in at Headlamp again; if that never helps, look at whether it is set up for "
        "OIDC and whether its cookie arrives. kubectl needs a token in its kubeconfig. "
        "Headlamp's drain sends none at all."
    )


class TokenMalformed(AuthenticationError):
    label = "token_malformed"
    message = (
        "The bearer token is not a well-formed ID token. Sign in again; if you signed in "
        "with an access token, use the ID token instead."
    )
    mend = (
        "Take `-oidc-use-access-token` off Headlamp: tsidp's access tokens are no JWTs. For "
        "kubectl, give `id_token`. For tokens of service accounts there is `--token-"
        "passthrough`."
    )
    has_story = True


class IssuerUnknown(AuthenticationError):
    label = "issuer_unknown"
    message = (
        "The token was issued by an identity provider that is not trusted here. Sign in "
        "through the one that this cluster uses, or ask those who run it."
    )
    mend = (
        "The token's `iss` must be `--oidc-issuer-url` to the letter, a slash at the end "
        "included; the log's `detail` has the one that came. Set both Headlamp and the "
        "proxy to the `issuer` of the provider's discovery document."
    )
    field = "iss"
    has_story = True


class TokenUnknown(AuthenticationError):
    label = "token_unknown"
    message = (
        "Neither an identity provider that is trusted here nor the API server knows this token. "
        "Sign in again."
    )
    mend = (
        "The token has ended, or is of another cluster, or for another audience: get a new "
        "one, or set `--token-passthrough-audience`."
    )
    has_story = True


class AudienceMismatch(AuthenticationError):
    label = "audience_mismatch"
    message = (
        "The token was issued for another application, not for this cluster. Sign in "
        "through this cluster's own Headlamp, or ask those who run it to compare client "
        "ids."
    )
    mend = (
        "Give `--oidc-client-id` the client id that Headlamp signs in with (repeat it for "
        "kubectl's); the log's `detail` has the one that came."
    )
    field = "aud"
    has_story = True


class AlgorithmNotAllowed(AuthenticationError):
    label = "algorithm_not_allowed"
    message = (
        "The token is signed with an algorithm that is not accepted here. Those who run "
        "this cluster must allow it, or have the identity provider use another."
    )
    mend = (
        "Name the algorithm in `--oidc-signing-algs`, if it is one that you want; the log's "
        "`detail` has it."
    )
    has_story = True


class KeyUnknown(AuthenticationError):
    label = "key_unknown"
    message = "The token was signed with a key that its issuer does not publish. Sign in again."
    mend = (
        "The issuer has a new key (tsidp: its state was lost), so old tokens are void: sign "
        "in again. If it lasts, the keys that are fetched are old: look at what caches the "
        "issuer's `jwks_uri`, or renew `--oidc-jwks-file`."
    )
    has_story = True


class SignatureInvalid(AuthenticationError):
    label = "signature_invalid"
    message = (
        "The token's signature is not valid. Sign in again; if that does not help, tell "
        "those who run this cluster."
    )
    mend = (
        "The token was changed on its way, or another server answers under the issuer's "
        "name. Look at where the issuer's name leads to from Headlamp and from the proxy."
    )
    has_story = True


class TokenExpired(AuthenticationError):
    label = "token_expired"
    message = "The token has expired. Reload the page, or sign in again."
    mend = (
        "Headlamp refreshes tokens while its page is open, and needs tsidp's refresh tokens "
        "for it; without, one signs in again. If new tokens are refused too, the clock of "
        "the issuer or of the node is wrong. `--oidc-clock-skew` is the leeway."
    )
    field = "exp"
    has_story = True


class TokenNotYetValid(AuthenticationError):
    label = "token_not_yet_valid"
    message = (
        "The token is not valid yet, so a clock is wrong: the issuer's or this cluster's. "
        "Try again in a minute, or tell those who run it."
    )
    mend = "Set the clock of the issuer's host, or that of the node, by NTP."
    field = "nbf"
    has_story = True


class ClaimMalformed(AuthenticationError):
    label = "claim_malformed"
    message = (
        "A claim of the token has a type that is not accepted. Those who run this cluster "
        "must mend what the identity provider puts into it."
    )
    mend = (
        "The log's `detail` names the claim. Groups are a text or a list of texts, and "
        "`email_verified` is a boolean."
    )
    has_story = True


class UsernameMissing(AuthenticationError):
    label = "username_missing"
    message = (
        "The token does not carry the claim that names its user. If that is the e-mail address, "
        "sign in with the scope 'email'."
    )
    mend = (
        "Add `email` to the scopes that Headlamp asks for (`OIDC_SCOPES=email,profile`) and "
        "sign in again; or name a claim that tokens do have in `--oidc-username-claim`. A "
        "tagged device has no person, and no e-mail address, at tsidp."
    )
    has_story = True


class EmailNotVerified(AuthenticationError):
    label = "email_not_verified"
    message = (
        "The identity provider says that the e-mail address of this user is not verified. "
        "Verify it there, and sign in again."
    )
    mend = (
        "Have the user verify the address at the provider; or take another claim for the "
        "name (`--oidc-username-claim=sub`)."
    )
    field = "email_verified"
    has_story = True


class RequiredClaimMismatch(AuthenticationError):
    label = "required_claim_mismatch"
    message = (
        "The token lacks a claim that is required here, or carries another value of it. Ask "
        "those who run this cluster whether you should have it."
    )
    mend = (
        "The log's `detail` says which claim (`--oidc-required-claim`). Have the provider "
        "issue it for this user, or do not require it."
    )
    has_story = True


class ExpressionFailed(AuthenticationError):
    label = "expression_failed"
    message = (
        "The token's claims do not fit the expressions by which users are made of them "
        "here. Those who run this cluster must look at it."
    )
    mend = (
        "The log's `detail` has the expression's error. Guard claims that not every token "
        "has: `has(claims.x) ? claims.x : ''`."
    )
    has_story = True


class ClaimRuleBroken(AuthenticationError):
    label = "claim_rule_broken"
    message = (
        "The token's claims do not keep a rule that is set here. Ask those who run this "
        "cluster whether you should be let in."
    )
    mend = "The log's `detail` has the rule's message (`claimValidationRules`)."
    has_story = True


class UserRuleBroken(AuthenticationError):
    label = "user_rule_broken"
    message = (
        "The user that the token speaks of does not keep a rule that is set here. Ask those "
        "who run this cluster whether you should be let in."
    )
    mend = "The log's `detail` has the rule's message (`userValidationRules`)."
    has_story = True


class DistributedClaimsUnavailable(AuthenticationError):
    label = "distributed_claims_unavailable"
    message = (
        "The token points elsewhere for the groups of its user, where they cannot be had "
        "now. Try again in a minute."
    )
    mend = (
        "The log's `detail` says where and why. The provider leaves groups out of tokens "
        "that have too many: have it issue only those of this application."
    )
    has_story = True


class KeysUnavailable(ProxyError):
    code = 503
    reason = "ServiceUnavailable"
    label = "keys_unavailable"
    message = "The identity provider's keys could not be fetched yet. Try again in a moment."
    mend = (
        "The proxy has not reached the issuer since it started; its log says why (name, "
        "route, certificate). An issuer behind the tailnet is reached with `--oidc-http-"
        "proxy`, a private CA with `--oidc-ca-file`."
    )
    has_story = True
    retry_after = 5


class TokenReviewUnavailable(ProxyError):
    code = 503
    reason = "ServiceUnavailable"
    label = "token_review_unavailable"
    message = "The API server did not say whose token this is. Try again in a moment."
    mend = (
        "The proxy's account needs `create` on `tokenreviews`, and the API server must "
        "answer; the proxy's log says which of the two it is."
    )
    retry_after = 5


# --- Identity: what may be asserted upstream -----------------------------------------------------


class IdentityError(ProxyError):
    """The user is known, but the identity is not one that this proxy may assert."""

    code = 403
    reason = "Forbidden"


class ImpersonationNotAllowed(IdentityError):
    label = "impersonation_not_allowed"
    message = "Impersonation headers are not accepted here; leave out --as and --as-group."
    mend = (
        "Leave out `--as`, or set `--allow-impersonation`. If Headlamp sends these headers "
        "itself, switch off its own impersonation."
    )


class ImpersonationDenied(IdentityError):
    label = "impersonation_denied"
    message = (
        "You may not impersonate that user, or one of these groups, uids or extras: it needs the "
        "verb 'impersonate' on each."
    )
    mend = (
        "Grant the user the verb `impersonate` on each name, by RBAC, and the proxy's account too."
    )


class UsernameMalformed(IdentityError):
    label = "username_malformed"
    message = (
        "The user name in the token is empty, begins or ends with a blank, or holds a control "
        "character."
    )
    mend = (
        "Mend the user's name at the identity provider, or take another claim (`--oidc-"
        "username-claim`)."
    )
    has_story = True


class UsernameReserved(IdentityError):
    label = "username_reserved"
    message = "The user name in the token is reserved for the cluster's own components."
    mend = (
        "Nobody may be called so who signs in. Mend the name at the provider, or set "
        "`--oidc-username-prefix`."
    )
    has_story = True


class GroupMalformed(IdentityError):
    label = "group_malformed"
    message = (
        "A group in the token is empty, begins or ends with a blank, or holds a control character."
    )
    mend = (
        "Mend the group at the identity provider (tsidp: the grant's `extraClaims`), or "
        "leave it out with `--groups-allow`."
    )
    has_story = True


class GroupReserved(IdentityError):
    label = "group_reserved"
    message = "A group in the token is reserved for the cluster or for this proxy."
    mend = (
        "Rename the group at the provider, drop it with `--groups-allow`, or let it pass "
        "with `--allow-reserved-group` (`system:masters` never does)."
    )
    has_story = True


class TooManyGroups(IdentityError):
    label = "too_many_groups"
    message = "The token carries too many groups."
    mend = (
        "Drop what is not needed with `--groups-allow`, issue fewer groups, or raise "
        "`--max-groups`."
    )
    has_story = True


class UidMalformed(IdentityError):
    label = "uid_malformed"
    message = "The user's UID begins or ends with a blank, or holds a control character."
    mend = "Mend the claim or the expression that gives the UID (`claimMappings.uid`)."
    has_story = True


class ExtraMalformed(IdentityError):
    label = "extra_malformed"
    message = (
        "Extra information about the user is empty, begins or ends with a blank, holds a control "
        "character, or is too much."
    )
    mend = "Mend the expressions that give extra information (`claimMappings.extra`)."
    has_story = True


class AccessReviewUnavailable(ProxyError):
    code = 503
    reason = "ServiceUnavailable"
    label = "access_review_unavailable"
    message = "The API server did not say whether you may impersonate. Try again in a moment."
    mend = (
        "The proxy's account needs `create` on `subjectaccessreviews`, and the API server "
        "must answer; the proxy's log says which of the two it is."
    )
    retry_after = 5


# --- The operator's own word: who is locked out, and what must be recorded -----------------------


class Denied(ProxyError):
    """The operator has locked this user, or this token, out; whatever else would be right."""

    code = 403
    reason = "Forbidden"
    label = "denied"
    message = (
        "Access to this cluster has been suspended for you. Ask those who run it; signing in "
        "again does not help."
    )
    mend = (
        "Take the user, group, subject or token id out of `--deny-file`, if it is in there "
        "by mistake."
    )
    has_story = True


class SessionNotRecordable(ProxyError):
    """Every session must be recorded here, and of this one nothing can be."""

    code = 403
    reason = "Forbidden"
    label = "session_not_recordable"
    message = (
        "Sessions are recorded here, and this one cannot be. Use a client that speaks WebSocket: "
        "Headlamp, or kubectl 1.31 or later without KUBECTL_REMOTE_COMMAND_WEBSOCKETS=false."
    )
    mend = (
        "Only WebSocket can be read along with, and not SPDY. Have the user take such a client, or "
        "let what cannot be recorded pass with `--record-sessions-failure=open`."
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
    mend = (
        "The proxy's log says why `--record-sessions` cannot be written to: free its disk, let the "
        "proxy write there, or raise `--record-sessions-max-bytes`."
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
    mend = (
        "One user has very many requests open: a script, or many tabs. Slow it down, or "
        "raise `--max-requests-per-user`."
    )


class TooManyStreams(LimitError):
    label = "too_many_streams"
    message = "You have too many watches and sessions open. Close some and try again."
    mend = (
        "Headlamp holds a watch for each list that is shown, kubectl one for each `-w`, log "
        "and shell. Close some, or raise `--max-streams-per-user`."
    )


class PageTooOften(LimitError):
    label = "page_too_often"
    message = "You have opened this page too often. Wait a moment, and reload it."
    mend = (
        "A user may open `/.auth-proxy/whoami` twenty times at once, and then four times a "
        "second. Look at what reads it in a loop."
    )


class TooManyConnections(ProxyError):
    """Answered before anything is known of who asks."""

    code = 503
    reason = "ServiceUnavailable"
    label = "too_many_connections"
    message = "The proxy has as many connections as it may have. Try again in a moment."
    mend = (
        "Look at who holds them (`headlamp_auth_proxy_connections_open`); raise `--max-"
        "connections`, and the limit of open files with it."
    )
    retry_after = 5


# --- Our own side: credential, upstream ----------------------------------------------------------


class CredentialError(ProxyError):
    """This proxy's own credential is the trouble, never the user's: not a 401."""

    code = 503
    reason = "ServiceUnavailable"
    retry_after = 5


class CredentialUnavailable(CredentialError):
    label = "credential_unavailable"
    message = (
        "The proxy has no usable credential of its own for the API server. Those who run "
        "this cluster must look at it; signing in again does not help."
    )
    mend = (
        "Look at the file of `--upstream-token-file`, or at the user of `--kubeconfig`: it "
        "is missing, unreadable or past its end. In a pod, look at the projected volume."
    )
    has_story = True


class CredentialRejected(CredentialError):
    label = "credential_rejected"
    message = (
        "The API server did not accept the proxy's own credential. Those who run this "
        "cluster must look at it; signing in again does not help."
    )
    mend = (
        "The token is of another cluster, has another audience, or its account is gone. "
        "Mount a new one; it is looked at each second."
    )


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
    mend = (
        "Take the binding that gives `*` on `*` off the proxy's account (Headlamp's chart "
        "makes one: `clusterRoleBinding.create: false`)."
    )
    has_story = True


class ImpersonationBroken(CredentialWithheld):
    label = "impersonation_broken"
    message = (
        "The proxy does not forward requests: the API server sees another user than the one it "
        "is told. An administrator must look at what stands between them."
    )
    mend = (
        "Something between the proxy and the API server changes identity headers, or "
        "`--upstream` is not an API server. Take it out."
    )
    has_story = True


class UpstreamError(ProxyError):
    """The API server did not give an answer that can be passed on."""

    code = 502


class UpstreamUnreachable(UpstreamError):
    label = "upstream_unreachable"
    message = "The API server could not be reached. Try again in a moment."
    mend = (
        "The log's `detail` says how it failed. Look at `--upstream`, at DNS and at network "
        "policies."
    )


class UpstreamCertificate(UpstreamError):
    label = "upstream_certificate"
    message = (
        "The API server's certificate could not be verified. Those who run this cluster "
        "must look at it."
    )
    mend = (
        "Give the cluster's own CA in `--upstream-ca-file`, and an address that is in the "
        "certificate."
    )


class UpstreamReset(UpstreamError):
    label = "upstream_reset"
    message = "The API server closed the connection before it answered. Try again."
    mend = (
        "It happens while an API server restarts. If it lasts, look at the load balancer in "
        "front of it."
    )


class UpstreamMalformed(UpstreamError):
    label = "upstream_malformed"
    message = (
        "The API server's answer is not well-formed HTTP. Those who run this cluster must "
        "look at what answers there."
    )
    mend = "Something else answers at `--upstream`; the log's `detail` says how."


class UpstreamTimeout(UpstreamError):
    code = 504
    reason = "Timeout"
    label = "upstream_timeout"
    message = "The API server did not answer in time. Try again in a moment."
    mend = (
        "It is overloaded, or a webhook or aggregated API behind it hangs: ask it directly "
        "with the same request."
    )


class Internal(ProxyError):
    label = "internal"
    message = "The proxy failed to handle the request; its log says more."
    mend = "A fault of the proxy: please report it, with the log line."
