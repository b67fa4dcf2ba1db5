"""Builds every part from the configuration, joins them, runs them, and takes them down in reverse.

This is the only place that sees the whole ``Config`` and knows what is plugged into what. The
order of the start is part of the contract: the admin listener, the files that Headlamp needs, the
data listener; none of them waits for the issuer or for the API server, so that a user always
meets this proxy and its explanation, and never a pod that does not start.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import ssl
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import uvloop

from proxy import rights
from proxy.authn.authenticator import Authenticator
from proxy.authn.cache import TokenCache
from proxy.authn.configuration.plan import InvalidConfiguration
from proxy.config import Address, Config
from proxy.credentials.certificates import CertificateError
from proxy.credentials.credential import Credential, from_files, readiness
from proxy.credentials.endpoint import Upstream
from proxy.credentials.kubeconfig import KubeconfigError, from_kubeconfig
from proxy.credentials.serving import GivenCertificate, OwnCertificate, ServingCertificate
from proxy.credentials.trust import write_trust_directory
from proxy.denial import InvalidDenyList
from proxy.deny_file import DenyFile
from proxy.files import SourceError
from proxy.gate import Gate
from proxy.headers import RequestHeaders
from proxy.http.acceptor import Acceptor
from proxy.http.listener import Listener
from proxy.http.pool import Pool
from proxy.http.service import Admission, Service
from proxy.impersonation import Policy
from proxy.issuers import Issuers
from proxy.limits import Limits, Tally
from proxy.observe import logs
from proxy.observe.access_log import AccessLog
from proxy.observe.admin import Check, serve_admin
from proxy.observe.lag import watch_lag
from proxy.observe.log_writer import LogWriter
from proxy.observe.metrics import Metrics
from proxy.observe.requests import RequestObserver
from proxy.plans import policy_of
from proxy.review_gate import ReviewGate
from proxy.reviews.client import Reviewer
from proxy.reviews.impersonators import Impersonators
from proxy.reviews.self_check import SelfCheck, WithheldCredential
from proxy.reviews.tokens import TokenReviews
from proxy.sockets import RESERVED, affordable_connections, listen_at, listen_at_path
from proxy.version import installed_version

HOUSEKEEPING: Final = 1.0  # seconds between two rounds
GO_IDLE: Final = 90.0  # seconds after which Go's clients give up idle connections

_log = logging.getLogger(__name__)


class StartError(Exception):
    """The proxy cannot start; each problem names the flag and what to change."""

    def __init__(self, *problems: str) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


def serve(config: Config) -> int:
    """Run the proxy until SIGTERM or SIGINT; return the exit status."""
    writer = logs.setup()
    try:
        status = asyncio.Runner(loop_factory=uvloop.new_event_loop).run(_run(config, writer))
        writer.close()
        # Closing the loop would wait for threads that look up names, for as long as a name server
        # that does not answer likes; all that is ours has been taken down by now.
        os._exit(status)
    except StartError as error:
        sys.stderr.write("".join(f"{problem}\n" for problem in error.problems))
        return 2
    except Exception as error:  # noqa: BLE001 - no traceback reaches a user
        _log.critical("[unexpected] the proxy cannot go on", exc_info=error)
        return 1
    finally:
        writer.close()


def prepare(config: Config) -> int:
    """Write what ``serve`` would write before it listens, and return the exit status.

    For a pod whose init container makes the files that Headlamp needs when it starts; ``serve``
    then finds its CA in ``--cert-dir`` and goes on with it.
    """
    try:
        _certificate(config)
    except StartError as error:
        sys.stderr.write("".join(f"{problem}\n" for problem in error.problems))
        return 2
    return 0


async def _run(config: Config, writer: LogWriter) -> int:
    asyncio.get_running_loop().set_exception_handler(_unhandled)
    stop = _Stop()
    metrics = Metrics(installed_version())
    writer.on_drop = metrics.log_lines_dropped.inc
    async with contextlib.AsyncExitStack() as stack:
        upstream, credential = _upstream(config)
        cache: TokenCache[Admission] = TokenCache()
        denial = _denial(config)
        issuers = _issuers(config, cache, metrics)
        pool = _pool(upstream, credential.ssl_context)
        bare_pool = _pool(upstream, credential.bare_ssl_context)
        policy = policy_of(config)
        # One for ourselves and one for clients, whose questions must not make ours wait.
        ourselves = Reviewer(upstream, credential, metrics.reviewed)
        for_clients = Reviewer(upstream, credential, metrics.reviewed)
        stack.push_async_callback(ourselves.close)
        stack.push_async_callback(for_clients.close)
        check = _self_check(config, ourselves, policy)
        gate = Gate(
            issuers.authenticator,
            cache,
            policy,
            metrics,
            config.max_token_bytes,
            may_impersonate=config.allow_impersonation,
        )
        service = Service(
            gate=_second_gate(config, gate, issuers.authenticator, policy, for_clients),
            credential=WithheldCredential(credential, check),
            pool=pool,
            authority=upstream.authority,
            headers=RequestHeaders(config.pass_header),
            observer=RequestObserver(metrics, AccessLog(writer)),
            limits=_limits(config),
            streams=Tally(config.max_streams_per_user),
            requests=Tally(config.max_requests_per_user),
            denial=denial,
            bare_pool=bare_pool if config.token_passthrough else None,
        )
        listener = Listener(service)
        if denial is not None:
            denial.on_change = listener.end_denied
            await stack.enter_async_context(_background("deny-file", denial.run(), stop))
        pools = (pool, bare_pool)
        parts = _Parts(service, listener, pools, credential, issuers, cache, denial, check)
        _show(metrics, parts)

        await stack.enter_async_context(_admin(config, metrics, parts))
        certificate = _certificate(config)
        if certificate is not None:
            metrics.serving_certificate_expiry.set_function(lambda: certificate.not_after)
        stack.callback(pool.abort)
        stack.callback(bare_pool.abort)
        for name, work in {
            "issuers": issuers.run(),
            "housekeeping": _keep_house(parts.pools, certificate),
            "self check": check.run(),
            "lag": watch_lag(metrics.event_loop_lag_seconds.observe),
        }.items():
            await stack.enter_async_context(_background(name, work, stop))
        await stack.enter_async_context(_listening(config, listener, certificate))
        _log.info(
            "serving",
            extra={"listen": str(config.listen), "upstream": upstream.authority.decode()},
        )
        status = await stop.asked
        _log.info("draining", extra={"grace_seconds": config.shutdown_grace})
    _log.info("stopped")
    return status


@dataclass(frozen=True, slots=True)
class _Parts:
    """What can be looked at from outside."""

    service: Service
    listener: Listener
    pools: tuple[Pool, Pool]  # for what is asserted, and for what is passed through
    credential: Credential
    issuers: Issuers
    cache: TokenCache[Admission]
    denial: DenyFile | None
    check: SelfCheck


# --- Building ------------------------------------------------------------------------------------


def _upstream(config: Config) -> tuple[Upstream, Credential]:
    if config.kubeconfig is not None:
        try:
            upstream, credential = from_kubeconfig(config.kubeconfig)
        except (KubeconfigError, OSError) as error:
            raise StartError(f"--kubeconfig {str(config.kubeconfig)!r}: {error}") from error
        if Address(upstream.host, upstream.port).leads_to(config.listen):
            raise StartError(
                f"--kubeconfig {str(config.kubeconfig)!r}: its server is this proxy itself "
                f"(--listen {config.listen}); name the API server"
            )
        return upstream, credential
    assert config.upstream is not None
    assert config.upstream_token_file is not None
    host = config.upstream.host
    credential = from_files(config.upstream_token_file, config.upstream_ca_file)
    return Upstream(host, config.upstream.port, host.rstrip(".")), credential


def _pool(upstream: Upstream, tls: Callable[[], ssl.SSLContext]) -> Pool:
    return Pool(upstream.host, upstream.port, server_name=upstream.server_name, tls=tls)


def _self_check(config: Config, reviewer: Reviewer, policy: Policy) -> SelfCheck:
    needed = [
        *(rights.TOKEN_PASSTHROUGH if config.token_passthrough else ()),
        *(rights.ALLOW_IMPERSONATION if config.allow_impersonation else ()),
        *(rights.SEND_CREDENTIAL_ID if config.send_credential_id else ()),
    ]
    allowed = config.allow_privileged_service_account
    return SelfCheck(reviewer, policy, needed=needed, allow_privileged=allowed)


def _second_gate(
    config: Config, gate: Gate, authenticator: Authenticator, policy: Policy, reviewer: Reviewer
) -> Gate | ReviewGate:
    """Put the second gate around the first where a setting asks for it."""
    tokens = TokenReviews(reviewer, config.token_passthrough_audience)
    review_gate = ReviewGate(
        gate,
        authenticator,
        policy,
        tokens=tokens if config.token_passthrough else None,
        impersonators=Impersonators(reviewer) if config.allow_impersonation else None,
        max_token_bytes=config.max_token_bytes,
    )
    return review_gate if config.token_passthrough or config.allow_impersonation else gate


def _issuers(config: Config, cache: TokenCache[Admission], metrics: Metrics) -> Issuers:
    try:
        return Issuers(config, metrics, on_keys=cache.keep_only, on_change=cache.clear)
    except (InvalidConfiguration, SourceError) as error:
        raise StartError(f"--authentication-config: {error}") from error


def _limits(config: Config) -> Limits:
    """Return the limits of connections, as many as there are descriptors for."""
    connections = affordable_connections(config.max_connections)
    if not connections:
        raise StartError(
            f"--max-connections {config.max_connections}: the limit of open files (ulimit -n) "
            f"leaves none; raise it to {RESERVED} and two for each connection"
        )
    if connections < config.max_connections:
        _log.warning(
            "the limit of open files allows fewer connections than --max-connections",
            extra={"max_connections": config.max_connections, "connections": connections},
        )
    if config.idle_timeout <= GO_IDLE:
        _log.warning(
            "--idle-timeout is not above 90s: a Go client may send a request on a connection that "
            "is just being closed, and the request then fails"
        )
    return Limits(
        head_bytes=config.max_head_bytes,
        head_fields=config.max_head_fields,
        head_timeout=config.head_timeout,
        handshake_timeout=config.tls_handshake_timeout,
        idle_timeout=config.idle_timeout,
        stall_timeout=config.stall_timeout,
        connections=connections,
        connections_per_address=config.max_connections_per_address,
    )


def _denial(config: Config) -> DenyFile | None:
    if config.deny_file is None:
        return None
    try:
        return DenyFile(config.deny_file)
    except (SourceError, InvalidDenyList) as error:
        raise StartError(f"--deny-file {str(config.deny_file)!r}: {error}") from error


def _certificate(config: Config) -> ServingCertificate | None:
    """Make or load the serving certificate, and what Headlamp trusts it by."""
    try:
        if config.cert_dir is not None and config.trust_dir is not None:
            own = OwnCertificate(config.cert_dir, config.serving_name, time.time())
            write_trust_directory(config.trust_dir, own.ca)
            return own
        if config.tls_cert_file is not None and config.tls_private_key_file is not None:
            return GivenCertificate(config.tls_cert_file, config.tls_private_key_file)
    except CertificateError as error:
        raise StartError(str(error)) from error
    return None


def _show(metrics: Metrics, parts: _Parts) -> None:
    """Bind the gauges that mirror state; they are read when they are scraped."""
    listener, denial = parts.listener, parts.denial
    metrics.connections_open.set_function(lambda: listener.places.taken)
    metrics.connections_limit.set(listener.places.total)
    metrics.user_streams_highest.set_function(lambda: parts.service.streams.highest)
    metrics.user_requests_highest.set_function(lambda: parts.service.requests.highest)
    if denial is not None:
        metrics.deny_list_entries.set_function(lambda: denial.entries)
        metrics.deny_file_failed.set_function(lambda: not denial.healthy)
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


# --- Running -------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def _admin(config: Config, metrics: Metrics, parts: _Parts) -> AsyncIterator[None]:
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
    if config.authentication_config is not None:
        checks.append(
            Check("authentication-config", lambda: parts.issuers.up_to_date, required=False)
        )
    try:
        runner = await serve_admin(
            metrics.registry, checks, config.admin_listen.host, config.admin_listen.port
        )
    except OSError as error:
        raise StartError(_cannot_listen("--admin-listen", config.admin_listen, error)) from error
    try:
        yield
    finally:
        await runner.cleanup()


@contextlib.asynccontextmanager
async def _listening(
    config: Config, listener: Listener, certificate: ServingCertificate | None
) -> AsyncIterator[None]:
    """Accept clients; on the way out, let what is under way finish within the grace."""
    try:
        if config.listen.unix is None:
            sockets = await listen_at(config.listen.host, config.listen.port)
        else:
            sockets = [listen_at_path(Path(config.listen.unix))]
    except OSError as error:
        raise StartError(_cannot_listen("--listen", config.listen, error)) from error
    acceptor = Acceptor(listener, sockets, certificate.context if certificate else None)
    try:
        yield
    finally:
        acceptor.close()
        await listener.drain(config.shutdown_grace)


async def _keep_house(pools: Iterable[Pool], certificate: ServingCertificate | None) -> None:
    while True:
        await asyncio.sleep(HOUSEKEEPING)
        for pool in pools:
            pool.expire()
        if certificate is not None:
            certificate.refresh(time.time())


class _Stop:
    """The one wish to stop, by whoever has it first; ``asked`` becomes the exit status."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.asked: asyncio.Future[int] = loop.create_future()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.ask, 0)

    def ask(self, status: int) -> None:
        if not self.asked.done():
            self.asked.set_result(status)


@contextlib.asynccontextmanager
async def _background(
    name: str, work: Coroutine[Any, Any, None], stop: _Stop
) -> AsyncIterator[None]:
    """Run ``work`` beside what happens inside; if it fails, stop: better a restart than half."""

    def ended(task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.critical("[unexpected] the task %s has failed", name, exc_info=error)
            stop.ask(1)

    task = asyncio.create_task(work, name=name)
    task.add_done_callback(ended)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


def _unhandled(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log what no one else has caught; a broken connection is no news."""
    error = context.get("exception")
    level = logging.DEBUG if isinstance(error, OSError) else logging.ERROR
    _log.log(level, "[unexpected] %s", context.get("message"), exc_info=error)


def _cannot_listen(flag: str, address: Address, error: OSError) -> str:
    return f"{flag} {str(address)!r}: cannot listen there: {error.strerror or error}"
