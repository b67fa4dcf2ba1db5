"""Windows are compared where the machine was as quick for all, whoever was measured."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import cast

import pytest

from bench.run import Run
from bench.stage import Stage
from bench.subjects import Subject
from bench.windows import LEAST, SPEEDS, Probe, Window, _Cutter, _in_rounds, _passed, at_speed


def windows(probe: float, cpu: float, count: int = LEAST) -> list[Window]:
    return [Window(probe, cpu, 1.0)] * count


def test_only_windows_of_the_same_speed_are_compared() -> None:
    seen = {
        "ours": windows(1.0, 50.0) + windows(1.5, 90.0, 100) + windows(3.0, 200.0),
        "other": windows(1.05, 25.0) + windows(1.45, 40.0, 100),
    }
    usual, quickest = (at_speed(seen, share) for share in SPEEDS.values())
    assert {key: {window.cpu for window in of} for key, of in usual.items()} == {
        "ours": {90.0},
        "other": {40.0},
    }
    assert {key: {window.cpu for window in of} for key, of in quickest.items()} == {
        "ours": {50.0},
        "other": {25.0},
    }


def test_who_has_too_few_windows_has_none() -> None:
    seen = {"ours": windows(1.0, 50.0), "other": windows(1.0, 25.0, LEAST - 1)}
    assert list(at_speed(seen, 0.5)) == ["ours"]
    assert at_speed({"ours": []}, 0.5) == {}


def test_who_is_measured_is_started_anew_for_each_round() -> None:
    """And those of one round are gone before the next, whose failure loses nothing of the others.

    Nothing is started here.
    """
    started: list[int] = []
    running: set[int] = set()

    def start(stack: ExitStack) -> Iterator[tuple[str, Subject, Callable[[], list[Window]]]]:
        assert not running
        pid = len(started) + 1
        started.append(pid)
        if pid == 2:
            raise OSError("no such program")
        running.add(pid)
        stack.callback(running.discard, pid)
        yield "case", Subject("ours", 0, pid, 0.0), lambda: windows(1.0, float(pid))

    run = Run(cast("Stage", None), ["ours"])
    _in_rounds(run, 3, start)
    assert started == [1, 2, 3]
    assert not running
    assert {figures["cpu"] for _, _, _, figures in run.record.samples} == {1.0, 3.0}
    assert run.record.missing == ["windows: a round: OSError: no such program"]


def test_the_probe_says_what_its_work_took_while_it_was_looked_for() -> None:
    probe, core = Probe(), min(os.sched_getaffinity(0))
    began = time.monotonic()
    with probe.running():
        while not (took := probe.took(core, began, time.monotonic())):
            time.sleep(0.001)
    assert 0 < took < 1
    assert probe.took(core, began - 2, began - 1) == 0.0


def test_a_window_is_what_came_since_the_last_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the kernel and the probe would say is said here."""
    served, core, took, cpu = 0, 0, 1.0, 0.0
    probe = Probe()
    monkeypatch.setattr(probe, "took", lambda *_: took)
    monkeypatch.setattr("bench.windows._core", lambda _: core)
    monkeypatch.setattr("bench.windows.cpu_seconds", lambda _: cpu)
    cutter = _Cutter(Subject("this", 0, os.getpid(), 0.0), probe, lambda: served)
    assert cutter.cut() is None  # nothing came
    served, core, cpu = 10, 1, 1.0
    assert cutter.cut() is None  # it moved
    served, took, cpu = 20, 0.0, 2.0
    assert cutter.cut() is None  # nobody knows how quick the machine was
    served, took, cpu = 30, 2.0, 2.5
    window = cutter.cut()
    assert window is not None
    assert window.probe == 2.0
    assert window.cpu == pytest.approx(0.05 * 1e6)
    assert window.rate > 0


def test_large_answers_are_counted_by_the_bytes_that_pass(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    size = 1 << 20
    before = _passed(size)
    with socket.create_server(("127.0.0.1", 0)) as server:
        sender = socket.create_connection(server.getsockname())
        receiver, _ = server.accept()
        with sender, receiver:
            sending = threading.Thread(target=sender.sendall, args=(bytes(2 * size),))
            sending.start()
            left = 2 * size
            while left:
                left -= len(receiver.recv(left))
            sending.join()
    assert _passed(size) - before >= 1
    monkeypatch.setattr("bench.windows.loopback_bytes", lambda: 5 * size)  # others send as well
    assert _passed(size) == 2.5
