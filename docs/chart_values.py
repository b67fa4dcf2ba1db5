"""The chart's values as a Markdown table, read from where they are documented: ``values.yaml``.

A value's line there is ``## @param KEY TEXT``, a heading's ``## @section TEXT``.
"""

from __future__ import annotations

import json
import re
from functools import reduce
from pathlib import Path
from typing import Any, Final

import yaml

VALUES: Final = Path(__file__).parents[1] / "deploy/helm/headlamp-auth-proxy/values.yaml"
_LINE: Final = re.compile(r"^ *## @(?:section (.*)|param (\S+) (.*))$", re.MULTILINE)


def values_markdown() -> str:
    """Return a table for each section: value, default, meaning."""
    text = VALUES.read_text()
    values = yaml.safe_load(text)
    lines: list[str] = []
    for section, key, meaning in _LINE.findall(text):
        if section:
            lines += ["", f"### {section}", "", "| value | default | meaning |", "|---|---|---|"]
        else:
            lines.append(f"| `{key}` | `{_default(values, key)}` | {meaning} |")
    return "\n".join(lines).strip()


def _default(values: Any, key: str) -> str:
    return json.dumps(reduce(lambda inner, name: inner[name], key.split("."), values))
