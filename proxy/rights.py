"""What this proxy's own account may do at the API server, as RBAC rules: what it needs, and why.

The rights that a setting needs stand here once, as data: what is granted, what is documented and
what the proxy expects to find when it asks for its own rights cannot then differ. Impersonation
itself is not listed: whom an account may impersonate is the operator's to say, name by name.
Source of the defaults: k8s.io/kubernetes plugin/pkg/auth/authorizer/rbac/bootstrappolicy.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from proxy.userinfo import CREDENTIAL_ID

AUTHENTICATION: Final = "authentication.k8s.io"
AUTHORIZATION: Final = "authorization.k8s.io"

# Carries the one who asked when another is impersonated. Constrained impersonation takes only
# extra keys that are lower-case and have a domain in front.
DOMAIN: Final = "headlamp-auth-proxy.dev"
ORIGINAL_USER: Final = f"{DOMAIN}/original-user"

# What a token says about where it came from; annotations of audit events, and extra keys.
TOKEN_ISSUER: Final = f"{DOMAIN}/token-issuer"
TOKEN_SUBJECT: Final = f"{DOMAIN}/token-subject"
TOKEN_ID: Final = f"{DOMAIN}/token-id"
TOKEN_NODE: Final = f"{DOMAIN}/token-node"
TOKEN_ADDRESSES: Final = f"{DOMAIN}/token-addresses"
TOKEN_FACTS: Final = (TOKEN_ISSUER, TOKEN_SUBJECT, TOKEN_ID, TOKEN_NODE, TOKEN_ADDRESSES)


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule of RBAC: verbs on resources of API groups, or on paths; no ``names`` means all."""

    verbs: tuple[str, ...]
    groups: tuple[str, ...] = ()
    resources: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Say in words what it allows; may be long."""
        what = ", ".join(self.paths or (f"{r}.{g}" if g else r for r, g in self._things()))
        named = f" ({', '.join(self.names)})" if self.names else ""
        return f"{', '.join(self.verbs)} on {what}{named}"

    def _things(self) -> Iterable[tuple[str, str]]:
        return ((resource, group) for group in self.groups for resource in self.resources)


# --token-passthrough: to ask whose token it is that no configured issuer has issued.
TOKEN_PASSTHROUGH: Final = (Rule(("create",), (AUTHENTICATION,), ("tokenreviews",)),)

# --allow-impersonation: to ask whether a user may, and to say who asked. Whom the users may then
# impersonate, this account must be allowed to impersonate as well.
ALLOW_IMPERSONATION: Final = (
    Rule(("create",), (AUTHORIZATION,), ("subjectaccessreviews",)),
    Rule(("impersonate",), (AUTHENTICATION,), (f"userextras/{ORIGINAL_USER}",)),
)

# --send-credential-id: to say which token it was, as kube-apiserver does.
SEND_CREDENTIAL_ID: Final = (
    Rule(("impersonate",), (AUTHENTICATION,), (f"userextras/{CREDENTIAL_ID}",)),
)

# --send-token-facts: to say where the token came from.
SEND_TOKEN_FACTS: Final = (
    Rule(("impersonate",), (AUTHENTICATION,), tuple(f"userextras/{key}" for key in TOKEN_FACTS)),
)

# What a setting needs beside impersonation, by its flag.
SETTINGS: Final[Mapping[str, tuple[Rule, ...]]] = {
    "--token-passthrough": TOKEN_PASSTHROUGH,
    "--allow-impersonation": ALLOW_IMPERSONATION,
    "--send-credential-id": SEND_CREDENTIAL_ID,
    "--send-token-facts": SEND_TOKEN_FACTS,
}

# What every service account has: system:basic-user, system:discovery, system:public-info-viewer,
# and system:service-account-issuer-discovery.
GIVEN_TO_ALL: Final = (
    Rule(("create",), (AUTHENTICATION,), ("selfsubjectreviews",)),
    Rule(("create",), (AUTHORIZATION,), ("selfsubjectaccessreviews", "selfsubjectrulesreviews")),
    Rule(
        ("get",),
        paths=(
            *("/api", "/api/*", "/apis", "/apis/*", "/openapi", "/openapi/*"),
            *("/healthz", "/livez", "/readyz", "/version", "/version/"),
            *("/.well-known/openid-configuration", "/.well-known/openid-configuration/"),
            *("/openid/v1/jwks", "/openid/v1/jwks/"),
        ),
    ),
)
