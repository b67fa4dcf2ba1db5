"""Every cause that ``doctor`` can name, once. Programs rely on these ids; none is ever renamed.

The mend is not here: it names the flag, the value or the object at hand, and is written where the
cause is found.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

TRUSTS: Final = {
    1: "the browser and the Headlamp address",
    2: "Headlamp and the issuer",
    3: "the issuer and Headlamp as its client",
    4: "the API server and this proxy",
    5: "RBAC and the user",
}


@dataclass(frozen=True, slots=True)
class Cause:
    """Why a trust is not what it should be; ``trust`` is 0 for what can befall any of them."""

    id: str
    trust: int
    meaning: str


EVERY_CAUSE: Final[dict[str, Cause]] = {}


def _cause(trust: int, id_: str, meaning: str) -> Cause:
    assert id_ not in EVERY_CAUSE, id_
    cause = EVERY_CAUSE[id_] = Cause(id_, trust, meaning)
    return cause


# --- Any trust -----------------------------------------------------------------------------------

SETTINGS_REFUSED = _cause(0, "settings_refused", "`serve` would not start with these settings.")
NOT_ASKED = _cause(0, "not_asked", "What would be needed to examine this was not given.")
DEPENDS_ON_FAILED = _cause(0, "depends_on_failed", "A trust that this one rests on has failed.")
OUT_OF_TIME = _cause(0, "out_of_time", "It took longer than `--timeout`.")
EXAMINATION_FAILED = _cause(0, "examination_failed", "This program failed here; that is a bug.")


def causes_markdown() -> str:
    """Return the causes as a Markdown table."""
    rows = ["| trust | cause | meaning |", "|---|---|---|"]
    rows += [
        f"| {cause.trust or 'any'} | `{cause.id}` | {cause.meaning} |"
        for cause in sorted(EVERY_CAUSE.values(), key=lambda cause: cause.trust)
    ]
    return "\n".join(rows)
