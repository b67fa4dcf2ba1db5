"""Whether a configuration may be used: every problem at once, each with the path of its field.

The rules, their order and their words are kube-apiserver's
(k8s.io/apiserver/pkg/apis/apiserver/validation/validation.go, ValidateAuthenticationConfiguration).
Two are ours, because this proxy is not kube-apiserver: ``anonymous`` is refused, and an egress
selector, which kube-apiserver refuses too where it is not configured.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, Final, Protocol

from proxy.authn.configuration import fields
from proxy.authn.configuration.rules import extra_key_problems, issuer_problems
from proxy.authn.configuration.types import (
    AuthenticationConfiguration,
    ClaimMappings,
    ClaimValidationRule,
    JWTAuthenticator,
    PrefixedClaimOrExpression,
    UserValidationRule,
)
from proxy.authn.expression import Expression, Expressions, Rule

MAX_AUTHENTICATORS: Final = 64

_BOTH: Final = "claim and expression can't both be set"
_NEITHER: Final = "claim or expression is required"


class CannotCompile(Exception):
    """An expression that cannot be used; the message is kube-apiserver's."""


class Compiled(Expression, Protocol):
    """An expression with what validation asks of it."""

    @property
    def is_bool(self) -> bool:
        """Whether its type is bool, whatever the claims are."""
        ...

    def selects(self, variable: str, member: str) -> bool:
        """Whether ``variable.member`` or ``variable.?member`` stands anywhere in it."""
        ...


class Compiler(Protocol):
    """Compiles expressions over one variable. Both raise CannotCompile."""

    def claims_expression(self, source: str, *, is_mapping: bool = False) -> Compiled:
        """``is_mapping``: the value becomes groups or extra."""
        ...

    def user_expression(self, source: str) -> Compiled: ...

    def claims(self, claims: Any) -> Any:
        """Return what claims expressions are evaluated with."""
        ...

    def user(self, user: Any) -> Any:
        """Return what user expressions are evaluated with."""
        ...


class Validated:
    """An authenticator with its expressions, as far as they could be compiled."""

    def __init__(self, authenticator: JWTAuthenticator) -> None:
        self.authenticator = authenticator
        self.username: Compiled | None = None
        self.groups: Compiled | None = None
        self.uid: Compiled | None = None
        self.extra: list[tuple[str, Compiled]] = []
        self.claim_rules: list[tuple[Compiled, str]] = []
        self.user_rules: list[tuple[Compiled, str]] = []

    def expressions(self, compiler: Callable[[], Compiler]) -> Expressions | None:
        """Return all of them for the mapping, None if there are none."""
        singles = (self.username, self.groups, self.uid)
        if not any((*singles, self.extra, self.claim_rules, self.user_rules)):
            return None
        return Expressions(
            claims=compiler().claims,
            user=compiler().user,
            username=self.username,
            groups=self.groups,
            uid=self.uid,
            extra=tuple(self.extra),
            claim_rules=tuple(Rule(e, message) for e, message in self.claim_rules),
            user_rules=tuple(Rule(e, message) for e, message in self.user_rules),
        )


def validate(
    configuration: AuthenticationConfiguration,
    compiler: Callable[[], Compiler],
    disallowed_issuers: Collection[str] = (),
) -> tuple[list[Validated], list[str]]:
    """Return the authenticators and every problem; with a problem, none may be used.

    ``compiler`` is asked only when there is an expression. ``disallowed_issuers`` are those of the
    cluster's service accounts.
    """
    jwt = configuration.jwt
    if len(jwt) > MAX_AUTHENTICATORS:
        return [], [fields.too_many("jwt", len(jwt), MAX_AUTHENTICATORS)]
    all_validated = []
    problems: list[str] = []
    issuers: set[str] = set()
    discovery_urls: set[str] = set()
    for index, authenticator in enumerate(jwt):
        path = f"jwt[{index}]"
        issuer = authenticator.issuer
        validation = _Validation(authenticator, compiler, path)
        problems += issuer_problems(issuer, f"{path}.issuer", disallowed_issuers)
        problems += validation.run()
        all_validated.append(validation.result)
        if issuer.url in issuers:
            problems.append(fields.duplicate(f"{path}.issuer.url", issuer.url))
        issuers.add(issuer.url)
        if issuer.discovery_url in discovery_urls - {""}:
            where = f"{path}.issuer.discoveryURL"
            problems.append(fields.duplicate(where, issuer.discovery_url))
        discovery_urls.add(issuer.discovery_url)
    if configuration.anonymous is not None:
        reason = "this proxy never forwards a request without an identity; remove the section"
        problems.append(fields.forbidden("anonymous", reason))
    return all_validated, problems


