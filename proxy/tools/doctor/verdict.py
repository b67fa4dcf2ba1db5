"""What can be said of a trust, and what all that was found in one amounts to.

An examiner says each thing that it found as a ``Verdict``; the worst of them speaks for the trust,
the first of equals, so an examiner says causes before their consequences. What is well but should
be known is ``ok`` with a cause.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from proxy.tools.doctor.causes import Cause


class Status(StrEnum):
    """From best to worst; only ``failed`` makes the command fail."""

    OK = "ok"
    SKIPPED = "skipped"
    UNKNOWN = "unknown"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Verdict:
    """One thing that was found. ``mend`` is the one change that mends it, ready to paste."""

    status: Status
    cause: str = ""
    saw: str = ""
    mend: str = ""


@dataclass(frozen=True, slots=True)
class Finding:
    """All that was found of one trust; ``tried`` is what was done for it, in order."""

    trust: int
    name: str
    verdicts: Sequence[Verdict]
    tried: Sequence[str] = ()

    @property
    def worst(self) -> Verdict:
        order = list(Status)
        return max(self.verdicts, key=lambda verdict: order.index(verdict.status))

    def as_json(self) -> dict[str, Any]:
        worst = self.worst
        return {
            "id": self.trust,
            "name": self.name,
            **_fields(worst),
            "notes": [_fields(verdict) for verdict in self.verdicts if verdict is not worst],
            "tried": list(self.tried),
        }


def ok(saw: str) -> Verdict:
    return Verdict(Status.OK, saw=saw)


def noted(cause: Cause, saw: str, mend: str = "") -> Verdict:
    """Say what does no harm yet, or may be meant so."""
    return Verdict(Status.OK, cause.id, saw, mend)


def failed(cause: Cause, saw: str, mend: str) -> Verdict:
    return Verdict(Status.FAILED, cause.id, saw, mend)


def unknown(cause: Cause, saw: str, mend: str = "") -> Verdict:
    """Say what cannot be told from here; ``mend`` is what would let it be told."""
    return Verdict(Status.UNKNOWN, cause.id, saw, mend)


def skipped(cause: Cause, saw: str, mend: str = "") -> Verdict:
    return Verdict(Status.SKIPPED, cause.id, saw, mend)


def _fields(verdict: Verdict) -> dict[str, str]:
    return {
        "status": str(verdict.status),
        "cause": verdict.cause,
        "saw": verdict.saw,
        "mend": verdict.mend,
    }
