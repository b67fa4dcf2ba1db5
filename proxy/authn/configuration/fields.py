"""The words of validation errors (k8s.io/apimachinery/pkg/util/validation/field/errors.go)."""

from __future__ import annotations

import json
from collections.abc import Iterable


def required(path: str, detail: str = "") -> str:
    return f"{path}: Required value" + (f": {detail}" if detail else "")


def invalid(path: str, value: str, detail: str) -> str:
    return f"{path}: Invalid value: {_quoted(value)}: {detail}"


def invalid_list(path: str, values: Iterable[str], detail: str) -> str:
    return f"{path}: Invalid value: [{','.join(map(_quoted, values))}]: {detail}"


def not_supported(path: str, value: str, known: Iterable[str]) -> str:
    names = ", ".join(map(_quoted, sorted(known)))
    return f"{path}: Unsupported value: {_quoted(value)}: supported values: {names}"


def duplicate(path: str, value: str) -> str:
    return f"{path}: Duplicate value: {_quoted(value)}"


def forbidden(path: str, detail: str) -> str:
    return f"{path}: Forbidden: {detail}"


def too_many(path: str, count: int, most: int) -> str:
    return f"{path}: Too many: {count}: must have at most {most} items"


def _quoted(value: str) -> str:
    return json.dumps(value, ensure_ascii=False)
