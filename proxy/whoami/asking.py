"""What the request for the page asks: which form, and about which namespace. Pure."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import parse_qs

PATH: Final = b"/.auth-proxy/whoami"
NAMESPACE: Final = "default"

_LABEL: Final = re.compile(r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?")  # RFC 1123
_LONGEST_QUERY: Final = 1024  # bytes; a longer one asks for nothing that there is
_MAX_RANGES: Final = 32  # of an Accept header; browsers send eight
_WEIGHT: Final = re.compile(r"[01](?:\.[0-9]{0,3})?")


def is_at(target: bytes) -> bool:
    """Say whether a request is for the page: for exactly its path, whatever the query."""
    return target.startswith(PATH) and target[len(PATH) : len(PATH) + 1] in (b"", b"?")


def namespace_of(target: bytes) -> str:
    """Return the namespace that the query names, the default one if it names none."""
    query = target.partition(b"?")[2]
    if not query or len(query) > _LONGEST_QUERY:
        return NAMESPACE
    asked = parse_qs(query.decode("ascii", "replace"), max_num_fields=None).get("namespace", [""])
    return asked[-1] if _LABEL.fullmatch(asked[-1]) else NAMESPACE


def prefers_html(accept: bytes) -> bool:
    """Say whether HTML is what is wanted most, as all browsers say and no program does.

    Where both are wanted alike, HTML must be named and JSON not (RFC 9110, section 12.5.1).
    """
    ranges = accept.decode("ascii", "replace").lower().split(",")[:_MAX_RANGES]
    weights = dict(_weighed(item) for item in reversed(ranges))
    html, json = _wanted(weights, "text", "html"), _wanted(weights, "application", "json")
    return html[0] > 0 and html > json


def _weighed(item: str) -> tuple[str, float]:
    kind, *parameters = (part.strip() for part in item.split(";"))
    given = [p.removeprefix("q=") for p in parameters if p.startswith("q=")]
    if not given:
        return kind, 1.0
    return kind, float(given[0]) if _WEIGHT.fullmatch(given[0]) else 0.0


def _wanted(weights: dict[str, float], kind: str, subtype: str) -> tuple[float, int]:
    """Return how much a type is wanted, and how closely it is named."""
    for closeness, name in ((2, f"{kind}/{subtype}"), (1, f"{kind}/*"), (0, "*/*")):
        if name in weights:
            return weights[name], closeness
    return 0.0, 0
