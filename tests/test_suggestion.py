"""A name that is not known, and the one that was probably meant."""

from __future__ import annotations

import pytest

from proxy.suggestion import did_you_mean


@pytest.mark.parametrize(
    ("name", "hint"),
    [("verb", "; did you mean verbs?"), ("nameSpaces", "; did you mean namespaces?"), ("x", "")],
)
def test_only_what_is_near_is_suggested(name: str, hint: str) -> None:
    assert did_you_mean(name, ["verbs", "namespaces"]) == hint
