"""From claims to a ``UserInfo``, by the rules of kube-apiserver (oidc.go), in its order.

What comes out is the user that kube-apiserver would see, which may be empty, reserved or
malformed: it is ``impersonation`` that judges whether it can be asserted. The one addition is that
groups may come from several claims; each follows kube-apiserver's rule for one. The details of
errors are kube-apiserver's words, so that its documentation and its logs help here as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from proxy import errors
from proxy.authn.expression import (
    EvaluationError,
    Expression,
    Expressions,
    broken_rule,
    evaluated,
    string_list,
)
from proxy.authn.gotext import cannot_unmarshal, quoted
from proxy.authn.trace import Trace
from proxy.userinfo import CREDENTIAL_ID, UserInfo, as_claims

Claims = Mapping[str, Any]
Extra = dict[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class ClaimMapping:
    """Which claims make the user; names are literal and exact, prefixes are put in front as is.

    An expression, where there is one, stands in place of the claim.
    """

    username_claim: str
    username_prefix: str = ""
    groups_claims: tuple[str, ...] = ()
    groups_prefix: str = ""
    required_claims: Mapping[str, str] = field(default_factory=dict)
    uid_claim: str = ""
    expressions: Expressions | None = None


def user_info(claims: Claims, mapping: ClaimMapping, trace: Trace | None = None) -> UserInfo:
    """Return the user that the claims speak of.

    Raises UsernameMissing, ClaimMalformed, EmailNotVerified, ExpressionFailed, and last, as
    kube-apiserver does, RequiredClaimMismatch, ClaimRuleBroken and UserRuleBroken.
    """
    expressions = mapping.expressions
    variable = expressions.claims(claims) if expressions and expressions.read_claims else None
    user = UserInfo(
        username=_username(claims, mapping, variable),
        groups=_groups(claims, mapping, variable),
        uid=_uid(claims, mapping, variable),
        extra=_extra(claims, mapping, variable),
    )
    if trace is not None:
        _note_mapping(trace, claims, mapping, user)
    _check_required(claims, mapping.required_claims, trace)
    if expressions is not None:
        _check_rules(expressions, variable, user, trace)
    return user


def groups_by_claim(claims: Claims, mapping: ClaimMapping) -> dict[str, tuple[str, ...]]:
    """Return, for each groups claim that the token has, its groups, without the prefix.

    Raises ClaimMalformed.
    """
    return {
        name: _groups_of(name, claims[name]) for name in mapping.groups_claims if name in claims
    }


def _username(claims: Claims, mapping: ClaimMapping, variable: Any) -> str:
    if mapping.expressions and mapping.expressions.username:
        username = _string_value(mapping.expressions.username, variable, "username")
        if not username:
            raise errors.ExpressionFailed("oidc: empty username via CEL expression is not allowed")
        return username
    name = mapping.username_claim
    if name not in claims:
        raise errors.UsernameMissing(
            f"oidc: parse username claims {quoted(name)}: claim not present"
        )
    username = _string(claims[name], "username claims", name)
    if name == "email" and "email_verified" in claims:
        _check_email_verified(claims["email_verified"])
    return mapping.username_prefix + username


def _check_email_verified(verified: object) -> None:
    if not isinstance(verified, bool | None):
        reason = cannot_unmarshal(verified, "bool")
        raise errors.ClaimMalformed(f"oidc: parse 'email_verified' claim: {reason}")
    if not verified:
        raise errors.EmailNotVerified("oidc: email not verified")


def _groups(claims: Claims, mapping: ClaimMapping, variable: Any) -> tuple[str, ...]:
    if mapping.expressions and mapping.expressions.groups:
        where = "error evaluating group claim expression"
        try:
            return string_list(evaluated(mapping.expressions.groups, variable))
        except EvaluationError as error:
            raise errors.ExpressionFailed(f"oidc: {where}: {error}") from None
    return tuple(
        mapping.groups_prefix + group
        for from_claim in groups_by_claim(claims, mapping).values()
        for group in from_claim
    )


def _groups_of(name: str, value: object) -> tuple[str, ...]:
    if value is None:
        return ()
    members = value if isinstance(value, list) else [value]
    try:
        return tuple(_string(member, "groups claim", name) for member in members)
    except errors.ClaimMalformed:
        return (_string(value, "groups claim", name),)  # the complaint is about the whole


def _uid(claims: Claims, mapping: ClaimMapping, variable: Any) -> str:
    if name := mapping.uid_claim:
        if name not in claims:
            raise errors.ClaimMalformed(f"oidc: parse uid claim {quoted(name)}: claim not present")
        return _string(claims[name], "uid claim", name)
    if mapping.expressions and mapping.expressions.uid:
        return _string_value(mapping.expressions.uid, variable, "uid")
    return ""


def _extra(claims: Claims, mapping: ClaimMapping, variable: Any) -> Extra:
    extra = _credential_id(claims)
    if not mapping.expressions or not mapping.expressions.extra:
        return extra
    try:
        values = [(key, e, evaluated(e, variable)) for key, e in mapping.expressions.extra]
    except EvaluationError as error:
        raise errors.ExpressionFailed(str(error)) from None
    for key, expression, value in values:
        try:
            strings = string_list(value)
        except EvaluationError as error:
            where = "error evaluating extra claim expression"
            raise errors.ExpressionFailed(f"oidc: {where}: {expression.source}: {error}") from None
        if strings:
            extra[key] = strings
    return extra


def text(claims: Claims, name: str) -> str:
    """Return a claim that is there and a string, else an empty one."""
    value = claims.get(name)
    return value if isinstance(value, str) else ""


def texts(claims: Claims, name: str) -> tuple[str, ...]:
    """Return what of a claim that is a list is a string, and not empty."""
    value = claims.get(name)
    members = value if isinstance(value, list) else ()
    return tuple(member for member in members if isinstance(member, str) and member)


def _credential_id(claims: Claims) -> Extra:
    jti = text(claims, "jti")
    return {CREDENTIAL_ID: (f"JTI={jti}",)} if jti else {}


def _check_required(claims: Claims, required: Mapping[str, str], trace: Trace | None) -> None:
    for name, wanted in required.items():
        if trace is not None:
            trace.note("required claim", claim=name, required=wanted, value=claims.get(name))
        if name not in claims:
            raise errors.RequiredClaimMismatch(
                f"oidc: required claim {name} not present in ID token"
            )
        value = _string(claims[name], "claim", name)
        if value != wanted:
            raise errors.RequiredClaimMismatch(
                f"oidc: required claim {name} value does not match. "
                f"Got = {ascii(value)[1:-1]}, want = {wanted}"
            )


def _check_rules(
    expressions: Expressions, variable: Any, user: UserInfo, trace: Trace | None
) -> None:
    if expressions.claim_rules:
        where = "oidc: error evaluating claim validation expression"
        try:
            broken = broken_rule(expressions.claim_rules, variable)
        except EvaluationError as error:
            broken = str(error)
        _note_rules(trace, "claim rules", expressions.claim_rules, broken)
        if broken is not None:
            raise errors.ClaimRuleBroken(f"{where}: {broken}")
    if expressions.user_rules:
        where = "oidc: error evaluating user info validation rule"
        try:
            broken = broken_rule(expressions.user_rules, expressions.user(as_claims(user)))
        except EvaluationError as error:
            broken = str(error)
        _note_rules(trace, "user rules", expressions.user_rules, broken)
        if broken is not None:
            raise errors.UserRuleBroken(f"{where}: {broken}")


def _string_value(expression: Expression, variable: Any, what: str) -> str:
    where = f"oidc: error evaluating {what} claim expression"
    try:
        value = evaluated(expression, variable)
    except EvaluationError as error:
        raise errors.ExpressionFailed(f"{where}: {error}") from None
    if not isinstance(value, str):
        raise errors.ExpressionFailed(f"{where}: {what} claim expression must return a string")
    return value


def _string(value: object, what: str, name: str) -> str:
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    shown = name if what == "claim" else quoted(name)
    raise errors.ClaimMalformed(f"oidc: parse {what} {shown}: {cannot_unmarshal(value, 'string')}")


def _note_mapping(trace: Trace, claims: Claims, mapping: ClaimMapping, user: UserInfo) -> None:
    expressions = mapping.expressions
    by_expression = expressions.groups.source if expressions and expressions.groups else None
    trace.note(
        "mapping",
        username_from=(
            {"expression": expressions.username.source}
            if expressions and expressions.username
            else {"claim": mapping.username_claim, "prefix": mapping.username_prefix}
        ),
        groups_from=(
            {"expression": by_expression}
            if by_expression is not None
            else {
                "claims": {n: list(g) for n, g in groups_by_claim(claims, mapping).items()},
                "absent": [name for name in mapping.groups_claims if name not in claims],
                "prefix": mapping.groups_prefix,
            }
        ),
        user=as_claims(user),
    )


def _note_rules(trace: Trace | None, step: str, rules: Any, broken: str | None) -> None:
    if trace is not None:
        trace.note(step, rules=[rule.expression.source for rule in rules], broken=broken)
