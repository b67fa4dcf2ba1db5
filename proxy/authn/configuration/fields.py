"""The words of validation errors (k8s.io/apimachinery/pkg/util/validation/field/errors.go)."""

from __future__ import annotations

import json


def required(path: str, detail: str = "") -> str:
    return f"{path}: Required value" + (f": {detail}" if detail else "")


def invalid(path: str, value: str, detail: str) -> str:
    return f"{path}: Invalid value: {_quoted(value)}: {detail}"


def duplicate(path: str, value: str) -> str:
    return f"{path}: Duplicate value: {_quoted(value)}"


def forbidden(path: str, detail: str) -> str:
    return f"{path}: Forbidden: {detail}"


def too_many(path: str, count: int, most: int) -> str:
    return f"{path}: Too many: {count}: must have at most {most} items"


def _quoted(value: str) -> str:
    return json.dumps(value, ensure_ascii=False)
