"""An expression is bounded in what it takes, and reaches nothing but the claims."""

from __future__ import annotations

import pytest

from proxy.authn.cel.environment import Environment
from proxy.authn.configuration.validation import CannotCompile
from proxy.authn.expression import EvaluationError

ENVIRONMENT = Environment()
CLAIMS = {"s": "ab" * 4000, "l": ["x"] * 4000, "n": 10**12, "a": "a" * 8000}


@pytest.mark.parametrize(
    "expression",
    [
        "claims.s.replace('', claims.s)",
        "claims.s.replace('', claims.s).replace('', claims.s).replace('', claims.s)",
        "claims.s.split('').join(claims.s)",
        "claims.l.join(claims.s)",
        "lists.range(int(claims.n))",
        "dyn(claims.l).map(a, dyn(claims.l).map(b, a))",
        "dyn(claims.l).all(a, dyn(claims.l).all(b, dyn(claims.l).all(c, true)))",
    ],
)
def test_what_would_take_too_much_ends_in_kubernetes_words(expression: str) -> None:
    compiled = ENVIRONMENT.claims_expression(expression)
    with pytest.raises(EvaluationError, match="operation cancelled: actual cost limit exceeded"):
        compiled.evaluate(ENVIRONMENT.claims(CLAIMS))


@pytest.mark.parametrize(
    "expression", ["!claims.a.matches('^(a+)+$x')", "claims.a.find('^(a+)+$x') == ''"]
)
def test_no_regular_expression_runs_away(expression: str) -> None:
    compiled = ENVIRONMENT.claims_expression(expression)
    assert compiled.evaluate(ENVIRONMENT.claims(CLAIMS)) is True


@pytest.mark.parametrize(
    "expression", ["user", "request", "now", "claims.s.open()", "@values(claims)", "env('PATH')"]
)
def test_there_is_nothing_but_the_claims(expression: str) -> None:
    with pytest.raises(CannotCompile, match=r"undeclared reference|Syntax error|mismatched"):
        ENVIRONMENT.claims_expression(expression)


def test_an_error_of_a_function_can_be_passed_over_like_any_other() -> None:
    compiled = ENVIRONMENT.claims_expression("lists.range(int(claims.n)).size() > 0 || true")
    assert compiled.evaluate(ENVIRONMENT.claims(CLAIMS)) is True


@pytest.mark.parametrize("number", [10**400, float("inf")])
def test_a_claim_with_a_number_that_go_cannot_hold_is_not_there(number: float) -> None:
    variable = ENVIRONMENT.claims({"big": number, "in": {"a": [number]}, "sub": "jane"})
    assert ENVIRONMENT.claims_expression("claims.sub").evaluate(variable) == "jane"
    for expression in ("claims.big", "claims['in']"):
        with pytest.raises(EvaluationError, match="no such key"):
            ENVIRONMENT.claims_expression(expression).evaluate(variable)
