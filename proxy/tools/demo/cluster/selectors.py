"""Label and field selectors, as far as people type them.

Labels: ``a=b``, ``a==b``, ``a!=b``, ``a``, ``!a``. Fields: the same equality, on any path
(``status.phase``); what is not there is empty. Anything else is a 400, never a list of too much.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from proxy.tools.demo.cluster.statuses import bad_request, quoted

Matches = Callable[[Mapping[str, Any]], bool]
_LABEL: Final = re.compile(r"(!?)([\w./-]+?)(?:(==|!=|=)([\w.-]*))?")
_FIELD: Final = re.compile(r"([A-Za-z.]+)(==|!=|=)([^,=!]*)")


def selector(labels: str, fields: str) -> Matches:
    """Return whether an object is selected by both. Raises ApiError."""
    terms = [_label(term) for term in labels.split(",") if term]
    terms += [_field(term) for term in fields.split(",") if term]
    return lambda item: all(term(item) for term in terms)


def _label(term: str) -> Matches:
    parsed = _LABEL.fullmatch(term.strip())
    if parsed is None or (parsed[1] and parsed[3]):
        raise bad_request(f"unable to parse requirement: {quoted(term)} (in the sample cluster)")
    negated, key, operator, value = parsed.groups()

    def matches(item: Mapping[str, Any]) -> bool:
        labels = item["metadata"].get("labels") or {}
        if operator is None:
            return (key in labels) is not bool(negated)
        return (labels.get(key) == value) is not (operator == "!=")

    return matches


def _field(term: str) -> Matches:
    parsed = _FIELD.fullmatch(term)
    if parsed is None:
        raise bad_request(f"field label not supported: {quoted(term)}")
    path, operator, value = parsed.groups()
    return lambda item: (_at(item, path) == value) is not (operator == "!=")


def _at(item: Mapping[str, Any], path: str) -> object:
    found: object = item
    for key in path.split("."):
        found = found.get(key, "") if isinstance(found, dict) else ""
    return found
