"""Every case, by the part of a request that it is about."""

from __future__ import annotations

from tests.corpus import Case, fields, framing, lines, targets, upgrades

BY_PART: dict[str, list[Case]] = {
    "lines": lines.CASES,
    "targets": targets.CASES,
    "fields": fields.CASES,
    "framing": framing.CASES,
    "upgrades": upgrades.CASES,
}
CASES = [case for cases in BY_PART.values() for case in cases]
