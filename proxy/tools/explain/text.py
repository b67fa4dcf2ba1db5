"""An account for people: one step, one line, and the end of it first."""

from __future__ import annotations

import json
from typing import Any


def text(account: dict[str, Any]) -> str:
    """Return the account as lines of text."""
    lines = ["authenticated" if account["authenticated"] else "not authenticated"]
    if account["error"]:
        lines.append(f"  because   {account['error']}")
    if user := account["user"]:
        lines += [f"  {name:9} {_shown(value)}" for name, value in user.items() if value]
    lines += ["", "step by step:"]
    for number, step in enumerate(account["steps"], 1):
        facts = {name: value for name, value in step.items() if name != "step"}
        lines.append(f"  {number}. {step['step']}")
        lines += [f"       {name}: {_shown(value)}" for name, value in facts.items()]
    return "\n".join(lines) + "\n"


def _shown(value: Any) -> str:
    return value if isinstance(value, str) and value.isprintable() else json.dumps(value)
