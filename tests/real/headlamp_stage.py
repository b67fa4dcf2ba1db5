"""Headlamp's stand-in behind the proxy, a real kube-apiserver, a genuine tsidp, and two people.

dora may do everything. emil may list and watch ConfigMaps, where a grant gives him WATCHERS.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from tests.process import free_port
from tests.real.account import bind, proxy_account
from tests.real.cluster import Cluster
from tests.real.headlamp import Browser, Headlamp, SignIn, callback_url, dashboard
from tests.real.tailnet import Reply, Tailnet
from tests.real.tailscaled import Device, Rule
from tests.serving import Serve

DORA = Device("100.101.102.110", "dora@example.com", 41, "dora-laptop.tail1234.ts.net.")
EMIL = Device("100.101.102.111", "emil@example.com", 42, "emil-laptop.tail1234.ts.net.")
WATCHERS = "dashboard-watchers"
MANY_GROUPS = [f"dashboard-watchers-of-a-team-with-a-long-name-{n:03}" for n in range(205)]


@dataclass
class Stage:
    cluster: Cluster
    tsidp: Tailnet
    serve: Serve
    headlamp: Headlamp

    @asynccontextmanager
    async def browser(
        self, device: Device | None, *rules: Rule, **headers: str
    ) -> AsyncIterator[Browser]:
        """A browser on a device that these rules of grants match, signed in; None: nobody's."""
        if device is not None:
            self.tsidp.devices[device.address] = replace(device, rules=rules)
            headers["X-Forwarded-For"] = device.address
        async with Browser(self.headlamp, self.tsidp.ca_file, headers=headers) as browser:
            if device is not None:
                answer = await browser.sign_in()
                assert (answer.status, answer.headers["Location"]) == (303, "/auth?cluster=main")
            yield browser


@contextmanager
def staged(cluster: Cluster, folder: Path, namespace: str) -> Iterator[Stage]:
    """The whole; the proxy's account is in a namespace of this name."""
    token = proxy_account(cluster, namespace, [DORA.login, EMIL.login], [WATCHERS, *MANY_GROUPS])
    everything = {"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}
    bind(cluster, "dora-is-admin", [everything], {"kind": "User", "name": DORA.login})
    watching = {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["list", "watch"]}
    bind(cluster, "watchers-watch", [watching], {"kind": "Group", "name": WATCHERS})
    with Tailnet(folder) as tsidp:
        port = free_port()
        sign_in = SignIn(tsidp.url, tsidp.ca_file, tsidp.register(callback_url(port)))
        grace = "--shutdown-grace=1s"
        with dashboard(folder, cluster, token, sign_in, port, grace) as (serve, headlamp):
            yield Stage(cluster, tsidp, serve, headlamp)


def groups(*names: str) -> Rule:
    return {"extraClaims": {"groups": [*names]}}


def label(answer: Reply) -> str:
    return str(json.loads(answer.text)["details"]["causes"][0]["reason"])
