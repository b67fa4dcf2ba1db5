"""What ``/readyz?verbose`` of the running proxy says, and what follows from it. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from proxy.tools.doctor import causes
from proxy.tools.doctor.verdict import Verdict, failed, noted

# By the names of the checks (server/showing.py).
_MENDS: Final = {
    "issuer-keys": "see trust 2: the running proxy has not got the issuer's keys",
    "credential": "see the log for its reason (kubectl logs POD -c auth-proxy); serve looks at the "
    "credential again every second, so nothing needs to be restarted",
    "not-draining": "it is about to end: wait for the new pod (kubectl rollout status)",
    "account-not-privileged": "take the rights away: see account_privileged; the running proxy "
    "asks again within 30 s",
    "impersonation": "see impersonation_lost",
    "upstream": "see the way to the API server; the running proxy could not connect lately",
    "issuer": "see trust 2: the last fetch of the issuer's keys failed",
    "own-privileges": "see account_beyond_impersonation",
    "deny-file": "see the log for the line of --deny-file that is wrong",
    "authentication-config": "see the log for what is wrong with --authentication-config; the "
    "running proxy goes on with the one before",
}
_OF_TRUST_2: Final = frozenset({"issuer-keys", "issuer"})


def judged_readiness(status: int, text: str) -> Iterator[Verdict]:
    """Yield what the answer says: a failed one for what keeps it from being ready, or notes."""
    shown = [
        line.removeprefix("[-]").removesuffix(" failed")
        for line in text.splitlines()
        if line.startswith("[-]")
    ]
    if status not in {200, 503}:
        saw = f"/readyz answers {status}: it is not this proxy's"
        yield noted(causes.PROXY_NOT_SEEN, saw, "give the --admin-listen that serve runs with")
        return
    said = failed if status == 503 and set(shown) - _OF_TRUST_2 else noted
    ours = [name for name in shown if name not in _OF_TRUST_2] or shown
    if ours:
        mend = _MENDS.get(ours[0], "see the log: kubectl logs POD -c auth-proxy")
        yield said(
            causes.PROXY_NOT_READY, f"the running proxy says: {', '.join(shown)} failed", mend
        )
