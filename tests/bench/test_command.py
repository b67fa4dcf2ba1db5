"""What the benchmark says of itself: its help names all that can be asked, its table the units."""

from __future__ import annotations

import sys

import pytest

from bench.__main__ import NAMES, PARTS, main
from bench.record import Record
from bench.table import UNITS, table


def test_the_help_keeps_its_lines_and_names_every_part_and_proxy(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["bench", "--help"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    out = capsys.readouterr().out
    assert "    make bench BENCH=small  " in out
    assert all(name in out.partition("a part:")[2] for name in (*PARTS, *NAMES))


def test_the_table_says_in_what_it_is() -> None:
    record = Record(about={"cores": "2"})
    record.add("requests", "small", "direct", {"rate": 1000.0})
    assert table(record).splitlines()[:2] == ["cores 2", UNITS]
