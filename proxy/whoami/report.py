"""What is shown: the account of ``explain``, without what only those who run this may know. Pure.

Of each step, only what is listed here is shown. Left out are whatever a token was compared with
(audiences, required values, rules) and what an expression says: whoever is let in may learn how
they are seen, not how others are told apart.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from proxy.account import Account, accepted, refused
from proxy.authn import gojson
from proxy.authn.jws import UnverifiedToken
from proxy.authn.trace import Trace
from proxy.errors import ProxyError
from proxy.http.service import Admission
from proxy.impersonation import Impersonation
from proxy.missing_rule import manifest
from proxy.refusals import Refusal
from proxy.reviews.grants import Grants
from proxy.userinfo import UserInfo

_LONGEST: Final = 200  # characters of a value that a token may fill at will
_MOST: Final = 64  # of them in one list
_LATEST: Final = 253402300799  # the last second of the year 9999, which every calendar can show

# What of a step is shown, by its name.
_SHOWN: Final[Mapping[str, tuple[str, ...]]] = {
    "issuer": ("issuer", "trusted"),
    "signature": ("expires_at",),
    "distributed claim": ("claim",),
    "token review": ("known",),
    "guard": ("refused", "reason", "dropped_groups", "headers"),
    "refused": ("status", "label", "message"),
}


@dataclass(slots=True)
class Verdict:
    """What became of a request like this one, and what was seen on the way.

    ``user`` is whom the token speaks of, before the guard; ``token`` what it says of itself.
    ``error`` may stand beside ``admission``: somebody who is known, and kept out or not served.
    """

    trace: Trace
    admission: Admission | None = None
    error: ProxyError | None = None
    token: UnverifiedToken | None = None
    user: UserInfo | None = None


def report(
    verdict: Verdict, grants: Grants | None, refusals: Sequence[Refusal], now: float
) -> Account:
    """Return what is shown, JSON values throughout; ``now`` is that of the refusals."""
    admission, error = verdict.admission, verdict.error
    groups = _groups(verdict)
    if error is not None or admission is None:
        error = error or ProxyError()
        account = refused(error, verdict.trace, why=error.message)
    else:
        account = accepted(_as_asserted(admission), verdict.trace)
    account["steps"] = [shown for step in verdict.trace.steps if (shown := _public(step))]
    account["reason"] = error.label if error is not None else ""
    account["speaks_of"] = _speaks_of(verdict)
    account["groups"] = groups
    account["token"] = _token_facts(verdict.token) if verdict.token else None
    account["rbac"] = _rbac(grants) if grants is not None else None
    account["refused_requests"] = (
        [_refusal(refusal, admission.bearer.username, now) for refusal in refusals]
        if admission is not None
        else []
    )
    return account


def _as_asserted(admission: Admission) -> UserInfo:
    identity = admission.identity
    if not isinstance(identity, Impersonation):
        return UserInfo(identity.username, groups=identity.groups)
    extra: dict[str, tuple[str, ...]] = {}
    for key, value in identity.extra:
        extra[key] = (*extra.get(key, ()), value)
    return UserInfo(identity.username, identity.uid, identity.groups, extra)


def _speaks_of(verdict: Verdict) -> str | None:
    """Return the user's name, whether or not they are let in; None where it is not known."""
    if verdict.admission is not None:
        return verdict.admission.bearer.username
    return verdict.user.username if verdict.user is not None else None


def _groups(verdict: Verdict) -> list[dict[str, Any]]:
    """Return each group, which claim gave it, and whether it goes along to the API server."""
    admission = verdict.admission
    identity = admission.identity if admission is not None else None
    sent = dict.fromkeys(identity.groups if identity is not None else ())
    found: dict[str, dict[str, Any]] = {}
    for claim, group in _by_claim(verdict):
        entry = found.setdefault(group, {"group": group, "claims": [], "sent": group in sent})
        if claim not in entry["claims"]:
            entry["claims"].append(claim)
    for group in sent:
        found.setdefault(group, {"group": group, "claims": [], "sent": True})
    return list(found.values())


def _by_claim(verdict: Verdict) -> Iterable[tuple[str, str]]:
    step = next((step for step in verdict.trace.steps if step["step"] == "mapping"), None)
    if step is None:
        return
    source = step["groups_from"]
    if "expression" in source:
        yield from (("an expression", group) for group in step["user"]["groups"])
        return
    for claim, groups in source["claims"].items():
        yield from ((claim, source["prefix"] + group) for group in groups)


def _public(step: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return what of a step may be shown, None if nothing."""
    name = step["step"]
    match name:
        case "mapping":
            return {"step": name, **_public_mapping(step)}
        case "required claim":
            kept = step["value"] == step["required"]
            return {
                "step": name,
                "claim": step["claim"],
                "value": _short(step["value"]),
                "ok": kept,
            }
        case "claim rules" | "user rules":
            return {"step": name, "ok": step["broken"] is None}
        case _ if name in _SHOWN:
            return {"step": name} | {fact: step[fact] for fact in _SHOWN[name] if fact in step}
    return None


def _public_mapping(step: Mapping[str, Any]) -> dict[str, Any]:
    username, groups = step["username_from"], step["groups_from"]
    by_expression = {"expression": True}
    return {
        "username_from": by_expression if "expression" in username else username,
        "groups_from": by_expression if "expression" in groups else groups,
        "user": step["user"],
    }


def _token_facts(token: UnverifiedToken) -> dict[str, Any]:
    """Return what a token says of itself, true or not; the later of two claims wins, as ever."""
    claims: dict[str, Any] = {}
    for name, value in token.members:
        folded = gojson.fold(name)
        if folded in {"iss", "aud", "exp", "nbf"}:
            claims[folded] = value
    audience = claims.get("aud")
    members = audience if isinstance(audience, list) else [] if audience is None else [audience]
    return {
        "issuer": _short(claims.get("iss")),
        "audience": [_short(member) for member in members[:_MOST]],
        "expires_at": _seconds(claims.get("exp")),
        "not_before": _seconds(claims.get("nbf")),
        "claims": sorted({name[:_LONGEST] for name, _ in token.members})[:_MOST],
    }


def _short(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value if value is None else value[:_LONGEST]
    return json.dumps(value)[:_LONGEST]


def _seconds(value: Any) -> int | None:
    """Return a time in unix seconds if it is one that can be shown."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return int(value) if 0 <= value <= _LATEST else None


def _rbac(grants: Grants) -> dict[str, Any]:
    return {
        "namespace": grants.namespace,
        "grants": list(grants.grants),
        "more": grants.more,
        "nothing_beyond_discovery": grants.nothing,
        "complete": grants.complete,
        "error": grants.error,
        "missing": grants.missing,
    }


def _refusal(refusal: Refusal, username: str, now: float) -> dict[str, Any]:
    return {
        **refusal.rule.as_fields(),
        "words": str(refusal.rule),
        "count": refusal.count,
        "seconds_ago": round(now - refusal.at),
        "rule": manifest(refusal.rule, username),
    }
