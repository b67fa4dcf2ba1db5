"""What is shown of the settings: the help on a terminal, and the table in the documentation.

Both come from the declarations alone, so neither can fall behind what the program does.
"""

from __future__ import annotations

import textwrap
from itertools import groupby

from proxy.config.declaration import Setting
from proxy.config.model import SETTINGS

_WIDTH = 88


def flags_help(*groups: str) -> str:
    """Return the flags of these groups (none: of all), with default and environment variable."""
    return "\n".join(
        f"{group}:\n" + "".join(_entry(setting) for setting in settings)
        for group, settings in groupby(SETTINGS.values(), lambda s: s.declared.group)
        if not groups or group in groups
    )


def flags_markdown() -> str:
    """Return the flags as a Markdown table: flag, default, meaning."""
    rows = ["| flag | default | meaning |", "|---|---|---|"]
    for setting in SETTINGS.values():
        cells = (_markdown_flag(setting), _markdown_default(setting), setting.declared.help)
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(rows) + "\n"


def _entry(setting: Setting) -> str:
    default = setting.default_shown
    notes = default.capitalize() if default.startswith("required") else f"Default: {default}"
    notes += ". May be repeated" if setting.declared.repeatable else ""
    flag = f"{setting.flag} {setting.declared.placeholder}".rstrip()
    return (
        f"  {flag}\n{_wrapped(setting.declared.help)}\n{_wrapped(f'{notes}.')}\n"
        f"{_wrapped(f'Environment: {setting.variable}')}\n"
    )


def _wrapped(text: str) -> str:
    indent = " " * 6
    return textwrap.fill(
        text, _WIDTH, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False
    )


def _markdown_flag(setting: Setting) -> str:
    written = f"`{f'{setting.flag} {setting.declared.placeholder}'.rstrip()}`"
    return f"{written} (repeatable)" if setting.declared.repeatable else written


def _markdown_default(setting: Setting) -> str:
    if setting.declared.default_words:
        return setting.declared.default_words
    return ", ".join(f"`{text}`" for text in setting.declared.default)
