"""AuthenticationConfiguration of apiserver.config.k8s.io (k8s.io/apiserver/pkg/apis/apiserver/v1).

v1, v1beta1 and v1alpha1 have the same fields. A field's name in a file is that of the attribute in
camel case, unless it is given. Absent and null are the same, and the zero value, as in Go.
"""

# ruff: noqa: RUF009 (the helpers are dataclasses.field(), declared with more)
from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

NAME: Final = "name"  # of a field in a file, as metadata


def _named(name: str) -> Any:
    return field(default="", metadata={NAME: name})


def _nested(kind: type) -> Any:
    return field(default_factory=kind)


@dataclass(frozen=True, slots=True, kw_only=True)
class Issuer:
    url: str = ""
    discovery_url: str = _named("discoveryURL")
    certificate_authority: str = ""
    audiences: tuple[str, ...] = ()
    audience_match_policy: str = ""
    egress_selector_type: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimValidationRule:
    claim: str = ""
    required_value: str = ""
    expression: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PrefixedClaimOrExpression:
    claim: str = ""
    prefix: str | None = None
    expression: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimOrExpression:
    claim: str = ""
    expression: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtraMapping:
    key: str = ""
    value_expression: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimMappings:
    username: PrefixedClaimOrExpression = _nested(PrefixedClaimOrExpression)
    groups: PrefixedClaimOrExpression = _nested(PrefixedClaimOrExpression)
    uid: ClaimOrExpression = _nested(ClaimOrExpression)
    extra: tuple[ExtraMapping, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class UserValidationRule:
    expression: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class JWTAuthenticator:
    issuer: Issuer = _nested(Issuer)
    claim_validation_rules: tuple[ClaimValidationRule, ...] = ()
    claim_mappings: ClaimMappings = _nested(ClaimMappings)
    user_validation_rules: tuple[UserValidationRule, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AnonymousAuthCondition:
    path: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AnonymousAuthConfig:
    enabled: bool = False
    conditions: tuple[AnonymousAuthCondition, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthenticationConfiguration:
    api_version: str = ""
    kind: str = ""
    jwt: tuple[JWTAuthenticator, ...] = ()
    anonymous: AnonymousAuthConfig | None = None
