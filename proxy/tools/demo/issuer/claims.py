"""The claims of an ID token, with tsidp's types and habits.

``nbf`` lies before ``iat``, names of nodes end in a dot, ``email`` hangs on its scope, there is no
``email_verified``, and groups, which come from a grant's ``extraClaims``, are in another order
each time.
"""

from __future__ import annotations

import hashlib
import random
import secrets
from typing import Any, Final

from proxy.tools.demo.issuer.protocol import Login
from proxy.tools.demo.people import Person

LIFETIME: Final = 300  # seconds; tsidp has no setting for it
SKEW: Final = 300  # seconds
TAILNET: Final = "tail1234.ts.net."


def id_token_claims(login: Login, issuer: str, now: float) -> dict[str, Any]:
    """Return what is signed for ``login`` at ``now`` (unix seconds)."""
    person, request, issued = login.person, login.request, int(now)
    claims: dict[str, Any] = {
        "addresses": [_address(person), f"fd7a:115c:a1e0::a01:{person.uid % 0xFFFF:x}/128"],
        "aud": request.client_id,
        "exp": issued + LIFETIME,
        "iat": issued,
        "iss": issuer,
        "jti": secrets.token_hex(16),
        "key": f"nodekey:{hashlib.sha256(person.device.encode()).hexdigest()}",
        "nbf": issued - SKEW,
        "nid": person.uid // 7,
        "node": f"{person.device}.{TAILNET}",
        "sub": f"userid:{person.uid}",
        "tailnet": TAILNET,
        "uid": person.uid,
    }
    if request.nonce:
        claims["nonce"] = request.nonce
    if "email" in request.scopes:
        claims["email"] = person.email
    if "profile" in request.scopes:
        claims |= {"picture": picture(person), "preferred_username": person.name}
    return claims | extra_claims(person)


def user_info(login: Login) -> dict[str, Any]:
    """Return what /userinfo says; it asks for no scope."""
    person = login.person
    said = {
        "sub": f"userid:{person.uid}",
        "name": person.name.capitalize(),
        "email": person.email,
        "picture": picture(person),
        "username": person.name,
    }
    return said | extra_claims(person)


def extra_claims(person: Person) -> dict[str, Any]:
    """Return the claims of the grants that match; a list comes out in any order."""
    if not person.groups:
        return {}
    return {"groups": random.sample(person.groups, len(person.groups))}


def picture(person: Person) -> str:
    return f"https://pictures.example.com/{person.name}?size=96&shape=round"


def _address(person: Person) -> str:
    return f"100.101.{person.uid // 256 % 256}.{person.uid % 256}/32"
