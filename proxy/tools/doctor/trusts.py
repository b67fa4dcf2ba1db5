"""Which trusts there are, who examines each, and which rests on which."""

from __future__ import annotations

from typing import Final

from proxy.tools.doctor.walk import Trust

EVERY_TRUST: Final[tuple[Trust, ...]] = ()
