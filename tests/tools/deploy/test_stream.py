"""Documents are taken apart and put together without loss."""

from __future__ import annotations

import itertools
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.tools.deploy.stream import StreamError, documents

PARTS = st.lists(
    st.sampled_from(
        ["---\n", "--- # note\n", "a: 1\n", "# only a comment\n", "\n", "b: |\n  ---x\n  --- y\n"]
    ),
    max_size=6,
)


@given(PARTS)
def test_joined_the_documents_are_the_stream(parts: list[str]) -> None:
    text = "".join(parts)
    try:
        found = documents(text, "test")
    except StreamError:  # two mappings in a row with the same key, say
        return
    assert "".join(d.text for d in found) == text


@pytest.mark.parametrize(
    "text",
    [
        "a: 1 # why\nb: [x, y]\n",
        "---\n# first\n\na: 'quoted'\nb: \"other\"\n",
        "a:\n- 1\n- 2\n",
        "a:\n    - 1\n",
        "t: |\n  two\n  lines\nu: >-\n  folded\n  text\n",
        "x: &here {k: v}\ny: *here\n",
        "off: no\non: yes\noctal: 010\n",
    ],
)
def test_what_is_not_changed_stays_as_it_was_written(text: str) -> None:
    (document,) = documents(text, "test")

    def change(content: Any) -> None:
        content["new"] = "value"

    changed = document.changed(change)
    for line in text.splitlines():
        assert line.strip() in [other.strip() for other in changed.splitlines()]
    assert "new: value" in changed


def test_a_document_that_is_not_changed_is_the_same_text() -> None:
    text = "a:   1\n\n\nb: 2\n"
    (document,) = documents(text, "test")
    assert document.changed(lambda content: content.update(a=1)) == text


def test_where_it_is_not_yaml_is_said() -> None:
    with pytest.raises(StreamError, match=r"f\.yaml, line 4: not YAML"):
        documents("a: 1\n---\nb: 2\nc: d: e\n", "f.yaml")


LAUGH = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 10)}]\n"
    for before, name in itertools.pairwise("abcdefg")
)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (LAUGH, "more than 1000000 values"),
        ("[" * 100_000, "more than 100 levels deep"),
        ("x: &x [*x]\n", "the anchor x contains itself"),
        ("d: 2020-13-41\n", "month must be in"),
        ("a: \0\n", "control characters are not allowed"),
        ("a:\n\t- 1\n", "cannot start any token"),
        ("a: !vault x\n", "!vault"),
        ("a: 1\n...\nb: 2\n", "line 3: not YAML"),
    ],
)
def test_what_is_broken_or_hostile_is_refused_in_a_sentence(text: str, words: str) -> None:
    with pytest.raises(StreamError, match=rf"^f\.yaml.*{re.escape(words)}"):
        documents(text, "f.yaml")


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("", 1),
        ("---\n---\n\n---\n", 3),
        ("text\n---\n42\n---\n[1]\n", 3),
        ("a: |\n  ---\n  b: c\n", 1),
        ("%YAML 1.1\n---\na: 1\n", 1),
        ("a: 1\r\n---\r\nb: 2\r\n", 2),
        ("\ufeffa: 1\n", 1),
        ("x: &x {a: 1}\ny: [*x, *x]\n", 1),
    ],
)
def test_what_is_odd_is_taken(text: str, count: int) -> None:
    found = documents(text, "f.yaml")
    assert len(found) == count
    assert "".join(d.text for d in found) == text


def test_line_ends_stay_as_they_were() -> None:
    (document,) = documents("a: 1\r\nb: |\r\n  x\r\n  y\r\n", "f.yaml")
    changed = document.changed(lambda content: content.update(c=2))
    assert changed == "a: 1\r\nb: |\r\n  x\r\n  y\r\nc: 2\r\n"


def test_a_change_that_an_alias_would_carry_elsewhere_is_refused() -> None:
    (document,) = documents("---\none: &e [1]\nother: *e\n", "f.yaml")
    with pytest.raises(StreamError, match=r"f\.yaml, line 1: .* write out its anchors"):
        document.changed(lambda content: content["one"].append(2))


def test_a_change_beside_an_alias_is_made() -> None:
    (document,) = documents("one: &e [1]\nother: *e\n", "f.yaml")
    changed = document.changed(lambda content: content.update(new=2))
    assert changed == "one: &e [1]\nother: *e\nnew: 2\n"


def test_a_key_that_is_there_twice_is_refused_where_it_matters() -> None:
    (document,) = documents("a: 1\na: 2\n", "f.yaml")
    assert document.changed(lambda _: None) == document.text
    with pytest.raises(StreamError, match=r"f\.yaml, line 2: .*duplicate key"):
        document.changed(lambda content: content.update(b=3))
