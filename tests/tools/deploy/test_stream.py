"""Documents are taken apart and put together without loss."""

from __future__ import annotations

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
