"""Which trusts there are, who examines each, and which rests on which."""

from __future__ import annotations

from typing import Final

from proxy.tools.doctor import (
    api_server,
    browser,
    client,
    issuer,
    pods,
    rbac,
    serving,
    through_headlamp,
    tokens,
)
from proxy.tools.doctor.walk import Trust

EVERY_TRUST: Final = (
    Trust(1, (browser.examine,)),
    Trust(2, (issuer.examine,)),
    Trust(3, (client.examine,)),
    Trust(4, (api_server.examine, serving.examine, through_headlamp.examine, pods.examine)),
    Trust(5, (tokens.identity, rbac.examine)),
)
