"""Values as Go writes them in kube-apiserver's messages, so that the two can be compared."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta


def quoted(text: str) -> str:
    """Return ``text`` as %q does, near enough for people and always in one line of ASCII."""
    return json.dumps(text)


def quoted_list(texts: Iterable[str]) -> str:
    return f"[{' '.join(map(quoted, texts))}]"


def timestamp(seconds: int) -> str:
    """Return unix seconds as time.Time prints itself in UTC."""
    try:
        moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
    except OverflowError:
        return f"{seconds} s after 1970"
    return f"{moment:%Y-%m-%d %H:%M:%S} +0000 UTC"


def kind_of(value: object) -> str:
    """Return what encoding/json calls the kind of a JSON value in its complaints."""
    match value:
        case None:
            return "null"
        case bool():
            return "bool"
        case int() | float():
            return "number"
        case str():
            return "string"
        case list():
            return "array"
        case _:
            return "object"


def cannot_unmarshal(value: object, wanted: str) -> str:
    """Return encoding/json's complaint about a value that is not of the Go type ``wanted``."""
    return f"json: cannot unmarshal {kind_of(value)} into Go value of type {wanted}"
