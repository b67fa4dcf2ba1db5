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
# Lists and objects, brackets inside strings counting as well. A token of the greatest length could
# hold ten times as many, each for little work to its sender and much more to its reader.
MAX_NESTED = 1000

_BRACKETS = re.compile(rb"[\[\]{}]")
_NO_UTF8 = dict.fromkeys(range(0xDC80, 0xDD00), 0xFFFD)  # from what surrogateescape made of bytes
# What backslashes escape, a pair of surrogates as one. A surrogate without its other half is group
# 1; everything else is matched only so that it is not taken for a part of one.
_ESCAPES = re.compile(
    r"(?:\\[^u])+"
    r"|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
    r"|(\\u[dD][89a-fA-F][0-9a-fA-F]{2})"
)

Members = list[tuple[str, Any]]


def parse_object(document: bytes) -> Members:
    """Return the members of a JSON object in their order, duplicates included.

    Objects below the top are dicts, where the last of equal names wins. Bytes that are not UTF-8
    and lone surrogates become U+FFFD, one each.
    """
    members: Members = []

    def keep(pairs: Members) -> dict[str, Any]:
        nonlocal members  # the object that is closed last is the outermost one
        members = pairs
        return dict(pairs)

    _check_nesting(document)
    value = json.loads(_text(document), object_pairs_hook=keep, parse_constant=_refuse)
    if not isinstance(value, dict):
        raise ValueError("not an object")  # noqa: TRY004 - the one way to fail
    return members


def _check_nesting(document: bytes) -> None:
    """Refuse much and deep nesting before anything reads it."""
    brackets = sum(map(document.count, b"[]{}"))
    if brackets > 2 * MAX_NESTED:
        raise ValueError("too many lists and objects")
    if brackets <= MAX_DEPTH:
        return
    depth = 0
    for bracket in _BRACKETS.findall(document):
        depth += 1 if bracket in b"[{" else -1
        if depth > MAX_DEPTH:
            raise ValueError("nested too deeply")


def _text(document: bytes) -> str:
    """Decode, putting U+FFFD for all that Go would; before parsing, where one look is enough."""
    text = document.decode("utf-8", "surrogateescape")
    if not text.isascii():
        text = text.translate(_NO_UTF8)
    if "\\ud" in text or "\\uD" in text:
        text = _ESCAPES.sub(lambda found: r"\ufffd" if found[1] else found[0], text)
    return text


def fold(name: str) -> str:
    """Return the name of the struct field that Go would fill, for fields of lower-case ASCII.

    encoding/json folds as Unicode's simple folding does; beyond ASCII only the long s and the
    Kelvin sign (which ``lower`` maps) meet an ASCII letter there.
    """
    return name.lower().replace("\u017f", "s")


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")
