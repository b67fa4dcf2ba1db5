"""Fuzz targets for kube-apiserver's own file: what it says of issuers, and its expressions."""

from __future__ import annotations

import functools
from typing import Any, Final

from proxy.algorithms import ALGORITHMS
from proxy.authn.cel.environment import Environment
from proxy.authn.configuration.plan import InvalidConfiguration
from proxy.authn.configuration.planning import plans_of_file
from proxy.authn.configuration.validation import CannotCompile
from proxy.authn.expression import EvaluationError, Other
from tests.fuzz.settings import check_words

CLAIMS: Final[dict[str, Any]] = {
    "iss": "https://idp.example",
    "sub": "jane",
    "s": "a,b c",
    "b": True,
    "nul": None,
    "n": 5,
    "f": 2.5,
    "big": 1 << 53,
    "g": ["a", "b"],
    "mix": ["a", 1, {}],
    "o": {"k": "v", "a.b": "dotted", "n": {"m": ["deep"]}},
}


def authentication_config(data: bytes) -> None:
    """Read a whole file; one that is taken names issuers that can be told apart and audiences."""
    own = "https://own.example"
    try:
        plans = plans_of_file(data, leeway=0, proxy=None, disallowed_issuers=[own])
    except InvalidConfiguration as error:
        check_words([problem.replace("\n", " ") for problem in error.problems])  # CEL points below
        return
    assert len({plan.rules.issuer for plan in plans}) == len(plans)
    for plan in plans:
        # Not of "https://": kube-apiserver takes an issuer without a host too.
        assert plan.rules.issuer.lower().startswith("https:")
        assert plan.rules.issuer != own
        assert plan.rules.audiences
        assert plan.rules.algorithms == set(ALGORITHMS)
        expressions = plan.mapping.expressions
        assert plan.mapping.username_claim or (expressions and expressions.username)


@functools.cache
def _environment() -> Environment:
    return Environment()


def claims_expression(data: bytes) -> None:
    """Compile an expression over claims, and have its value if it has one: plain, and always so."""
    source = data.decode("utf-8", "replace")
    environment = _environment()
    try:
        expression = environment.claims_expression(source)
    except CannotCompile as error:
        str(error).encode()
        return
    claims = environment.claims(CLAIMS)
    values = [_value(expression, claims) for _ in range(2)]
    assert values[0] == values[1], source


def _value(expression: Any, claims: Any) -> Any:
    try:
        value = expression.evaluate(claims)
    except EvaluationError as error:
        str(error).encode()
        return EvaluationError
    assert value is None or isinstance(value, str | bool | list | Other), type(value)
    return value
