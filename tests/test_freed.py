"""What was freed between things that stay is given back."""

from __future__ import annotations

import subprocess
import sys

import pytest

from proxy.freed import give_back

PROGRAM = """
import os
from proxy.freed import give_back
def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
give_back()  # loads what it needs
kept = []
for _ in range(400):  # 40 MiB, in pieces that glibc does not map one by one
    freed = [b"x" * 10_000 for _ in range(10)]
    kept.append((freed, b"x" * 1000))
kept = [small for _, small in kept]
del freed
before = resident()
give_back()
print(before - resident())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc, and glibc is what it is about")
def test_memory_between_what_stays_goes_back_to_the_system() -> None:
    output = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True
    ).stdout
    assert int(output) > 20_000_000


def test_where_it_cannot_be_given_back_nobody_notices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ctypes", None)
    give_back()
