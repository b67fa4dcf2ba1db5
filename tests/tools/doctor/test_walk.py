"""Whatever befalls one trust, the others are examined, and what was said stays said."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from proxy.config import Config
from proxy.tools.doctor.causes import ISSUER_MISMATCH, NO_GROUPS_IN_TOKEN
from proxy.tools.doctor.examination import Asked, Examination, Known
from proxy.tools.doctor.verdict import Finding, Status, Verdict, failed, noted, ok
from proxy.tools.doctor.walk import Trust, walk


class Watcher:
    def __init__(self) -> None:
        self.seen: list[str] = []

    def begins(self, trust: Trust) -> None:
        self.seen.append(f"begins {trust.id}")

    def tries(self, what: str) -> None:
        self.seen.append(what)

    def ends(self, finding: Finding) -> None:
        self.seen.append(f"ends {finding.trust}")


async def well(x: Examination) -> AsyncIterator[Verdict]:
    x.say("looking")
    yield ok("fine")


async def ill(_: Examination) -> AsyncIterator[Verdict]:
    yield failed(ISSUER_MISMATCH, "seen", "mend")


async def broken(x: Examination) -> AsyncIterator[Verdict]:
    yield ok("so far")
    x.say("dividing")
    raise ZeroDivisionError


async def endless(x: Examination) -> AsyncIterator[Verdict]:
    x.say("waiting")
    await asyncio.Event().wait()
    yield ok("never")


async def walked(*trusts: Trust, seconds: float = 10) -> tuple[dict[int, Finding], Watcher]:
    watcher, asked = Watcher(), Asked()
    async with aiohttp.ClientSession() as session:
        x = Examination(Config(), asked, session, lambda _: None, Known(asked))
        findings = await walk(trusts, x, watcher, seconds)
    return {finding.trust: finding for finding in findings}, watcher


async def test_a_bug_in_one_trust_is_told_without_a_traceback() -> None:
    findings, _ = await walked(Trust(1, (broken,)), Trust(2, (well,)))
    assert [v.status for v in findings[1].verdicts] == [Status.OK, Status.UNKNOWN]
    assert findings[1].worst.cause == "examination_failed"
    assert "while trying: dividing: ZeroDivisionError" in findings[1].worst.saw
    assert findings[2].worst.status is Status.OK


async def test_what_takes_too_long_fails_and_says_where_it_was() -> None:
    findings, _ = await walked(Trust(1, (endless,)), seconds=0.05)
    assert (findings[1].worst.status, findings[1].worst.cause) == (Status.FAILED, "out_of_time")
    assert findings[1].worst.saw == "while trying: waiting"


async def test_what_rests_on_a_failed_trust_is_skipped_with_the_reason() -> None:
    findings, watcher = await walked(Trust(2, (ill,)), Trust(3, (well,), needs=(2,)))
    assert findings[3].worst.status is Status.SKIPPED
    assert "trust 2 (Headlamp and the issuer) comes first" in findings[3].worst.saw
    assert watcher.seen == ["begins 2", "ends 2", "begins 3", "ends 3"]


async def test_of_several_findings_the_worst_speaks_and_the_first_of_equals() -> None:
    async def several(_: Examination) -> AsyncIterator[Verdict]:
        yield noted(NO_GROUPS_IN_TOKEN, "by the way")
        yield failed(ISSUER_MISMATCH, "first", "do this")
        yield failed(ISSUER_MISMATCH, "second", "do that")

    findings, _ = await walked(Trust(2, (several,)))
    shown: dict[str, Any] = findings[2].as_json()
    assert (shown["status"], shown["saw"], shown["mend"]) == ("failed", "first", "do this")
    assert [note["saw"] for note in shown["notes"]] == ["by the way", "second"]
    assert {"id", "status", "cause", "saw", "mend"} <= shown.keys()


@pytest.mark.parametrize("examiners", [(), (well, ill)])
async def test_a_trust_that_nothing_can_be_said_of_is_unknown(examiners: Any) -> None:
    findings, _ = await walked(Trust(2, examiners))
    expected = Status.FAILED if examiners else Status.UNKNOWN
    assert findings[2].worst.status is expected
