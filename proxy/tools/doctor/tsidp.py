"""What is peculiar to tsidp: how it is recognised, where it lives, what its tokens can carry.

Source: tailscale/tsidp, server/oauth-metadata.go (openIDSupportedClaims) and server/token.go; the
older one, tailscale.com/cmd/tsidp, has the same list.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import ip_address, ip_network
from typing import Any, Final

TAILNET: Final = (ip_network("100.64.0.0/10"), ip_network("fd7a:115c:a1e0::/48"))

# No grant may set these; one that does breaks every login for which it counts.
PROTECTED: Final = frozenset(
    {
        *("sub", "aud", "exp", "iat", "iss", "jti", "nbf", "username", "email", "key"),
        *("addresses", "nid", "node", "tailnet", "tags", "user", "uid"),
    }
)
# Of those, the ones that tsidp itself never sets either.
NEVER: Final = frozenset({"tags", "user"})
# What comes with a scope only.
BY_SCOPE: Final[Mapping[str, str]] = {
    "email": "email",
    "preferred_username": "profile",
    "picture": "profile",
}


def is_tsidp(metadata: Mapping[str, Any]) -> bool:
    """Say whether a discovery document is tsidp's: nobody else lists these claims."""
    claims = metadata.get("claims_supported")
    return isinstance(claims, list) and {"nid", "node", "tailnet"} <= {str(c) for c in claims}


def gates_by_scope(metadata: Mapping[str, Any]) -> bool:
    """Say whether it is the newer tsidp, which refuses unknown scopes; it has refresh tokens."""
    grants = metadata.get("grant_types_supported")
    return is_tsidp(metadata) and isinstance(grants, list) and "refresh_token" in grants


def on_tailnet(host: str, addresses: Iterable[str] = ()) -> bool:
    """Say whether a host is one that only a tailnet leads to, by its name or its addresses."""
    name = host.lower().rstrip(".")
    return name.endswith(".ts.net") or any(map(_is_tailnet_address, (host, *addresses)))


def _is_tailnet_address(text: str) -> bool:
    try:
        address = ip_address(text.strip("[]"))
    except ValueError:
        return False
    return any(address in network for network in TAILNET if network.version == address.version)


def grant_for_groups(claim: str = "groups") -> str:
    """Return a grant that gives a group, for the tailnet's policy file."""
    return (
        '{"src": ["group:k8s-admins"], "dst": ["tag:tsidp"], "app": {"tailscale.com/cap/tsidp": '
        f'[{{"extraClaims": {{"{claim}": ["k8s-admins"]}}, "includeInUserInfo": true}}]}}}}'
    )
