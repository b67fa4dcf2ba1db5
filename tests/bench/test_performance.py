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
    assert "**windows**: not measured" in performance.measured_markdown()
    rows = performance.targets_markdown().splitlines()[2:]
    assert all(row.endswith("| - | not measured |") for row in rows)


def test_what_an_audit_and_a_recording_add_is_held_against_its_target(record: Record) -> None:
    for cpu in (90.0, 100.0, 180.0):
        record.add("windows", "400 B x 32", OURS, {"cpu": cpu})
        record.add("windows", "400 B x 32", "audit, ResponseComplete", {"cpu": cpu + 14})
        record.add("windows", "400 B x 32", "audit, all stages", {"cpu": cpu + 16})
    for way, delay in (("direct", 90.0), ("read", 100.0), ("recorded", 125.0)):
        record.add("recording", "1000 frames a second", way, {"p50": delay})
    record.write(performance.RECORD)
    targets = performance.targets_markdown()
    assert (
        "| CPU that an audit log adds, ResponseComplete | at most 15 us | 14.00 us | met" in targets
    )
    assert "| CPU that an audit log adds, all stages | at most 15 us | 16.00 us | missed" in targets
    assert (
        "| delay of a recorded frame, to one that is not | at most 1.1 | 1.25 | missed |" in targets
    )
    measured = performance.measured_markdown()
    assert "| 400 B x 32 | audit, ResponseComplete | 114 |" in measured
    assert "| 1000 frames a second | recorded | 0.035 |" in measured


def test_a_ratio_stands_for_the_usual_speed_and_for_the_undisturbed(record: Record) -> None:
    for speed, ours in (("", 90.0), (", undisturbed", 60.0)):
        record.add("windows", f"400 B x 32{speed}", OURS, {"cpu": ours})
        record.add("windows", f"400 B x 32{speed}", "nginx", {"cpu": 40.0})
    record.write(performance.RECORD)
    targets = performance.targets_markdown()
    assert "| CPU of a 400 B request, to nginx | at most 2 | 2.25 | missed |" in targets
    assert "| CPU of a 400 B request, to nginx, undisturbed | at most 2 | 1.50 | met |" in targets
