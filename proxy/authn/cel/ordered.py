"""Kubernetes' functions on quantities and versions (library/quantity.go, semverlib.go)."""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from proxy.authn.cel.functions import Function, free, member, readable

QUANTITY: Final = "kubernetes.Quantity"
SEMVER: Final = "kubernetes.Semver"

Value = dict[str, str]

_QUANTITY: Final = re.compile(
    r"([+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+))"
    r"(|[numkMGTPE]|[KMGTPE]i|[eE][+-]?[0-9]{1,3})"
)
_SUFFIXES: Final = {
    "": Decimal(1),
    **{s: Decimal(1000) ** n for n, s in enumerate(("n", "u", "m"), -3)},
    **{s: Decimal(1000) ** n for n, s in enumerate(("k", "M", "G", "T", "P", "E"), 1)},
    **{f"{s}i": Decimal(1024) ** n for n, s in enumerate("KMGTPE", 1)},
}
_NUMBER: Final = r"(?:0|[1-9][0-9]*)"
_PRE: Final = rf"(?:{_NUMBER}|[0-9]*[A-Za-z-][0-9A-Za-z-]*)"
_SEMVER: Final = re.compile(
    rf"({_NUMBER})\.({_NUMBER})\.({_NUMBER})(?:-({_PRE}(?:\.{_PRE})*))?"
    r"(?:\+[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?"
)
_LOOSE: Final = re.compile(r"v?([0-9]+)(?:\.([0-9]+))?(?:\.([0-9]+))?([-+].*)?", re.DOTALL)
_LONGEST: Final = 100  # characters of a quantity or a version that are read at all


def _decimal(value: Value) -> Decimal:
    return Decimal(value[QUANTITY])


def _quantity(text: str) -> Value:
    found = _QUANTITY.fullmatch(text) if len(text) <= _LONGEST else None
    if found is None:
        raise ValueError(
            "quantities must match the regular expression "
            "'^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
        )
    number, suffix = Decimal(found[1]), found[2]
    try:
        scale = _SUFFIXES.get(suffix) or Decimal(10) ** int(suffix[1:])
        return {QUANTITY: format((number * scale).normalize(), "f")}
    except InvalidOperation:
        raise ValueError("quantity is out of range") from None


def _added(sign: int) -> Callable[[Value, Value | int], Value]:
    def add(value: Value, other: Value | int) -> Value:
        second = _decimal(other) if isinstance(other, dict) else Decimal(other)
        return {QUANTITY: format((_decimal(value) + sign * second).normalize(), "f")}

    return add


def _sign(value: Value) -> int:
    number = _decimal(value)
    return (number > 0) - (number < 0)


def _is_integer(value: Value) -> bool:
    number = _decimal(value)
    return number == number.to_integral_value() and -(2**63) <= number < 2**63


def _as_integer(value: Value) -> int:
    if not _is_integer(value):
        raise ValueError("cannot convert value to integer")
    return int(_decimal(value))


def _semver(text: str, normalize: bool = False) -> Value:
    if len(text) <= _LONGEST:
        if normalize and (loose := _LOOSE.fullmatch(text)):
            numbers = (str(int(number or 0)) for number in loose.groups()[:3])
            text = ".".join(numbers) + (loose[4] or "")
        if _SEMVER.fullmatch(text):
            return {SEMVER: text}
    raise ValueError(f"semver parse error: {text[:_LONGEST]!a} is no semantic version")


def _order(value: Value) -> tuple[Any, ...]:
    """Return what orders versions (semver.org, section 11); without a pre-release is later."""
    found = _SEMVER.fullmatch(value[SEMVER])
    assert found is not None, "_semver has made it"
    numbers = tuple(int(found[n]) for n in (1, 2, 3))
    pre = found[4]
    if pre is None:
        return (numbers, 1, ())
    identifiers = tuple(
        (0, int(part), "") if part.isdecimal() else (1, 0, part) for part in pre.split(".")
    )
    return (numbers, 0, identifiers)


def _part(index: int) -> Callable[[Value], int]:
    def part(value: Value) -> int:
        number: int = _order(value)[0][index]
        return number

    return part


def _key(value: Value) -> Any:
    return _decimal(value) if QUANTITY in value else _order(value)


def _compared(value: Value, other: Value) -> int:
    one, two = _key(value), _key(other)
    return int(one > two) - int(one < two)


def _of_both(what: str, result: str) -> dict[str, tuple[tuple[str, ...], str]]:
    return {
        f"quantity_{what}": ((QUANTITY, QUANTITY), result),
        f"semver_{what}": ((SEMVER, SEMVER), result),
    }


ORDERED_FUNCTIONS: Final[tuple[Function, ...]] = (
    free("quantity", _quantity, string_to_quantity=(("string",), QUANTITY)),
    free("isQuantity", readable(_quantity), is_quantity_string=(("string",), "bool")),
    member("sign", _sign, quantity_sign=((QUANTITY,), "int")),
    member("isInteger", _is_integer, quantity_is_integer=((QUANTITY,), "bool")),
    member("asInteger", _as_integer, quantity_as_integer=((QUANTITY,), "int")),
    member(
        "asApproximateFloat",
        lambda value: float(_decimal(value)),
        quantity_as_float=((QUANTITY,), "double"),
    ),
    member(
        "add",
        _added(1),
        quantity_add=((QUANTITY, QUANTITY), QUANTITY),
        quantity_add_int=((QUANTITY, "int"), QUANTITY),
    ),
    member(
        "sub",
        _added(-1),
        quantity_sub=((QUANTITY, QUANTITY), QUANTITY),
        quantity_sub_int=((QUANTITY, "int"), QUANTITY),
    ),
    free(
        "semver",
        _semver,
        string_to_semver=(("string",), SEMVER),
        string_bool_to_semver=(("string", "bool"), SEMVER),
    ),
    free(
        "isSemver",
        readable(_semver),
        is_semver_string=(("string",), "bool"),
        is_semver_string_bool=(("string", "bool"), "bool"),
    ),
    member("major", _part(0), semver_major=((SEMVER,), "int")),
    member("minor", _part(1), semver_minor=((SEMVER,), "int")),
    member("patch", _part(2), semver_patch=((SEMVER,), "int")),
    member("isLessThan", lambda a, b: _compared(a, b) < 0, **_of_both("is_less_than", "bool")),
    member("isGreaterThan", lambda a, b: _compared(a, b) > 0, **_of_both("is_greater", "bool")),
    member("compareTo", _compared, **_of_both("compare_to", "int")),
)
