"""The trusts in their order; whatever befalls one, the others are examined."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from proxy.tools.doctor.causes import (
    DEPENDS_ON_FAILED,
    EXAMINATION_FAILED,
    NOT_ASKED,
    OUT_OF_TIME,
    TRUSTS,
)
from proxy.tools.doctor.examination import Examination, Examiner
from proxy.tools.doctor.file_words import in_file
from proxy.tools.doctor.verdict import Finding, Status, Verdict, failed, skipped, unknown


@dataclass(frozen=True, slots=True)
class Trust:
    """A trust, who examines it, and the trusts without which it cannot be examined."""

    id: int
    examiners: tuple[Examiner, ...]
    needs: tuple[int, ...] = ()

    @property
    def name(self) -> str:
        return TRUSTS[self.id]


class Watcher(Protocol):
    """Who sees how the walk goes."""

    def begins(self, trust: Trust) -> None: ...

    def tries(self, what: str) -> None: ...

    def ends(self, finding: Finding) -> None: ...


async def walk(
    trusts: Sequence[Trust], examination: Examination, watcher: Watcher, seconds: float
) -> list[Finding]:
    """Examine ``trusts``, all together within ``seconds``."""
    deadline = asyncio.get_running_loop().time() + seconds
    findings: dict[int, Finding] = {}
    for trust in trusts:
        watcher.begins(trust)
        missing = [id_ for id_ in trust.needs if _has_failed(findings.get(id_))]
        if missing:
            saw = f"trust {missing[0]} ({TRUSTS[missing[0]]}) comes first"
            finding = Finding(trust.id, trust.name, [skipped(DEPENDS_ON_FAILED, saw)])
        else:
            finding = await _examined(trust, examination, watcher, deadline)
        findings[trust.id] = finding
        watcher.ends(finding)
    return list(findings.values())


async def _examined(
    trust: Trust, examination: Examination, watcher: Watcher, deadline: float
) -> Finding:
    tried: list[str] = []
    verdicts: list[Verdict] = []

    def say(what: str) -> None:
        tried.append(what)
        watcher.tries(what)

    examination.say = say
    for examine in trust.examiners:
        try:
            async with asyncio.timeout_at(deadline):
                async for verdict in examine(examination):
                    verdicts.append(verdict)  # noqa: PERF401 (an extend would lose what was said)
        except TimeoutError:
            mend = "allow more time with --timeout=2m, or see why it takes so long"
            verdicts.append(failed(OUT_OF_TIME, _at(tried), mend))
        except Exception as error:  # noqa: BLE001 (one trust's bug must not hide the others)
            saw = f"{_at(tried)}: {type(error).__name__}: {error}"
            mend = "report it with this line; the other trusts are examined all the same"
            verdicts.append(unknown(EXAMINATION_FAILED, saw, mend))
    if not verdicts:
        verdicts.append(unknown(NOT_ASKED, "nothing was given to examine it by"))
    if examination.config.authentication_config is not None:
        verdicts = [in_file(verdict) for verdict in verdicts]
    return Finding(trust.id, trust.name, verdicts, tried)


def _at(tried: Sequence[str]) -> str:
    return f"while trying: {tried[-1]}" if tried else "at the very beginning"


def _has_failed(finding: Finding | None) -> bool:
    return finding is not None and finding.worst.status is Status.FAILED
