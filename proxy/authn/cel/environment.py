"""Compiles and evaluates expressions as kube-apiserver's authentication does.

An expression is checked in one environment of the library and run in another (``library``);
between the two it is checked further and rewritten. An expression sees its one variable and
nothing else: there is no clock, no request, no file, and no function that reaches anything.

Cost is bounded, as in Kubernetes, though in another unit: an evaluation ends after 10,000 steps of
comprehensions, regular expressions take linear time, a token is as long as is allowed, and what
could make much of little has a bound of its own (``bounded``).
"""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Mapping
from functools import cached_property
from typing import Any, Final

from cel_expr_python import cel

from proxy.authn.cel import ast, checks, rewrite
from proxy.authn.cel.library import OPTIONAL, claims_environments, user_environments
from proxy.authn.configuration.validation import CannotCompile
from proxy.authn.expression import EvaluationError, Other

_PYTHON_VALUES: Final = {"STRING", "BOOL", "NULL"}

# The library's words for an error, and Kubernetes'.
_WORDS: Final = (
    (
        re.compile(r'NOT_FOUND: Key not found in map : "?(?:\\x00)?(.*?)"?', re.DOTALL),
        r"no such key: \1",
    ),
    (re.compile(r"UNKNOWN: No matching overloads found.*"), "no such overload"),
    (re.compile(r"UNKNOWN: Index error: index=(-?\d+) size=\d+"), r"index out of bounds: \1"),
    (re.compile(r"INVALID_ARGUMENT: divide by zero"), "division by zero"),
    (
        re.compile(r"INVALID_ARGUMENT: cannot convert (\w+) to (\w+)"),
        r"type conversion error from '\1' to '\2'",
    ),
    (re.compile(r"INVALID_ARGUMENT: Type conversion error (.*)"), r"type conversion error \1"),
    (re.compile(r"INVALID_ARGUMENT: modulus by zero"), "modulus by zero"),
    (
        re.compile(r"INTERNAL: Iteration budget exceeded"),
        "operation cancelled: actual cost limit exceeded",
    ),
    (re.compile(r"[A-Z_]+: (.*)"), r"\1"),
)


class CompiledExpression:
    """An expression of one variable; satisfies ``validation.Compiled``."""

    def __init__(self, source: str, variable: str, checked: Any, run: Any, is_bool: bool) -> None:
        self.source = source
        self.is_bool = is_bool
        self._variable = variable
        self._expr = checked.expr
        self._run = run

    def selects(self, variable: str, member: str) -> bool:
        """hasSelectExp of validation.go: by ``.`` or ``.?``, not by ``[]``."""
        return any(_selects(node, variable, member) for node in ast.walk(self._expr))

    def evaluate(self, variable: Any) -> Any:
        try:
            value = self._run.eval(data={self._variable: variable})
            if value.type().name() == "ERROR":
                raise EvaluationError(_in_kubernetes_words(str(value.plain_value())))
            return _python_value(value)
        except TypeError:  # the library cannot hand out an optional
            return Other("optional_type")
        except RuntimeError as error:
            raise EvaluationError(_in_kubernetes_words(_bare(str(error)))) from None


class Environment:
    """Compiles expressions; satisfies ``validation.Compiler``."""

    def claims_expression(self, source: str, *, is_mapping: bool = False) -> CompiledExpression:
        return self._compiled(source, "claims", *self._claims, is_mapping)

    def user_expression(self, source: str) -> CompiledExpression:
        return self._compiled(source, "user", *self._user, False)

    def claims(self, claims: Mapping[str, Any]) -> Any:
        """Return what JSON Go can hold; a claim with a number that it cannot is not there."""
        held = {}
        for name, value in claims.items():
            with contextlib.suppress(OverflowError):
                held[name] = _json_value(value)
        return held

    def user(self, user: Mapping[str, Any]) -> Any:
        return user

    @cached_property
    def _claims(self) -> tuple[cel.Env, cel.Env]:
        return claims_environments()

    @cached_property
    def _user(self) -> tuple[cel.Env, cel.Env]:
        return user_environments()

    def _compiled(
        self, source: str, variable: str, check: cel.Env, run: cel.Env, is_mapping: bool
    ) -> CompiledExpression:
        try:
            expression = check.compile(source)
        except RuntimeError as error:
            raise CannotCompile(_compile_error(_bare(str(error)))) from None
        checked = ast.parse(expression.serialize())
        if problems := checks.problems(source, checked):
            raise CannotCompile("compilation failed: " + "\n".join(problems))
        running = type(checked)()
        running.CopyFrom(checked)
        rewrite.rewrite(running, is_mapping=is_mapping, optional=OPTIONAL)
        return CompiledExpression(
            source,
            variable,
            checked,
            run.deserialize(ast.serialize(running)),
            # Not the library's return_type(), which knows no map whose keys are of any type.
            checks.type_of(checked) == "bool",
        )


def _json_value(value: Any) -> Any:
    """Return JSON as CEL has it: all numbers are doubles. Raises OverflowError."""
    match value:
        case bool() | None | str():
            return value
        case int() | float():
            number = float(value)
            if math.isinf(number):
                raise OverflowError("a number beyond a double")
            return number
        case list():
            return [_json_value(item) for item in value]
        case dict():
            return {name: _json_value(item) for name, item in value.items()}
        case _:
            return value


def _python_value(value: Any) -> Any:
    name = value.type().name()
    if name in _PYTHON_VALUES:
        return value.plain_value()
    if name.startswith("LIST"):
        return [_python_value(item) for item in value.value()]
    return Other(name)


def _selects(node: ast.Node, variable: str, member: str) -> bool:
    if node.HasField("select_expr"):
        select = node.select_expr
        return ast.is_ident(select.operand, variable) and bool(select.field == member)
    call = ast.call_to(node, "_?._")
    if call is None:
        return False
    return ast.is_ident(call.args[0], variable) and ast.const_string(call.args[1]) == member


def _bare(message: str) -> str:
    """Return a message without the status that the library repeats around it."""
    return re.sub(r" \[[A-Z_]+\]$", "", message)


def _compile_error(message: str) -> str:
    message = message.removeprefix("INVALID_ARGUMENT: ")
    message = message.replace("cannot be the range of", "cannot be range of")
    message = re.sub(r" not found in struct '[^']*'", "", message)
    return f"compilation failed: {message}"


def _in_kubernetes_words(message: str) -> str:
    for pattern, words in _WORDS:
        if found := pattern.fullmatch(message):
            return found.expand(words)
    return message
