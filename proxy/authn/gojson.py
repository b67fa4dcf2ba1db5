"""JSON as Go's encoding/json reads it, which is how kube-apiserver reads tokens.

Python's reader differs where it matters: it takes NaN, keeps lone surrogates, guesses encodings and
forgets which of two equal names came last. Whatever is read here comes from strangers, so there is
one way to fail: ``ValueError``, also for nesting bombs and for numbers of thousands of digits.
"""

from __future__ import annotations

import json
import re
from typing import Any, NoReturn

# Go reads 10,000 levels, Python as many as its stack happens to hold. No claim needs this many.
MAX_DEPTH = 200

_BRACKETS = re.compile(rb"[\[\]{}]")
_SURROGATE = re.compile("[\ud800-\udfff]")

Members = list[tuple[str, Any]]


def parse_object(document: bytes) -> Members:
    """Return the members of a JSON object in their order, duplicates included.

    Objects below the top are dicts, where the last of equal names wins. Bytes that are not UTF-8
    and lone surrogates become U+FFFD, one each.
    """
    members: Members = []

    def keep(pairs: Members) -> dict[str, Any]:
        nonlocal members  # the object that is closed last is the outermost one
        members = [(_well_formed(name), _well_formed(value)) for name, value in pairs]
        return dict(members)

    _check_depth(document)
    text = document.decode("utf-8", "surrogateescape")
    value = json.loads(text, object_pairs_hook=keep, parse_constant=_refuse)
    if not isinstance(value, dict):
        raise ValueError("not an object")  # noqa: TRY004 - the one way to fail
    return members


def _check_depth(document: bytes) -> None:
    """Refuse deep nesting before anything recurses; brackets inside strings count as well."""
    if document.count(b"[") + document.count(b"{") <= MAX_DEPTH:
        return
    depth = 0
    for bracket in _BRACKETS.findall(document):
        depth += 1 if bracket in b"[{" else -1
        if depth > MAX_DEPTH:
            raise ValueError("nested too deeply")


def fold(name: str) -> str:
    """Return the name of the struct field that Go would fill, for fields of lower-case ASCII.

    encoding/json folds as Unicode's simple folding does; beyond ASCII only the long s and the
    Kelvin sign (which ``lower`` maps) meet an ASCII letter there.
    """
    return name.lower().replace("\u017f", "s")


def _well_formed(value: Any) -> Any:
    if isinstance(value, str):
        return value if value.isascii() else _SURROGATE.sub("\ufffd", value)
    if isinstance(value, list):
        return [_well_formed(item) for item in value]
    return value


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")
