"""The documentation says what the code does."""

from __future__ import annotations

import functools
import re
from pathlib import Path

import pytest
import yaml

from docs.generate import ROOT, stale
from proxy.config.model import Config
from proxy.errors import every_error
from proxy.impersonation import RESERVED_PREFIXES

MARKDOWN = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("deploy/**/*.md")])


def test_generated_tables_are_fresh() -> None:
    assert not stale(), "run `make docs`"


@pytest.mark.parametrize("path", MARKDOWN, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_file_that_is_named_exists(path: Path) -> None:
    text = path.read_text()
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", text)
    named = re.findall(r"`((?:proxy|tests|docs|deploy|bench|\.ci|requirements)/[\w./-]+)`", text)
    missing = [n for n in links if not (path.parent / n).exists()]
    missing += [n for n in named if not (ROOT / n).exists()]
    assert missing == []


@pytest.mark.parametrize("path", MARKDOWN, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_make_target_that_is_named_exists(path: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"(?:^    |`)make ([a-z-]+)", path.read_text(), re.MULTILINE))
    assert named <= targets


def test_every_known_way_to_fail_names_tests_that_exist() -> None:
    text = (ROOT / "docs" / "security.md").read_text()
    rows = [line.split("|")[1:-1] for line in text.splitlines() if re.match(r"\| \d+ \|", line)]
    assert [int(row[0]) for row in rows] == list(range(1, len(rows) + 1))
    for number, *_, held_by in rows:
        named = re.findall(r"`([\w/]+\.py)::(test_\w+)`", held_by)
        assert named, f"row {number} names no test"
        for file, test in named:
            functions = re.findall(
                r"^(?:async )?def (test_\w+)", read(ROOT / "tests" / file), re.MULTILINE
            )
            assert test in functions, f"row {number}: {file}::{test}"


@functools.cache
def read(path: Path) -> str:
    return path.read_text()


def test_errors_are_told_apart_by_their_labels_and_say_something() -> None:
    errors = list(every_error())
    assert len({error.label for error in errors}) == len(errors)
    for error in errors:
        assert re.fullmatch(r"[a-z_]+", error.label)
        assert error.message.endswith(".")
        assert error.mend.endswith(".")
        assert "|" not in error.message + error.mend
        assert error.code >= 400
        assert error.reason


def test_the_rbac_that_is_shipped_grants_our_own_group_and_nothing_reserved() -> None:
    documents = list(yaml.safe_load_all((ROOT / "deploy" / "rbac.yaml").read_text()))
    (role,) = [d for d in documents if d["kind"] == "ClusterRole"]
    default = Config().authenticated_group
    named = {rule["resources"][0]: rule["resourceNames"] for rule in role["rules"]}
    assert default in named["groups"]
    for name in [*named["users"], *named["groups"]]:
        assert not name.startswith(RESERVED_PREFIXES)
    assert all(rule["verbs"] == ["impersonate"] for rule in role["rules"])
