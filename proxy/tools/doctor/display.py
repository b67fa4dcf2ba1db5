"""What a person sees of a walk: on a terminal what is tried just now, and each trust when done."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from typing import Final, TextIO

from proxy.tools.doctor.verdict import Finding, Status, Verdict
from proxy.tools.doctor.walk import Trust

_MARKS: Final = {
    Status.OK: ("ok", "\033[32m"),
    Status.SKIPPED: ("skipped", "\033[2m"),
    Status.UNKNOWN: ("unknown", "\033[33m"),
    Status.FAILED: ("FAILED", "\033[31m"),
}
_RESET: Final = "\033[0m"


class Display:
    """``out`` takes the account, or is None; ``live`` the progress, if it is a terminal."""

    def __init__(self, out: TextIO | None, live: TextIO) -> None:
        self._out = out
        self._live = live if live.isatty() else None
        self._colourful = out is not None and out.isatty()
        self._trust = ""
        self._shown: set[int] = set()

    def begins(self, trust: Trust) -> None:
        self._trust = f"{trust.id}. {trust.name}"
        self.tries("")

    def tries(self, what: str) -> None:
        if self._live is None:
            return
        width = max(shutil.get_terminal_size().columns - 1, 20)
        line = f"{self._trust}: {what}".rstrip(": ")
        self._live.write(f"\r\033[K{line[:width]}")
        self._live.flush()

    def ends(self, finding: Finding) -> None:
        self.clear()
        self._shown.add(finding.trust)
        if self._out is None:
            return
        self._write(f"{finding.trust}. {finding.name}: {self._mark(finding.worst.status)}")
        if finding.tried:
            self._write(f"   tried: {'; '.join(finding.tried)}")
        for verdict in finding.verdicts:
            self._verdict(verdict)

    def finish(self, findings: Sequence[Finding]) -> None:
        for finding in findings:
            if finding.trust not in self._shown:
                self.ends(finding)
        failed = [f"{f.trust}" for f in findings if f.worst.status is Status.FAILED]
        open_ = [f"{f.trust}" for f in findings if f.worst.status is Status.UNKNOWN]
        if failed:
            self._write(f"\nNot well: see {' and '.join(failed)}; the first one first.")
        elif open_:
            self._write(
                f"\nNothing has failed; not everything could be told: see {', '.join(open_)}."
            )
        else:
            self._write("\nAll is well.")

    def show(self, text: str) -> None:
        """Tell a person something while it goes on, whatever is a terminal and what is not."""
        self.clear()
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()

    def clear(self) -> None:
        if self._live is not None:
            self._live.write("\r\033[K")
            self._live.flush()

    def _verdict(self, verdict: Verdict) -> None:
        named = f" [{verdict.cause}]" if verdict.cause else ""
        self._write(f"   {self._mark(verdict.status)}{named}: {verdict.saw}")
        if verdict.mend:
            first, *rest = verdict.mend.splitlines()
            self._write(f"      mend: {first}")
            for line in rest:
                self._write(f"            {line}")

    def _mark(self, status: Status) -> str:
        word, colour = _MARKS[status]
        return f"{colour}{word}{_RESET}" if self._colourful else word

    def _write(self, line: str) -> None:
        if self._out is not None:
            self._out.write(f"{line}\n")
            self._out.flush()