class _Validation:
    """Validates one authenticator but for its issuer, compiling what can be compiled."""

    def __init__(
        self, authenticator: JWTAuthenticator, compiler: Callable[[], Compiler], path: str
    ) -> None:
        self.result = Validated(authenticator)
        self._compiler = compiler
        self._path = path
        self._problems: list[str] = []

    def run(self) -> list[str]:
        authenticator = self.result.authenticator
        self._claim_rules(authenticator.claim_validation_rules)
        self._mappings(authenticator.claim_mappings, f"{self._path}.claimMappings")
        self._user_rules(authenticator.user_validation_rules)
        return self._problems

    def _claim_rules(self, rules: tuple[ClaimValidationRule, ...]) -> None:
        claims: set[str] = set()
        expressions: set[str] = set()
        for index, rule in enumerate(rules):
            path = f"{self._path}.claimValidationRules[{index}]"
            if rule.claim and rule.expression:
                self._problems.append(fields.invalid(path, rule.claim, _BOTH))
            elif not rule.claim and not rule.expression:
                self._problems.append(fields.required(path, _NEITHER))
            elif rule.claim:
                if rule.message:
                    detail = "may not be specified when claim is set"
                    self._problems.append(fields.invalid(f"{path}.message", rule.message, detail))
                if rule.claim in claims:
                    self._problems.append(fields.duplicate(f"{path}.claim", rule.claim))
                claims.add(rule.claim)
            else:
                if rule.required_value:
                    where = f"{path}.requiredValue"
                    detail = "may not be specified when expression is set"
                    self._problems.append(fields.invalid(where, rule.required_value, detail))
                where = f"{path}.expression"
                if rule.expression in expressions:
                    self._problems.append(fields.duplicate(where, rule.expression))
                    continue
                expressions.add(rule.expression)
                if compiled := self._compile(rule.expression, where, is_rule=True):
                    self.result.claim_rules.append((compiled, rule.message))

    def _mappings(self, mappings: ClaimMappings, path: str) -> None:
        result = self.result
        result.username = self._claim_or_expression(
            mappings.username, f"{path}.username", is_required=True
        )
        result.groups = self._claim_or_expression(
            mappings.groups, f"{path}.groups", is_required=False
        )
        if mappings.uid.claim and mappings.uid.expression:
            self._problems.append(fields.invalid(f"{path}.uid", "", _BOTH))
        elif mappings.uid.expression:
            result.uid = self._compile(mappings.uid.expression, f"{path}.uid.expression")
        self._extra(mappings, f"{path}.extra")
        self._email(mappings, f"{path}.username.expression")

    def _claim_or_expression(
        self, mapping: PrefixedClaimOrExpression, path: str, *, is_required: bool
    ) -> Compiled | None:
        if mapping.expression and mapping.claim:
            self._problems.append(fields.invalid(path, "", _BOTH))
        elif mapping.expression:
            if mapping.prefix is not None:
                detail = "may not be specified when expression is set"
                self._problems.append(fields.invalid(f"{path}.prefix", mapping.prefix, detail))
            return self._compile(
                mapping.expression, f"{path}.expression", is_mapping=not is_required
            )
        elif mapping.claim and mapping.prefix is None:
            detail = (
                "prefix is required when claim is set. It can be set to an empty string to "
                "disable prefixing"
            )
            self._problems.append(fields.required(f"{path}.prefix", detail))
        elif not mapping.claim and is_required:
            self._problems.append(fields.required(path, _NEITHER))
        return None

    def _extra(self, mappings: ClaimMappings, path: str) -> None:
        keys: set[str] = set()
        for index, mapping in enumerate(mappings.extra):
            where = f"{path}[{index}]"
            self._problems += extra_key_problems(mapping.key, f"{where}.key")
            if mapping.key in keys:
                self._problems.append(fields.duplicate(f"{where}.key", mapping.key))
                continue
            keys.add(mapping.key)
            where = f"{where}.valueExpression"
            if not mapping.value_expression:
                self._problems.append(fields.required(where))
            elif compiled := self._compile(mapping.value_expression, where, is_mapping=True):
                self.result.extra.append((mapping.key, compiled))

    def _email(self, mappings: ClaimMappings, path: str) -> None:
        """Whoever takes the e-mail address by expression must look at whether it is verified."""
        username = self.result.username
        if username is None or not username.selects("claims", "email"):
            return
        where_it_may_be = [
            username,
            *(expression for _, expression in self.result.extra),
            *(expression for expression, _ in self.result.claim_rules),
        ]
        if not any(e.selects("claims", "email_verified") for e in where_it_may_be):
            detail = (
                "claims.email_verified must be used in claimMappings.username.expression or "
                "claimMappings.extra[*].valueExpression or claimValidationRules[*].expression when "
                "claims.email is used in claimMappings.username.expression"
            )
            self._problems.append(fields.invalid(path, mappings.username.expression, detail))

    def _user_rules(self, rules: tuple[UserValidationRule, ...]) -> None:
        expressions: set[str] = set()
        for index, rule in enumerate(rules):
            path = f"{self._path}.userValidationRules[{index}].expression"
            if not rule.expression:
                self._problems.append(fields.required(path))
                continue
            if rule.expression in expressions:
                self._problems.append(fields.duplicate(path, rule.expression))
                continue
            expressions.add(rule.expression)
            if compiled := self._compile_user_rule(rule.expression, path):
                self.result.user_rules.append((compiled, rule.message))

    def _compile(
        self, source: str, path: str, *, is_rule: bool = False, is_mapping: bool = False
    ) -> Compiled | None:
        try:
            compiled = self._compiler().claims_expression(source, is_mapping=is_mapping)
            return self._rule(compiled) if is_rule else compiled
        except CannotCompile as error:
            self._problems.append(fields.invalid(path, source, str(error)))
            return None

    def _compile_user_rule(self, source: str, path: str) -> Compiled | None:
        try:
            return self._rule(self._compiler().user_expression(source))
        except CannotCompile as error:
            self._problems.append(fields.invalid(path, source, str(error)))
            return None

    @staticmethod
    def _rule(compiled: Compiled) -> Compiled:
        if not compiled.is_bool:
            raise CannotCompile("must evaluate to bool")
        return compiled
