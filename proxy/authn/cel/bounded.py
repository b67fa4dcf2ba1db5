"""Functions of the library whose result can be far larger than what they are given, with a bound.

The library bounds loops and nothing else. These put one text into another at every place, or make
a list of any length, so that two or three in a row would fill any memory; Kubernetes ends them by
their cost. They run in place of the library's (``rewrite``), which never sees them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from proxy.authn.cel.functions import Function

COST: Final = "operation cancelled: actual cost limit exceeded"
MAX_TEXT: Final = 1 << 20  # characters; a whole token is 16 KiB unless more is allowed
MAX_ITEMS: Final = 10_000  # as many as the library lets a loop go round


def _replace(text: str, old: str, new: str, most: int = -1) -> str:
    count = len(text) + 1 if not old else text.count(old)
    if most >= 0:
        count = min(count, most)
    if len(text) + count * len(new) > MAX_TEXT:
        raise ValueError(COST)
    return text.replace(old, new, most)


def _join(items: Sequence[str], separator: str = "") -> str:
    for item in items:
        if not isinstance(item, str):
            raise ValueError(f"join: invalid input: {item}")  # noqa: TRY004 - cel-go's own words
    if sum(map(len, items)) + len(items) * len(separator) > MAX_TEXT:
        raise ValueError(COST)
    return separator.join(items)


def _range(length: int) -> list[int]:
    if length > MAX_ITEMS:
        raise ValueError(COST)
    return list(range(length))


# By the names of the library's functions.
BOUNDED: Final[dict[str, Function]] = {
    "replace": Function(
        "@replace",
        {
            "bounded_replace": (("string", "string", "string"), "string"),
            "bounded_replace_most": (("string", "string", "string", "int"), "string"),
        },
        _replace,
    ),
    "join": Function(
        "@join",
        {
            "bounded_join": (("list<dyn>",), "string"),
            "bounded_join_separator": (("list<dyn>", "string"), "string"),
        },
        _join,
    ),
    "lists.range": Function(
        "@range", {"bounded_range": (("int",), "list<int>")}, _range, is_member=False
    ),
}
