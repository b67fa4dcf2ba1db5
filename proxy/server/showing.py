"""What can be seen of the running parts from outside: gauges, and the checks of readiness."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from proxy.authn.cache import TokenCache
from proxy.config import Config
from proxy.credentials.credential import Credential, readiness
from proxy.http.listener import Listener
from proxy.http.pool import Pool
from proxy.http.service import Admission, Service
from proxy.issuers import Issuers
from proxy.observe.admin import Check
from proxy.observe.metrics import Metrics
from proxy.reviews.self_check import SelfCheck

if TYPE_CHECKING:
    from proxy.audit.followed_policy import FollowedPolicy
    from proxy.deny_file import DenyFile


@dataclass(frozen=True, slots=True)
class Parts:
    """What can be looked at from outside."""

    service: Service
    listener: Listener
    pools: tuple[Pool, Pool]  # for what is asserted, and for what is passed through
    credential: Credential
    issuers: Issuers
    cache: TokenCache[Admission]
    denial: DenyFile | None
    check: SelfCheck
    audit_policy: FollowedPolicy | None


def show_in_flight(metrics: Metrics, listener: Listener) -> None:
    """Bind the gauges of requests under way, which nobody counts before they are scraped."""
    for kind, gauge in metrics.requests_in_flight.items():
        gauge.set_function(partial(listener.under_way, kind))


def show(metrics: Metrics, parts: Parts) -> None:
    """Bind the gauges that mirror state; they are read when they are scraped."""
    listener, denial = parts.listener, parts.denial
    show_in_flight(metrics, listener)
    metrics.connections_open.set_function(lambda: listener.places.taken)
    metrics.connections_limit.set(listener.places.total)
    metrics.user_streams_highest.set_function(lambda: parts.service.streams.highest)
    metrics.user_requests_highest.set_function(lambda: parts.service.requests.highest)
    if denial is not None:
        metrics.deny_list_entries.set_function(lambda: denial.entries)
        metrics.deny_file_failed.set_function(lambda: not denial.healthy)
    if (audit_policy := parts.audit_policy) is not None:
        metrics.audit_policy_failed.set_function(lambda: not audit_policy.healthy)
    metrics.connections.set_function(lambda: listener.accepted)
    metrics.upstream_connections_idle.set_function(lambda: sum(p.idle for p in parts.pools))
    metrics.upstream_connections_active.set_function(lambda: sum(p.active for p in parts.pools))
    metrics.token_cache_entries.set_function(lambda: len(parts.cache))
    metrics.jwks_last_success.set_function(lambda: parts.issuers.last_success)
    metrics.jwks_keys.set_function(lambda: parts.issuers.key_count)
    metrics.credential_reloads.set_function(lambda: parts.credential.changes)
    for finding, gauge in metrics.own_privileges.items():
        gauge.set_function(partial(parts.check.found, finding))
    metrics.credential_expiry.set_function(lambda: parts.credential.expires_at or 0.0)
    loop = asyncio.get_running_loop()
    metrics.tasks.set_function(lambda: len(asyncio.all_tasks(loop)))


def checks_of(config: Config, parts: Parts) -> list[Check]:
    """Return what ``/readyz`` asks; what is not required shows, and changes nothing."""

    async def credential_usable() -> bool:
        return await readiness(parts.credential, time.time()) is None

    checks = [
        Check("issuer-keys", lambda: parts.issuers.keys_held),
        Check("credential", credential_usable),
        Check("not-draining", lambda: not parts.listener.draining),
        Check("account-not-privileged", lambda: parts.check.unprivileged),
        Check("impersonation", lambda: not parts.check.found("seen_as_somebody_else")),
        Check("issuer", lambda: parts.issuers.healthy, required=False),
        Check("upstream", lambda: parts.pools[0].reachable, required=False),
        Check("own-privileges", lambda: parts.check.modest, required=False),
        Check("own-privileges-known", lambda: parts.check.known, required=False),
    ]
    if (denial := parts.denial) is not None:
        checks.append(Check("deny-file", lambda: denial.healthy, required=False))
    if (audit_policy := parts.audit_policy) is not None:
        checks.append(Check("audit-policy", lambda: audit_policy.healthy, required=False))
    if config.authentication_config is not None:
        checks.append(
            Check("authentication-config", lambda: parts.issuers.up_to_date, required=False)
        )
    return checks
