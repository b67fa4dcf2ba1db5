"""A token, given or got by a login, under the eyes of serve's own authenticator.

The account is that of ``explain``, made once; each label under which the proxy would refuse the
token belongs to one trust.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping
from typing import Any

from proxy.authn import jws
from proxy.errors import ProxyError
from proxy.tools.doctor import causes
from proxy.tools.doctor.examination import Examination
from proxy.tools.doctor.token_mends import mend_of_token
from proxy.tools.doctor.tsidp import grant_for_groups, is_tsidp
from proxy.tools.doctor.verdict import Verdict, failed, noted, ok
from proxy.tools.explain.account import Refused, account
from proxy.userinfo import UserInfo


async def examine(x: Examination, trust: int) -> AsyncIterator[Verdict]:
    """Say what of the token concerns ``trust``; nothing without one."""
    token = x.known.token or x.asked.token
    if token is None:
        return
    try:
        made = await _account(x, token)
    except Refused as error:
        yield failed(causes.SETTINGS_REFUSED, str(error), f"correct {error}")
        return
    claims = claims_of(token)
    if made["authenticated"]:
        user = made["user"]
        x.known.user = UserInfo(user["username"], user["uid"], tuple(user["groups"]))
        if trust == 2:
            yield ok(f"the token is that of {user['username']}")
        return
    label = next((s["label"] for s in made["steps"] if s["step"] == "refused"), "")
    cause = causes.TOKEN_CAUSES.get(label)
    if cause is not None and cause.trust == trust:
        saw = f"the token would be refused: {made['error']}"
        yield failed(cause, saw, mend_of_token(label, claims, made, x.config))


async def is_taken(x: Examination) -> bool:
    """Return whether there is a token, and it is a good one: then it has what it needs."""
    token = x.known.token or x.asked.token
    if token is None:
        return False
    try:
        return bool((await _account(x, token))["authenticated"])
    except Refused:
        return False


async def _account(x: Examination, token: bytes) -> dict[str, Any]:
    """Return explain's account of a token, made once. Raises Refused."""
    if x.known.account is None:
        x.say("examining the token")
        x.known.account = await account(x.config, token, time.time(), raw_identity=False)
    return x.known.account


async def identity(x: Examination) -> AsyncIterator[Verdict]:
    """Examine who the token, or --user, speaks of: the first part of trust 5."""
    async for verdict in examine(x, 5):
        yield verdict
    if x.known.user is None and x.asked.user:
        groups = (*x.asked.groups, x.config.authenticated_group)
        x.known.user = UserInfo(x.asked.user, groups=tuple(dict.fromkeys(groups)))
    token = x.known.token or x.asked.token
    if token is None or x.known.user is None:
        return
    claims = claims_of(token)
    metadata: Mapping[str, Any] = x.known.providers[0].metadata if x.known.providers else {}
    if is_tsidp(metadata) and not claims.get("tailnet"):
        yield noted(
            causes.SHARED_IN_USER,
            "the token has no tailnet: the user's device is shared in from another one",
            "--oidc-required-claim=tailnet=TAILNET.ts.net.  # to let nobody in but your own",
        )
    if set(x.known.user.groups) <= {x.config.authenticated_group}:
        mend = f"in the tailnet's policy: {grant_for_groups()}" if is_tsidp(metadata) else ""
        yield noted(causes.NO_GROUPS_IN_TOKEN, "the token has no groups", mend)


def claims_of(token: bytes) -> dict[str, Any]:
    """Return what a token claims, true or not."""
    try:
        return dict(jws.parse(token.strip()).members)
    except ProxyError:
        return {}
