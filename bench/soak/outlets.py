"""What the proxy writes down of the traffic: audit events, recordings and spans.

It is switched on as in the tests that search every sink for secrets (``tests.sinks``), so a soak
ends with such a search as well. What the collectors have taken is forgotten as it comes, for an
hour of it would not fit into memory; that each took something is remembered.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import Final

from tests.serving import Serve

# Often enough rotated to see whether that leaves something open.
FLAGS: Final = ("--audit-log-maxsize=1", "--audit-log-maxbackup=3")
_SAMPLE: Final = re.compile(
    r"^headlamp_auth_proxy_(audit_events|recordings)_total\{(.*)\} (\S+)$", re.MULTILINE
)
_LOST: Final = re.compile(r'result="(dropped|failed)"')
_WANTED: Final = re.compile(r'result="(written|whole)"|^batches')


class Outlets:
    """The sinks of a running ``serve`` that has every one of them."""

    def __init__(self, serve: Serve) -> None:
        assert serve.sinks is not None
        self._serve = serve
        self._collectors = serve.sinks.collectors
        self._batches: Counter[str] = Counter()

    def forget(self) -> None:
        for name, collector in self._collectors.items():
            taken, collector.taken = collector.taken, []
            self._batches[name] += len(taken)

    def said(self) -> dict[str, float]:
        """Return the proxy's own counts of events and recordings, and those of batches taken."""
        self.forget()
        metrics = self._serve.probe("/metrics")[1]
        found = {f"{what} {labels}": float(n) for what, labels, n in _SAMPLE.findall(metrics)}
        return found | {f"batches of {name}": float(n) for name, n in self._batches.items()}

    @staticmethod
    def problems(said: dict[str, float]) -> list[str]:
        """Return what was lost, and which sinks were given nothing."""
        lost = [f"{what}: {n:.0f}" for what, n in said.items() if n and _LOST.search(what)]
        empty = [f"{what}: none" for what, n in said.items() if not n and _WANTED.search(what)]
        return lost + empty
