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
import socket
import ssl
import stat
import sys
import time
from collections.abc import AsyncIterator, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import uvloop

from proxy.authn.authenticator import Authenticator, TrustedIssuer
from proxy.authn.cache import TokenCache
from proxy.authn.issuer import Issuer, IssuerSettings
from proxy.authn.jwks_file import JWKSFile
from proxy.authn.keyset import KeySet
from proxy.authn.mapping import ClaimMapping
from proxy.authn.verifier import TokenRules
from proxy.config import Address, Config
from proxy.credentials.certificates import CertificateError
from proxy.credentials.credential import Credential, from_files, readiness
from proxy.credentials.endpoint import Upstream
from proxy.credentials.kubeconfig import KubeconfigError, from_kubeconfig
from proxy.credentials.serving import GivenCertificate, OwnCertificate, ServingCertificate
from proxy.credentials.trust import write_trust_directory
from proxy.gate import Gate
from proxy.headers import RequestHeaders
from proxy.http.listener import GOODBYE, Listener
from proxy.http.pool import Pool
from proxy.http.service import Service
from proxy.impersonation import Impersonation, Policy
from proxy.observe import logs
from proxy.observe.access_log import AccessLog
from proxy.observe.admin import Check, serve_admin
from proxy.observe.lag import watch_lag
from proxy.observe.log_writer import LogWriter
from proxy.observe.metrics import Metrics
from proxy.observe.requests import RequestObserver
from proxy.version import installed_version

HOUSEKEEPING: Final = 1.0  # seconds between two rounds
BACKLOG: Final = 1024  # connections that may wait to be accepted
HANDSHAKE: Final = 10.0  # seconds; client-go waits no longer either
UNIX_MODE: Final = 0o660  # the containers of a pod can share a group

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


