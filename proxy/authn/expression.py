"""What the mapping needs of expressions, whatever evaluates them.

The CEL library is loaded only where a configuration has expressions; this module and ``mapping``
know nothing of it. An expression's value arrives here as plain Python: str, bool, None, a list of
such values, or ``Other`` for everything that no mapping accepts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol


class EvaluationError(Exception):
    """An expression has no value for these claims; the message is kube-apiserver's."""


@dataclass(frozen=True, slots=True)
class Other:
    """A value of a type that no mapping accepts."""

    type_name: str


class Expression(Protocol):
    """A compiled expression over one variable, ``claims`` or ``user``."""

    @property
    def source(self) -> str: ...

    def evaluate(self, variable: Any) -> Any:
        """Return the value for what ``Expressions.claims`` or ``.user`` made of the variable.

        Raises EvaluationError.
        """
        ...


@dataclass(frozen=True, slots=True)
class Rule:
    """An expression that must be true, and what to say when it is not."""

    expression: Expression
    message: str = ""


@dataclass(frozen=True, slots=True)
class Expressions:
    """Every expression of one issuer, and how its variables are made of plain Python values."""

    claims: Callable[[Mapping[str, Any]], Any]
    user: Callable[[Mapping[str, Any]], Any]
    username: Expression | None = None
    groups: Expression | None = None
    uid: Expression | None = None
    extra: tuple[tuple[str, Expression], ...] = ()
    claim_rules: tuple[Rule, ...] = ()
    user_rules: tuple[Rule, ...] = ()

    @property
    def read_claims(self) -> bool:
        """Whether any expression is about the claims."""
        return bool(self.username or self.groups or self.uid or self.extra or self.claim_rules)


def evaluated(expression: Expression, variable: Any) -> Any:
    """Return an expression's value; an error names the expression (mapper.go, eval)."""
    try:
        return expression.evaluate(variable)
    except EvaluationError as error:
        raise EvaluationError(
            f"expression '{expression.source}' resulted in error: {error}"
        ) from None


def string_list(value: Any) -> tuple[str, ...]:
    """Return groups or extra values of a result (oidc.go, convertCELValueToStringList).

    Empty strings are left out, and null is no value. Raises EvaluationError.
    """
    if value is None:
        return ()
    members = value if isinstance(value, list) else [value]
    if not all(isinstance(member, str) for member in members):
        raise EvaluationError("expression must return a string or a list of strings")
    return tuple(member for member in members if member)


def broken_rule(rules: tuple[Rule, ...], variable: Any) -> str | None:
    """Return what the first broken rule has to say; all are evaluated before any is judged.

    Raises EvaluationError.
    """
    values = [evaluated(rule.expression, variable) for rule in rules]
    for rule, value in zip(rules, values, strict=True):
        if value is not True:
            return f"validation expression '{rule.expression.source}' failed: {rule.message}"
    return None
