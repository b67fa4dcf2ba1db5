"""Kubernetes' functions on lists and with regular expressions (library/lists.go, regex.go).

The expressions are RE2's, as Kubernetes' are: they take linear time whatever a token holds.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice, pairwise
from typing import Any, Final

import re2

from proxy.authn.cel.functions import Function, member

QUIET: Final = re2.Options()
QUIET.log_errors = False  # what cannot be read is our error to report, not a line on stderr

_ORDERED: Final = ("int", "uint", "double", "bool", "duration", "timestamp", "string", "bytes")
_SUMMABLE: Final = ("int", "uint", "double", "duration")


def _is_sorted(items: Sequence[Any]) -> bool:
    return all(first <= second for first, second in pairwise(items))


def _sum(items: Sequence[Any]) -> Any:
    if any(isinstance(item, str | bytes | bool | list) for item in items):
        raise TypeError("not to be summed")
    total = items[0] if items else 0
    for item in items[1:]:
        total += item
    return total


def _least(items: Sequence[Any]) -> Any:
    if not items:
        raise ValueError("min called on empty list")
    return min(items)


def _greatest(items: Sequence[Any]) -> Any:
    if not items:
        raise ValueError("max called on empty list")
    return max(items)


def _index_of(items: Sequence[Any], item: Any) -> int:
    return next((i for i, other in enumerate(items) if _equal(other, item)), -1)


def _last_index_of(items: Sequence[Any], item: Any) -> int:
    backwards = range(len(items) - 1, -1, -1)
    return next((i for i in backwards if _equal(items[i], item)), -1)


def _equal(one: Any, other: Any) -> bool:
    """Compare as CEL does: true is not 1."""
    return isinstance(one, bool) == isinstance(other, bool) and bool(one == other)


def _find(text: str, expression: str) -> str:
    found = _compiled(expression).search(text)
    return found[0] if found else ""


def _find_all(text: str, expression: str, most: int = -1) -> list[str]:
    matches = _compiled(expression).finditer(text)
    return [match[0] for match in (matches if most < 0 else islice(matches, most))]


def _compiled(expression: str) -> Any:
    try:
        return re2.compile(expression, QUIET)
    except re2.error as error:
        raise ValueError(
            f"error parsing regexp: {error.args[0].decode(errors='replace')}"
        ) from None


LIST_FUNCTIONS: Final[tuple[Function, ...]] = (
    member(
        "isSorted",
        _is_sorted,
        **{f"list_{t}_is_sorted_bool": ((f"list<{t}>",), "bool") for t in _ORDERED},
    ),
    member("sum", _sum, **{f"list_{t}_sum_{t}": ((f"list<{t}>",), t) for t in _SUMMABLE}),
    member("min", _least, **{f"list_{t}_min_{t}": ((f"list<{t}>",), t) for t in _ORDERED}),
    member("max", _greatest, **{f"list_{t}_max_{t}": ((f"list<{t}>",), t) for t in _ORDERED}),
    member("indexOf", _index_of, list_a_index_of_int=(("list<~A>", "~A"), "int")),
    member("lastIndexOf", _last_index_of, list_a_last_index_of_int=(("list<~A>", "~A"), "int")),
    member("find", _find, string_find_string=(("string", "string"), "string")),
    member(
        "findAll",
        _find_all,
        string_find_all_string=(("string", "string"), "list<string>"),
        string_find_all_string_int=(("string", "string", "int"), "list<string>"),
    ),
)
