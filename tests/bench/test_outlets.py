"""What the soak says of what the proxy has written down."""

from __future__ import annotations

import pytest

from bench.soak.outlets import Outlets

SOUND = {
    'audit_events result="written",sink="log"': 7.0,
    'audit_events result="dropped",sink="log"': 0.0,
    'recordings result="whole"': 3.0,
    'recordings result="truncated"': 2.0,
    'recordings result="failed"': 0.0,
    "batches of spans": 1.0,
}


@pytest.mark.parametrize(
    ("changed", "problems"),
    [
        ({}, []),
        ({'recordings result="failed"': 1.0}, ['recordings result="failed": 1']),
        (
            {'audit_events result="dropped",sink="log"': 4.0},
            ['audit_events result="dropped",sink="log": 4'],
        ),
        ({'recordings result="whole"': 0.0}, ['recordings result="whole": none']),
        ({"batches of spans": 0.0}, ["batches of spans: none"]),
    ],
)
def test_what_was_lost_and_what_was_given_nothing_is_a_problem(
    changed: dict[str, float], problems: list[str]
) -> None:
    assert Outlets.problems(SOUND | changed) == problems
