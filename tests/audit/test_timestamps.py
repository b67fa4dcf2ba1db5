"""A moment as an event says it, whatever was said before."""

from __future__ import annotations

import random
import re
from datetime import UTC, datetime

import pytest

from proxy.audit.timestamps import Timestamps


@pytest.mark.parametrize(
    ("moment", "said"),
    [
        (0.0, "1970-01-01T00:00:00.000000Z"),
        (1_790_000_000.0, "2026-09-21T14:13:20.000000Z"),
        (1_790_000_000.0000015, "2026-09-21T14:13:20.000001Z"),
        (1_790_000_000.0010002, "2026-09-21T14:13:20.001000Z"),
        (1_790_000_000.999999, "2026-09-21T14:13:20.999999Z"),
        (1_790_000_001.5, "2026-09-21T14:13:21.500000Z"),
    ],
)
def test_it_is_rfc_3339_with_microseconds(moment: float, said: str) -> None:
    timestamps = Timestamps()
    of_another_second, of_the_same = (timestamps.members(moment, moment) for _ in range(2))
    assert of_another_second == of_the_same
    assert of_the_same == f',"requestReceivedTimestamp":"{said}","stageTimestamp":"{said}"'


def test_seconds_may_come_in_any_order() -> None:
    dice, timestamps = random.Random(1), Timestamps()
    for _ in range(1000):
        moments = [1_790_000_000 + dice.randrange(3_000_000) / 1e6 for _ in range(2)]
        said = re.findall(r'Timestamp":"(.*?)"', timestamps.members(*moments))
        for moment, text in zip(moments, said, strict=True):
            seen = datetime.fromtimestamp(moment, UTC)
            assert abs((datetime.fromisoformat(text) - seen).total_seconds()) <= 1e-6
