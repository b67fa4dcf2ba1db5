"""What follows from the answer of ``/readyz?verbose``."""

from __future__ import annotations

import pytest

from proxy.tools.doctor.readiness import judged_readiness

UP, DOWN = "[+]{} ok\n", "[-]{} failed\n"


@pytest.mark.parametrize(
    ("status", "failed", "said"),
    [
        (200, [], []),
        (200, ["upstream"], [("ok", "proxy_not_ready")]),
        (503, ["credential"], [("failed", "proxy_not_ready")]),
        (503, ["issuer-keys", "not-draining"], [("failed", "proxy_not_ready")]),
        (503, ["issuer-keys"], [("ok", "proxy_not_ready")]),  # trust 2 has failed then
        (404, [], [("ok", "proxy_not_seen_from_here")]),
    ],
)
def test_what_is_said(status: int, failed: list[str], said: list[tuple[str, str]]) -> None:
    text = UP.format("not-privileged") + "".join(map(DOWN.format, failed)) + "readyz check\n"
    assert [(str(v.status), v.cause) for v in judged_readiness(status, text)] == said
