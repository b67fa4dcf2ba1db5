"""The count of a request's cost repeats, and one more pass over the header fields is over it."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import yaml

from bench.budget import BUDGET, TOLERANCE, bytecodes, calls, judged
from bench.path import HEADLAMP, Joined, _in_loop
from proxy.http.listener import ClientConnection

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("count", [calls, bytecodes])
def test_a_count_repeats(count: Callable[[Joined, bytes], float]) -> None:
    first, second = (_in_loop(lambda path: count(path, HEADLAMP)) for _ in range(2))
    assert first == pytest.approx(second, rel=TOLERANCE)


@pytest.mark.pure(reason="what is compiled has no bytecodes, and no method of it can be replaced")
def test_one_more_pass_over_the_header_fields_is_over_the_budget(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    received = ClientConnection.data_received

    def passing_once_more(connection: ClientConnection, data: bytes) -> None:
        sum(len(line) for line in data.split(b"\r\n"))
        received(connection, data)

    usual = _in_loop(partial(bytecodes, request=HEADLAMP))
    allowed = {"Headlamp's": {"bytecodes": usual}}
    assert judged({"Headlamp's": {"bytecodes": usual}}, allowed) == []
    monkeypatch.setattr(ClientConnection, "data_received", passing_once_more)
    more = _in_loop(partial(bytecodes, request=HEADLAMP))
    problems = judged({"Headlamp's": {"bytecodes": more}}, allowed)
    assert len(problems) == 1, problems
    assert "Headlamp's request" in problems[0]


def test_each_python_that_ci_runs_has_a_budget() -> None:
    workflow = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())
    releases = {
        str(release)
        for job in workflow["jobs"].values()
        for release in job.get("strategy", {}).get("matrix", {}).get("python", [])
    }
    assert releases
    assert releases <= json.loads(BUDGET.read_text()).keys()


def test_what_has_no_budget_is_not_judged() -> None:
    assert judged({"somebody's": {"calls": 1e9}}, {}) == []
