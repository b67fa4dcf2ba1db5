"""For each label under which a token is refused, the one change that lets it, or its like, in.

Pure. What a token claims of itself is shown to who holds it, never to who only sends it.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any, Final

from proxy.config import Config

_SIGN_IN_AGAIN: Final = "sign in again"
_EMAIL: Final = "-oidc-scopes=email,profile  # Headlamp's flag; in its Secret: OIDC_SCOPES"
_MENDS: Final = {
    "token_malformed": (
        "-oidc-use-access-token=false  # Headlamp's flag (config.oidc.useAccessToken): the proxy "
        "needs the ID token"
    ),
    "token_too_large": "--max-token-bytes=65536 --max-head-bytes=262144",
    "signature_invalid": _SIGN_IN_AGAIN,
    "key_unknown": (
        "sign in again; if tsidp's keys were lost, keep its folder: TS_STATE_DIR on a volume"
    ),
    "token_expired": "sign in again; tokens of tsidp live for 5 minutes",
    "token_not_yet_valid": "timedatectl set-ntp true  # on the machine whose clock is wrong",
    "username_missing": _EMAIL,
    "email_not_verified": "--oidc-username-claim=sub  # or have the address verified at the issuer",
    "expression_failed": "correct the expressions in the file of --authentication-config",
    "claim_rule_broken": "correct claimValidationRules in the file of --authentication-config",
    "user_rule_broken": "correct userValidationRules in the file of --authentication-config",
    "distributed_claims_unavailable": "let this pod reach what the token's _claim_sources name",
    "username_reserved": "sign in as somebody whose name has no reserved prefix (system:, ...)",
    "username_malformed": "give the user a name without blanks at its ends and control characters",
    "group_malformed": "correct the group in the grant: no blanks at its ends, not empty",
    "too_many_groups": "--groups-allow='k8s-*'  # only those that RBAC knows",
}


def mend_of_token(
    label: str, claims: Mapping[str, Any], account: Mapping[str, Any], config: Config
) -> str:
    """Return the change for a token of these claims that ``account`` (of explain) refuses."""
    match label:
        case "issuer_unknown":
            return (
                f"--oidc-issuer-url={claims.get('iss')}  # the issuer of the token, if you trust it"
            )
        case "audience_mismatch":
            audience = claims.get("aud")
            first = audience[0] if isinstance(audience, list) and audience else audience
            return f"--oidc-client-id={first}"
        case "algorithm_not_allowed":
            return (
                "let the issuer sign ID tokens with RS256, or name its algorithm: "
                f"--oidc-signing-algs={','.join([*config.oidc_signing_algs, 'ES256'])}"
            )
        case "username_missing" if config.oidc_username_claim != "email":
            return f"--oidc-username-claim=email  # the token has no {config.oidc_username_claim}"
        case "claim_malformed" if not isinstance(claims.get("email_verified", True), bool):
            return 'take "email_verified" out of the grant, or write true without quotes'
        case "claim_malformed":
            return f"let the issuer give the claim the right type: {account['error']}"
        case "required_claim_mismatch":
            return _required(claims, account)
        case "group_reserved":
            return (
                "rename the group at the issuer (in the grant); if it is meant: "
                "--allow-reserved-group=NAME, or drop it with --groups-allow='k8s-*'"
            )
    return _MENDS.get(label, _SIGN_IN_AGAIN)


def _required(claims: Mapping[str, Any], account: Mapping[str, Any]) -> str:
    steps = [step for step in account["steps"] if step["step"] == "required claim"]
    if not steps:
        return "correct --oidc-required-claim"
    name, wanted = steps[-1]["claim"], steps[-1]["required"]
    if isinstance(claims.get(name), str):
        value = shlex.quote(f"{name}={claims[name]}")
        return f"--oidc-required-claim={value}  # if such tokens are to be let in"
    return f"remove --oidc-required-claim={name}={wanted}: the token has no such claim"
