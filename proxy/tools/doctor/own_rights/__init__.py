"""What the proxy's own account may do, against what it needs: judged from answers alone.

What is missing comes before what is too much, because it is what keeps people out; an account
that may do everything comes before both, because ``serve`` then forwards nothing. ``asking`` puts
the questions, ``account`` is what came of them, ``lack`` and ``excess`` judge it, and
``manifests`` is what it should have.
"""

from __future__ import annotations

from collections.abc import Iterator

from proxy.config import Config
from proxy.tools.doctor.own_rights.account import Account
from proxy.tools.doctor.own_rights.excess import anybody, beyond_need, everything, reserved
from proxy.tools.doctor.own_rights.lack import lost, missing
from proxy.tools.doctor.verdict import Verdict


def judged(account: Account, config: Config) -> Iterator[Verdict]:
    """Yield what is wrong with the account's rights, causes before consequences."""
    yield from everything(account, config)
    yield from lost(account)
    yield from missing(account, config)
    if not account.verdict.everything:
        yield from reserved(account, config)
        yield from beyond_need(account, config)
        yield from anybody(account, config)
