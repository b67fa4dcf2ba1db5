"""Builds every part from the configuration, joins them, runs them, and takes them down in reverse.

This package is the only place that sees the whole ``Config`` and knows what is plugged into what.
The order of the start is part of the contract: the admin listener, the files that Headlamp needs,
the data listener; none of them waits for the issuer or for the API server, so that a user always
meets this proxy and its explanation, and never a pod that does not start.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import sys

import uvloop

from proxy.authn.cache import TokenCache
from proxy.config import Config
from proxy.gate import Gate
from proxy.headers import RequestHeaders
from proxy.http.listener import Listener
from proxy.http.service import Admission, Observer, Service
from proxy.http.tls_transport import Buffers
from proxy.limits import Tally
from proxy.observe import logs
from proxy.observe.access_log import AccessLog
from proxy.observe.all_of import all_of
from proxy.observe.lag import watch_lag
from proxy.observe.log_writer import LogWriter
from proxy.observe.metrics import Metrics
from proxy.observe.requests import RequestObserver
from proxy.observe.together import BatchObserver, Together
from proxy.plans import policy_of
from proxy.refusals import Refusals
from proxy.reviews.client import Reviewer
from proxy.reviews.self_check import WithheldCredential
from proxy.server.building import (
    StartError,
    certificate_of,
    denial_of,
    gates_of,
    issuers_of,
    limits_of,
    pool_of,
    recorder_of,
    self_check_of,
    tracing_of,
    upstream_of,
)
from proxy.server.page import page_of
from proxy.server.running import (
    Stop,
    admin,
    background,
    keep_house,
    listening,
    log_unhandled,
    send_spans,
)
from proxy.server.showing import Parts, checks_of, show
from proxy.sessions.sessions import Sessions
from proxy.version import VERSION, is_compiled

_log = logging.getLogger(__name__)


def serve(config: Config) -> int:
    """Run the proxy until SIGTERM or SIGINT; return the exit status."""
    # What was imported stays. Looked through for garbage with the rest, it would halt everything
    # for 16 ms whenever a tide of connections makes Python look at all there is.
    gc.freeze()
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
        certificate_of(config)
    except StartError as error:
        sys.stderr.write("".join(f"{problem}\n" for problem in error.problems))
        return 2
    return 0


async def _run(config: Config, writer: LogWriter) -> int:
    asyncio.get_running_loop().set_exception_handler(log_unhandled)
    stop = Stop()
    metrics = Metrics(VERSION, compiled=is_compiled())
    writer.on_drop = metrics.log_lines_dropped.inc
    async with contextlib.AsyncExitStack() as stack:
        upstream, credential = upstream_of(config)
        cache: TokenCache[Admission] = TokenCache()
        denial = denial_of(config)
        issuers = issuers_of(config, cache, metrics)
        buffers = Buffers()
        pool = pool_of(upstream, credential, buffers)
        bare_pool = pool_of(upstream, credential.bare, buffers)
        policy = policy_of(config)
        # One for ourselves and one for clients, whose questions must not make ours wait.
        ourselves = Reviewer(upstream, credential, metrics.reviewed)
        for_clients = Reviewer(upstream, credential, metrics.reviewed)
        stack.push_async_callback(ourselves.close)
        stack.push_async_callback(for_clients.close)
        check = self_check_of(config, ourselves, policy)
        recorder = recorder_of(config)
        if recorder is not None:
            recorder.on_end = metrics.recording_ended
            stack.callback(recorder.close)
        gate = Gate(
            issuers.authenticator,
            cache,
            policy,
            metrics,
            config.max_token_bytes,
            may_impersonate=config.allow_impersonation,
        )
        gates = gates_of(config, gate, issuers.authenticator, policy, for_clients)
        withheld, refusals = WithheldCredential(credential, check), Refusals()
        access_log = AccessLog(writer, config.forwarded_from)
        later: list[BatchObserver] = [RequestObserver(metrics, access_log, refusals)]
        audit = None
        if config.audit_policy_file is not None:
            from proxy.server.auditing import auditing  # only who audits pays for it

            audit = await stack.enter_async_context(
                auditing(config, config.audit_policy_file, metrics, stop)
            )
            later.append(audit.observer)
        together = Together(later)
        if audit is not None:
            audit.follow(together.flush)
        metrics.registry.before = together.flush
        stack.callback(together.flush)
        observers: list[Observer] = [together]
        if (tracing := tracing_of(config)) is not None:
            observers.append(tracing)
            stack.push_async_callback(send_spans, tracing)
        service = Service(
            gate=gates,
            credential=withheld,
            pool=pool,
            authority=upstream.authority,
            headers=RequestHeaders(config.pass_header),
            observer=all_of(observers),
            limits=limits_of(config),
            streams=Tally(config.max_streams_per_user),
            requests=Tally(config.max_requests_per_user),
            denial=denial,
            bare_pool=bare_pool if config.token_passthrough else None,
            sessions=Sessions(recorder, required=config.record_sessions_failure == "closed"),
            page=page_of(
                config,
                gates,
                issuers.authenticator,
                policy,
                withheld,
                denial,
                for_clients,
                refusals,
            ),
        )
        listener = Listener(service)
        if denial is not None:
            denial.on_change = listener.end_denied
            await stack.enter_async_context(background("deny-file", denial.run(), stop))
        pools = (pool, bare_pool)
        parts = Parts(
            service,
            listener,
            pools,
            credential,
            issuers,
            cache,
            denial,
            check,
            audit.policy if audit else None,
        )
        show(metrics, parts)

        await stack.enter_async_context(admin(config, metrics, checks_of(config, parts)))
        certificate = certificate_of(config)
        if certificate is not None:
            metrics.serving_certificate_expiry.set_function(lambda: certificate.not_after)
        stack.callback(pool.abort)
        stack.callback(bare_pool.abort)
        for name, work in {
            "issuers": issuers.run(),
            "housekeeping": keep_house(parts.pools, certificate, metrics),
            "self check": check.run(),
            "lag": watch_lag(metrics.event_loop_lag_seconds.observe),
        }.items():
            await stack.enter_async_context(background(name, work, stop))
        await stack.enter_async_context(listening(config, listener, certificate, buffers))
        _log.info(
            "serving",
            extra={"listen": str(config.listen), "upstream": upstream.authority.decode()},
        )
        status = await stop.asked
        _log.info("draining", extra={"grace_seconds": config.shutdown_grace})
    _log.info("stopped")
    return status
