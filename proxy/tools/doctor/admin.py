"""The administrator's kubeconfig, for what the proxy's own account may not ask or read."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from proxy.credentials.kubeconfig import KubeconfigError
from proxy.tools.doctor import causes
from proxy.tools.doctor.cluster import Cluster, opened, way_of_kubeconfig
from proxy.tools.doctor.examination import Examination
from proxy.tools.doctor.verdict import Verdict, unknown


@contextlib.asynccontextmanager
async def administrator(x: Examination) -> AsyncIterator[Cluster | Verdict | None]:
    """Yield the cluster as --admin-kubeconfig finds it; None without, a verdict if unusable."""
    path = x.asked.admin_kubeconfig
    if path is None:
        yield None
        return
    try:
        way = way_of_kubeconfig(path)
    except KubeconfigError as error:
        yield unknown(
            causes.ADMIN_KUBECONFIG,
            f"--admin-kubeconfig {str(path)!a}: {error}",
            "give one that kubectl works with, flattened: kubectl config view --raw --minify "
            "--flatten",
        )
        return
    async with opened(way, x.session) as cluster:
        yield cluster