async def _run(config: Config, writer: LogWriter) -> int:
    asyncio.get_running_loop().set_exception_handler(_unhandled)
    stop = _Stop()
    metrics = Metrics(installed_version())
    writer.on_drop = metrics.log_lines_dropped.inc
    async with contextlib.AsyncExitStack() as stack:
        upstream, credential = _upstream(config)
        cache: TokenCache[Impersonation] = TokenCache()
        source = _key_source(config, cache, metrics)
        pool = Pool(
            upstream.host,
            upstream.port,
            server_name=upstream.server_name,
            tls=credential.ssl_context,
        )
        authenticator = Authenticator([_trusted_issuer(config, source)])
        service = Service(
            gate=Gate(authenticator, cache, _policy(config), metrics),
            credential=credential,
            pool=pool,
            authority=upstream.authority,
            headers=RequestHeaders(config.pass_header),
            observer=RequestObserver(metrics, AccessLog(writer)),
        )
        listener = Listener(service)
        parts = _Parts(listener, pool, credential, source, cache)
        _show(metrics, parts)

        await stack.enter_async_context(_admin(config, metrics, parts))
        certificate = _certificate(config)
        if certificate is not None:
            metrics.serving_certificate_expiry.set_function(lambda: certificate.not_after)
        stack.callback(pool.abort)
        for name, work in {
            "keys": source.run(),
            "housekeeping": _keep_house(pool, certificate),
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

    listener: Listener
    pool: Pool
    credential: Credential
    source: Issuer | JWKSFile
    cache: TokenCache[Impersonation]


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


def _key_source(
    config: Config, cache: TokenCache[Impersonation], metrics: Metrics
) -> Issuer | JWKSFile:
    issuer = config.oidc_issuer_url

    def changed(keys: KeySet) -> None:
        cache.keep_only(issuer, keys)

    if config.oidc_jwks_file is not None:
        return JWKSFile(config.oidc_jwks_file, on_keys=changed)
    settings = IssuerSettings(
        issuer, config.oidc_discovery_url, config.oidc_ca_file, config.oidc_http_proxy
    )
    return Issuer(settings, on_fetch=metrics.keys_fetched, on_keys=changed)


def _trusted_issuer(config: Config, source: Issuer | JWKSFile) -> TrustedIssuer:
    rules = TokenRules(
        issuer=config.oidc_issuer_url,
        audiences=frozenset(config.oidc_client_id),
        algorithms=frozenset(config.oidc_signing_algs),
        leeway=config.oidc_clock_skew,
    )
    mapping = ClaimMapping(
        username_claim=config.oidc_username_claim,
        username_prefix=config.oidc_username_prefix,
        groups_claims=config.oidc_groups_claim,
        groups_prefix=config.oidc_groups_prefix,
        required_claims=config.oidc_required_claim,
    )
    return TrustedIssuer(rules, mapping, source)


def _policy(config: Config) -> Policy:
    return Policy(
        authenticated_group=config.authenticated_group,
        groups_allow=config.groups_allow,
        allowed_reserved_groups=frozenset(config.allow_reserved_group),
        reserved_prefixes=config.reserved_prefix,
    )


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
    metrics.connections_open.set_function(lambda: parts.listener.open)
    metrics.connections.set_function(lambda: parts.listener.accepted)
    metrics.upstream_connections_idle.set_function(lambda: parts.pool.idle)
    metrics.upstream_connections_active.set_function(lambda: parts.pool.active)
    metrics.token_cache_entries.set_function(lambda: len(parts.cache))
    metrics.jwks_last_success.set_function(lambda: parts.source.last_success)
    metrics.jwks_keys.set_function(lambda: len(keys.keys) if (keys := parts.source.keys) else 0)
    metrics.credential_reloads.set_function(lambda: parts.credential.changes)
    metrics.credential_expiry.set_function(lambda: parts.credential.expires_at or 0.0)


# --- Running -------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def _admin(config: Config, metrics: Metrics, parts: _Parts) -> AsyncIterator[None]:
    async def credential_usable() -> bool:
        return await readiness(parts.credential, time.time()) is None

    checks = [
        Check("issuer-keys", lambda: parts.source.keys is not None),
        Check("credential", credential_usable),
        Check("not-draining", lambda: not parts.listener.draining),
        Check("issuer", lambda: parts.source.healthy, required=False),
        Check("upstream", lambda: parts.pool.reachable, required=False),
    ]
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
        server = await _server(
            config.listen, listener, certificate.context if certificate else None
        )
    except OSError as error:
        raise StartError(_cannot_listen("--listen", config.listen, error)) from error
    try:
        yield
    finally:
        server.close()
        await listener.drain(config.shutdown_grace)


async def _server(
    address: Address, listener: Listener, context: ssl.SSLContext | None
) -> asyncio.Server:
    loop = asyncio.get_running_loop()
    handshake, goodbye = (HANDSHAKE, GOODBYE) if context else (None, None)
    if address.unix is None:
        return await loop.create_server(
            listener.accept,
            address.host or None,
            address.port,
            ssl=context,
            backlog=BACKLOG,
            ssl_handshake_timeout=handshake,
            ssl_shutdown_timeout=goodbye,
        )
    return await loop.create_unix_server(
        listener.accept,
        sock=_unix_socket(Path(address.unix)),
        ssl=context,
        backlog=BACKLOG,
        ssl_handshake_timeout=handshake,
        ssl_shutdown_timeout=goodbye,
    )


def _unix_socket(path: Path) -> socket.socket:
    """Bind a socket at ``path``, in place of one that a killed process has left behind."""
    sock = socket.socket(socket.AF_UNIX)
    try:
        if _left_behind(path):
            path.unlink()
        sock.bind(str(path))
        path.chmod(UNIX_MODE)
    except OSError:
        sock.close()
        raise
    return sock


def _left_behind(path: Path) -> bool:
    """Say whether there is a socket at ``path`` that nobody listens on."""
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            return stat.S_ISSOCK(path.stat().st_mode)
        except FileNotFoundError:
            return False
    return False


async def _keep_house(pool: Pool, certificate: ServingCertificate | None) -> None:
    while True:
        await asyncio.sleep(HOUSEKEEPING)
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
