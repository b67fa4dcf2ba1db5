"""Every cause that ``doctor`` can name, once. Programs rely on these ids; none is ever renamed.

The mend is not here: it names the flag, the value or the object at hand, and is written where the
cause is found.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from proxy.errors import every_error
from proxy.tools.doctor.trouble import Kind

TRUSTS: Final = {
    1: "the browser and the Headlamp address",
    2: "Headlamp and the issuer",
    3: "the issuer and Headlamp as its client",
    4: "the API server and this proxy",
    5: "RBAC and the user",
}


@dataclass(frozen=True, slots=True)
class Cause:
    """Why a trust is not what it should be; ``trust`` is 0 for what can befall any of them."""

    id: str
    trust: int
    meaning: str


EVERY_CAUSE: Final[dict[str, Cause]] = {}


def _cause(trust: int, id_: str, meaning: str) -> Cause:
    assert id_ not in EVERY_CAUSE, id_
    cause = EVERY_CAUSE[id_] = Cause(id_, trust, meaning)
    return cause


# --- Any trust -----------------------------------------------------------------------------------

SETTINGS_REFUSED = _cause(0, "settings_refused", "`serve` would not start with these settings.")
NOT_ASKED = _cause(0, "not_asked", "What would be needed to examine this was not given.")
DEPENDS_ON_FAILED = _cause(0, "depends_on_failed", "A trust that this one rests on has failed.")
OUT_OF_TIME = _cause(0, "out_of_time", "It took longer than `--timeout`.")
EXAMINATION_FAILED = _cause(0, "examination_failed", "This program failed here; that is a bug.")


# --- Ways: what can befall the way to Headlamp, the issuer and the API server alike --------------

_WAYS: Final = {
    Kind.PROXY: "the proxy on the way does not lead there.",
    Kind.NAME: "its name has no address here.",
    Kind.REFUSED: "nothing listens at its address and port.",
    Kind.SILENT: "nothing answers at its address: a firewall, a policy, a route.",
    Kind.CLOSED: "the connection is closed when TLS begins.",
    Kind.NOT_TLS: "what listens there does not speak TLS.",
    Kind.TLS: "no TLS can be agreed on.",
    Kind.EXPIRED: "its certificate, or one above it, has ended.",
    Kind.EARLY: "its certificate is not valid yet, or a clock is wrong.",
    Kind.NAMES: "its certificate is for other names.",
    Kind.CHAIN: "it sends its certificate without the intermediate one.",
    Kind.UNSUITABLE: "its certificate, or one above it, is too weak or for another purpose.",
    Kind.CA: "its certificate is from a CA that is not trusted here.",
}
HEADLAMP_WAY: Final = {
    kind: _cause(1, f"headlamp_{kind}", f"Headlamp: {meaning}") for kind, meaning in _WAYS.items()
}
ISSUER_WAY: Final = {
    kind: _cause(2, f"issuer_{kind}", f"The issuer: {meaning}") for kind, meaning in _WAYS.items()
}
JWKS_WAY: Final = {
    kind: _cause(2, f"jwks_{kind}", f"Where the issuer's keys are: {meaning}")
    for kind, meaning in _WAYS.items()
}

# --- 1: the browser and the Headlamp address -----------------------------------------------------

HEADLAMP_NOT_SEEN_FROM_HERE = _cause(
    1, "headlamp_not_seen_from_here", "The address is one that only browsers need to reach."
)
HEADLAMP_PLAIN_HTTP = _cause(
    1, "headlamp_plain_http", "Browsers send their tokens to Headlamp without TLS."
)
HEADLAMP_NO_ANSWER = _cause(1, "headlamp_no_answer", "It takes connections and does not answer.")
HEADLAMP_BACKEND_DOWN = _cause(
    1, "headlamp_backend_down", "What stands before Headlamp has no Headlamp to pass requests to."
)
HEADLAMP_REDIRECTS = _cause(
    1, "headlamp_redirects", "The address leads elsewhere; the other one is Headlamp's."
)
HEADLAMP_BEHIND_LOGIN = _cause(1, "headlamp_behind_login", "Another login stands before Headlamp.")
HEADLAMP_REFUSES_HOST = _cause(
    1, "headlamp_refuses_host", "Headlamp listens on loopback alone and refuses this name."
)
NOT_HEADLAMP = _cause(1, "not_headlamp", "What answers at the address is not Headlamp.")
HEADLAMP_BASE_PATH = _cause(
    1, "headlamp_base_path", "Under a base path, Headlamp never renews a token."
)
CERTIFICATE_ENDS_SOON = _cause(
    0, "certificate_ends_soon", "A certificate ends within days and was not renewed yet."
)

# --- 2: Headlamp and the issuer ------------------------------------------------------------------

ISSUER_BEHIND_TAILNET = _cause(
    2, "issuer_behind_tailnet", "The issuer is in a tailnet to which there is no way from here."
)
DISCOVERY_FAILED = _cause(2, "discovery_failed", "The issuer does not give its discovery document.")
DISCOVERY_NOT_FOUND = _cause(
    2, "discovery_not_found", "There is no discovery document under the issuer's URL."
)
DISCOVERY_FORBIDDEN = _cause(
    2, "discovery_forbidden", "The discovery document is refused without a login or a grant."
)
DISCOVERY_REDIRECTS = _cause(
    2, "discovery_redirects", "The discovery document is elsewhere; redirects are not followed."
)
DISCOVERY_INVALID = _cause(
    2, "discovery_invalid", "What is there is not a discovery document that can be used."
)
ISSUER_MISMATCH = _cause(
    2, "issuer_mismatch", "The issuer calls itself otherwise; the two are compared as strings."
)
JWKS_FAILED = _cause(2, "jwks_failed", "The issuer does not give its keys.")
JWKS_INVALID = _cause(2, "jwks_invalid", "What is there is not a set of keys that can be used.")
JWKS_FILE_STALE = _cause(
    2, "jwks_file_stale", "`--oidc-jwks-file` does not hold the keys that the issuer signs with."
)
JWKS_NOT_COMPARED = _cause(
    2, "jwks_not_compared", "Whether `--oidc-jwks-file` is up to date cannot be told from here."
)
SIGNING_ALGS_MISMATCH = _cause(
    2, "signing_algs_mismatch", "The issuer signs with no algorithm that is accepted."
)
CLOCK_SKEW = _cause(2, "clock_skew", "The issuer's clock and ours are too far apart.")
NO_REFRESH_TOKENS = _cause(
    2, "no_refresh_tokens", "The issuer renews nothing: people sign in anew when their token ends."
)
EMAIL_SCOPE_MISSING = _cause(
    2, "email_scope_missing", "The user is named by `email`, and Headlamp does not ask for it."
)
SCOPE_MISSING = _cause(
    2, "scope_missing", "Headlamp does not ask for the scope that a needed claim comes with."
)
SCOPE_UNSUPPORTED = _cause(
    2, "scope_unsupported", "Headlamp asks for a scope that the issuer refuses."
)
TAGS_NEVER_ARRIVE = _cause(
    2, "tags_never_arrive", "Groups are read from `tags`, which tsidp never puts into a token."
)
CLAIM_NEVER_ARRIVES = _cause(
    2, "claim_never_arrives", "A claim is configured that tsidp never puts into a token."
)
TAILNET_WITHOUT_DOT = _cause(
    2, "tailnet_without_dot", "The claim `tailnet` ends in a dot, and the required value does not."
)
HEADLAMP_OIDC_OFF = _cause(2, "headlamp_oidc_off", "Headlamp has no OIDC settings for the cluster.")
HEADLAMP_NO_CLUSTER = _cause(2, "headlamp_no_cluster", "Headlamp knows no cluster.")
HEADLAMP_CANNOT_REACH_ISSUER = _cause(
    2, "headlamp_cannot_reach_issuer", "Headlamp itself does not get to the issuer."
)
HEADLAMP_DISTRUSTS_ISSUER = _cause(
    2, "headlamp_distrusts_issuer", "Headlamp does not trust the issuer's certificate."
)
HEADLAMP_ISSUER_MISMATCH = _cause(
    2, "headlamp_issuer_mismatch", "Headlamp writes the issuer otherwise than it calls itself."
)
HEADLAMP_OTHER_ISSUER = _cause(
    2, "headlamp_other_issuer", "Headlamp sends people to another issuer than the configured one."
)

# --- 3: the issuer and Headlamp as its client ----------------------------------------------------

CLIENT_UNKNOWN = _cause(3, "client_unknown", "The issuer has no client of this id.")
CLIENT_REFUSED = _cause(3, "client_refused", "The issuer does not let this client sign people in.")
CALLBACK_MISMATCH = _cause(
    3, "callback_mismatch", "The callback that Headlamp names is not registered for its client."
)
CALLBACK_ELSEWHERE = _cause(
    3, "callback_elsewhere", "The callback that Headlamp names does not lead back to it."
)
HEADLAMP_REPLICAS = _cause(
    3, "headlamp_replicas", "A login does not come back to the replica of Headlamp that began it."
)
PKCE_REQUIRED = _cause(3, "pkce_required", "The issuer wants PKCE, which Headlamp does not use.")
AUTHORIZE_OVER_FUNNEL = _cause(
    3,
    "authorize_over_funnel",
    "Asked over Funnel, tsidp signs nobody in; the tailnet must be used.",
)
AUTHORIZE_FAILED = _cause(3, "authorize_failed", "The authorize endpoint gave no telling answer.")
TAGGED_DEVICE = _cause(
    3, "tagged_device", "The device is tagged; tsidp signs in nobody from such a one."
)
SECRET_NOT_CHECKED = _cause(
    3, "secret_not_checked", "The client secret shows only in a real login (`--login`)."
)
SECRET_WRONG = _cause(3, "secret_wrong", "The issuer does not take the client secret.")
PROTECTED_CLAIM_IN_GRANT = _cause(
    3, "protected_claim_in_grant", "A grant names a protected claim, which ends every login."
)
GRANT_UNREADABLE = _cause(3, "grant_unreadable", "A grant cannot be read, which ends every login.")
NO_ID_TOKEN = _cause(3, "no_id_token", "The issuer gave tokens, and no ID token among them.")
LOGIN_FAILED = _cause(3, "login_failed", "The login was begun and did not come to a token.")
LOGIN_NOT_FINISHED = _cause(3, "login_not_finished", "Nobody came back from the login in time.")

# --- 4 and 5: see below, where they are examined -------------------------------------------------

HEADLAMP_BYPASSES_PROXY = _cause(
    4, "headlamp_bypasses_proxy", "Headlamp speaks to the API server itself, not to this proxy."
)
HEADLAMP_USES_OWN_ACCOUNT = _cause(
    4, "headlamp_uses_own_account", "Headlamp serves everybody with its own service account."
)
HEADLAMP_CANNOT_REACH_PROXY = _cause(
    4, "headlamp_cannot_reach_proxy", "Headlamp does not get to this proxy, or does not trust it."
)
SHARED_IN_USER = _cause(
    5,
    "shared_in_user",
    "The user is of another tailnet, shared in; the token is good all the same.",
)
NO_GROUPS_IN_TOKEN = _cause(5, "no_groups_in_token", "The token has no groups.")
GROUPS_NOT_READ = _cause(
    5, "groups_not_read", "The token has its groups in a claim that the proxy does not read."
)

# --- Tokens: the labels under which the proxy refuses them (docs/errors.md) ----------------------

_TOKEN_TRUSTS: Final = {
    "token_malformed": 2,
    "token_too_large": 2,
    "issuer_unknown": 2,
    "audience_mismatch": 3,
    "algorithm_not_allowed": 2,
    "key_unknown": 2,
    "signature_invalid": 2,
    "token_expired": 2,
    "token_not_yet_valid": 2,
    "claim_malformed": 2,
    "username_missing": 2,
    "email_not_verified": 2,
    "required_claim_mismatch": 2,
    "expression_failed": 2,
    "claim_rule_broken": 2,
    "user_rule_broken": 2,
    "distributed_claims_unavailable": 2,
    "username_malformed": 5,
    "username_reserved": 5,
    "group_malformed": 5,
    "group_reserved": 5,
    "too_many_groups": 5,
    "uid_malformed": 5,
    "extra_malformed": 5,
}
TOKEN_CAUSES: Final = {
    error.label: _cause(_TOKEN_TRUSTS[error.label], error.label, error.message)
    for error in every_error()
    if error.label in _TOKEN_TRUSTS
}


# --- 4: the API server and this proxy ------------------------------------------------------------

API_SERVER_WAY: Final = {
    kind: _cause(4, f"api_server_{kind}", f"The API server: {meaning}")
    for kind, meaning in _WAYS.items()
}
API_SERVER_IS_US = _cause(
    4, "api_server_is_this_proxy", "What is given as the API server is this proxy itself."
)
API_SERVER_CA_FILE = _cause(
    4, "api_server_ca_file", "The CA file for the API server is missing, or cannot be used."
)
API_SERVER_NO_ANSWER = _cause(
    4, "api_server_no_answer", "It takes connections and does not answer."
)
API_SERVER_FAILING = _cause(4, "api_server_failing", "The API server answers with an error.")
NOT_AN_API_SERVER = _cause(4, "not_an_api_server", "What answers is not a Kubernetes API server.")
API_SERVER_CLOCK = _cause(4, "api_server_clock", "The API server's clock and ours differ.")
API_SERVER_OLD = _cause(
    4, "api_server_old", "The API server is older than what the proxy is deployed by needs."
)
KUBECONFIG_UNUSABLE = _cause(
    4, "kubeconfig_unusable", "The kubeconfig is missing, or cannot be used as it is."
)
CREDENTIAL_MISSING = _cause(
    4, "credential_missing", "The file with the proxy's own token or certificate is not there."
)
CREDENTIAL_EMPTY = _cause(4, "credential_empty", "The file with the proxy's own token is empty.")
CREDENTIAL_MALFORMED = _cause(
    4, "credential_malformed", "What is in the file of the proxy's own credential is none."
)
CREDENTIAL_EXPIRED = _cause(4, "credential_expired", "The proxy's own credential has ended.")
CREDENTIAL_AUDIENCE = _cause(
    4, "credential_audience", "The proxy's own token is meant for others than the API server."
)
CREDENTIAL_OF_A_USER = _cause(
    4, "credential_of_a_user", "In place of the proxy's own token there is one of a user."
)
CREDENTIAL_IS_PLACEHOLDER = _cause(
    4,
    "credential_is_placeholder",
    "In place of the proxy's own token there is the text that Headlamp gets.",
)
CREDENTIAL_PLUGIN = _cause(
    4, "credential_plugin_failed", "The kubeconfig's exec plugin gives no credential."
)
CREDENTIAL_REJECTED = _cause(
    4, "credential_rejected", "The API server does not know the proxy's own credential."
)
CREDENTIAL_LOST = _cause(
    4, "credential_lost", "The API server does not get to see the proxy's own credential."
)
ACCOUNT_PRIVILEGED = _cause(
    4, "account_privileged", "The proxy's own account may do everything in the cluster."
)
ACCOUNT_BEYOND = _cause(
    4, "account_beyond_impersonation", "The proxy's own account may do more than impersonate."
)
ACCOUNT_IMPERSONATES_RESERVED = _cause(
    4,
    "account_impersonates_reserved",
    "The proxy's own account may become identities that the proxy never asserts.",
)
ACCOUNT_IMPERSONATES_ANYBODY = _cause(
    4, "account_impersonates_anybody", "The proxy's own account may become any user or group."
)
ACCOUNT_NOT_BOUND = _cause(
    4, "account_not_bound", "The rights to impersonate are bound to another account, or to nobody."
)
ACCOUNT_BOUND_IN_NAMESPACE = _cause(
    4,
    "account_bound_in_namespace",
    "The rights to impersonate are bound in a namespace, where they have no effect.",
)
ACCOUNT_ROLE_MISSING = _cause(
    4, "account_role_missing", "The proxy's own account is bound to a role that does not exist."
)
IMPERSONATION_FORBIDDEN = _cause(
    4, "impersonation_forbidden", "The proxy's own account may not impersonate whom it must."
)
SETTING_FORBIDDEN = _cause(
    4, "setting_forbidden", "The proxy's own account lacks a right that a setting needs."
)
CAP_MISSING = _cause(
    4,
    "cap_missing",
    "Constrained impersonation lacks its second half: what may be done as somebody else.",
)
CONSTRAINED_UNSUPPORTED = _cause(
    4,
    "constrained_unsupported",
    "The rights are for constrained impersonation, which this API server does not have.",
)
IMPERSONATION_LOST = _cause(
    4, "impersonation_lost", "The API server sees somebody else than it was told."
)
RIGHTS_UNKNOWN = _cause(
    4, "rights_unknown", "The API server does not say what the proxy's own account may do."
)
ADMIN_KUBECONFIG = _cause(
    0, "admin_kubeconfig", "`--admin-kubeconfig` cannot be used, or may not read what is needed."
)
TRUST_DIR_UNUSABLE = _cause(
    4, "trust_dir_unusable", "What Headlamp mounts to trust this proxy by is not as it must be."
)
TRUST_DIR_STALE = _cause(
    4, "trust_dir_stale", "`ca.crt` in `--trust-dir` is not the CA of the proxy that is running."
)
PROXY_UNREACHABLE = _cause(4, "proxy_unreachable", "Nothing of this proxy answers at `--listen`.")
PROXY_NOT_OURS = _cause(4, "proxy_not_ours", "What answers at `--listen` is not this proxy.")
PROXY_CERTIFICATE = _cause(
    4, "proxy_certificate", "The certificate that Headlamp meets at `--listen` is not valid there."
)
PROXY_NOT_READY = _cause(4, "proxy_not_ready", "The running proxy says that it is not ready.")
PROXY_NOT_SEEN = _cause(
    4, "proxy_not_seen_from_here", "The running proxy cannot be looked at from here."
)
HEADLAMP_OWN_ACCOUNT = _cause(
    4, "headlamp_own_account", "Headlamp has its own service account where the proxy's CA must be."
)
HEADLAMP_TRUST_MOUNT = _cause(
    4, "headlamp_trust_mount", "Headlamp mounts something else than what the proxy writes for it."
)
TOKEN_SHARED = _cause(
    4, "token_shared", "A container besides the proxy's gets at the token of the proxy's account."
)
POD_OTHER_ACCOUNT = _cause(
    4, "pod_other_account", "The proxy's pod runs as another service account than was named."
)
POD_WITHOUT_PROXY = _cause(4, "pod_without_proxy", "Headlamp's pod has no proxy in it.")

# --- 5: RBAC and the user ------------------------------------------------------------------------

USER_NOT_IMPERSONATED = _cause(
    5, "user_not_impersonated", "The account that asks may not ask as this user."
)
NOTHING_GRANTED = _cause(
    5, "nothing_granted", "No binding gives the user anything beyond discovery."
)
GRANTED_ELSEWHERE = _cause(
    5, "granted_elsewhere", "What the user is granted is in another namespace only."
)
BINDING_NEAR_NAME = _cause(
    5, "binding_near_name", "A binding names somebody who is almost this user."
)
BINDING_WRONG_KIND = _cause(
    5, "binding_wrong_kind", "A binding has the right name under the wrong kind of subject."
)
BINDING_OTHER_CLAIM = _cause(
    5, "binding_other_claim", "A binding names the user by another claim than the configured one."
)
BINDING_DROPPED_GROUP = _cause(
    5, "binding_dropped_group", "A binding names a group that `--groups-allow` drops."
)
ROLE_MISSING = _cause(5, "role_missing", "The user is bound to a role that does not exist.")
ROLE_EMPTY = _cause(5, "role_empty", "The user is bound to a role that allows nothing.")
RULES_UNKNOWN = _cause(5, "rules_unknown", "The API server cannot list what the user may do.")


def causes_markdown() -> str:
    """Return the causes as a Markdown table."""
    rows = ["| trust | cause | meaning |", "|---|---|---|"]
    rows += [
        f"| {cause.trust or 'any'} | `{cause.id}` | {cause.meaning} |"
        for cause in sorted(EVERY_CAUSE.values(), key=lambda cause: cause.trust)
    ]
    return "\n".join(rows)
