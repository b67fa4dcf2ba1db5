"""Help and documentation are derived from the declarations, and say everything."""

from __future__ import annotations

import pytest

from proxy.config.declaration import Setting
from proxy.config.model import SETTINGS
from proxy.config.usage import flags_help, flags_markdown

every_setting = pytest.mark.parametrize("setting", SETTINGS.values(), ids=lambda s: s.key)


@every_setting
def test_the_help_shows_flag_default_environment_and_meaning(setting: Setting) -> None:
    start = f"  {setting.flag} {setting.declared.placeholder}".rstrip() + "\n"
    entry = flags_help().partition(start)[2].partition("\n  --")[0]
    words = " ".join(entry.split())
    assert setting.declared.help in words
    assert setting.default_shown.lower() in words.lower()
    assert f"Environment: {setting.variable}" in words
    assert ("May be repeated" in words) is setting.declared.repeatable


@every_setting
def test_the_table_has_a_row_for_each_setting(setting: Setting) -> None:
    (row,) = [line for line in flags_markdown().splitlines() if f"`{setting.flag}" in line[:60]][:1]
    assert row.startswith(f"| `{setting.flag}")
    assert row.replace("\\|", "").count("|") == 4
    assert setting.default_shown.split(", ")[0] in row


@every_setting
def test_every_setting_says_what_it_is_for_and_what_its_default_does(setting: Setting) -> None:
    assert setting.declared.help.endswith(".")
    assert setting.default_shown


def test_the_help_is_grouped_and_fits_a_terminal() -> None:
    lines = flags_help().splitlines()
    groups = [line for line in lines if line and not line.startswith(" ")]
    assert groups == [
        *("Tokens:", "Identity:", "API server:", "Serving:", "Limits:", "Audit:"),
        *("Sessions:", "Administration:"),
    ]
    assert max(map(len, lines)) <= 88


def test_the_table_is_a_markdown_table() -> None:
    header, rule, *rows = flags_markdown().splitlines()
    assert header == "| flag | default | meaning |"
    assert rule == "|---|---|---|"
    assert len(rows) == len(SETTINGS)
