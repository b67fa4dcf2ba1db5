"""The figures of a run as one table for a terminal."""

from __future__ import annotations

from typing import Final

from bench.record import Record

UNITS: Final = (
    "rate a second (of uploads and tunnels: MB), cpu us for one of them, latencies (p50 ...) us, "
    "resident MiB"
)


def table(record: Record) -> str:
    """Return everything that was measured: a block for each part, medians of its rounds."""
    lines = [", ".join(f"{name} {value}" for name, value in record.about.items()), UNITS]
    for part in record.parts():
        lines += ["", part]
        for case in record.cases(part):
            figures = list(
                dict.fromkeys(f for p, c, _, found in record.samples if (p, c) == (part, case)
                              for f in found)
            )  # fmt: skip
            lines.append(f"  {case:33}" + "".join(f"{name:>11}" for name in figures))
            for subject in record.subjects(part):
                values = [record.median(part, case, subject, figure) for figure in figures]
                if any(value is not None for value in values):
                    cells = "".join(f"{'-' if v is None else f'{v:.5g}':>11}" for v in values)
                    lines.append(f"    {subject:31}{cells}")
    lines += ["", *(f"not measured: {what}" for what in record.missing)]
    return "\n".join(lines).rstrip() + "\n"
