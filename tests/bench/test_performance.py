"""What docs/performance.md shows of a record, however little is in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.record import Record
from bench.subjects import OURS
from docs import performance


@pytest.fixture
def record(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Record:
    monkeypatch.setattr(performance, "RECORD", tmp_path / "performance.json")
    return Record(about={"cores": "2"})


def test_a_part_that_a_record_lacks_is_said_to_be_missing(record: Record) -> None:
    record.write(performance.RECORD)
    assert "**audit**: not measured" in performance.measured_markdown()
    rows = performance.targets_markdown().splitlines()[2:]
    assert all(row.endswith("| - | not measured |") for row in rows)


def test_what_an_audit_and_a_recording_add_is_held_against_its_target(record: Record) -> None:
    for added in (12.0, 40.0, 14.0):
        record.add("audit", "400 B x 32", OURS, {"cpu": 100.0})
        figures = {"cpu": 100 + added, "added": added}
        record.add("audit", "400 B x 32", "audit, ResponseComplete", figures)
    for way, delay in (("direct", 90.0), ("read", 100.0), ("recorded", 125.0)):
        record.add("recording", "1000 frames a second", way, {"p50": delay})
    record.write(performance.RECORD)
    targets = performance.targets_markdown()
    assert "| CPU that an audit event adds | at most 15 us | 14.00 us | met |" in targets
    assert (
        "| delay of a recorded frame, to one that is not | at most 1.1 | 1.25 | missed |" in targets
    )
    measured = performance.measured_markdown()
    assert "| 400 B x 32 | audit, ResponseComplete | 114 | 14 |" in measured
    assert "| 1000 frames a second | recorded | 0.035 |" in measured
