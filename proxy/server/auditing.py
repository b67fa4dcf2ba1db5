"""From the settings to a running audit: the policy, its sinks, and the observer that feeds them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from proxy.audit.followed_policy import FollowedPolicy
from proxy.audit.log_file import MAX_BUFFERED, MEGABYTE, LogFile, Rotation
from proxy.audit.observer import AuditObserver, Sink
from proxy.audit.policy import Policy
from proxy.audit.policy_file import InvalidPolicy
from proxy.audit.webhook import WebhookSink
from proxy.config import Config
from proxy.credentials.kubeconfig import KubeconfigError, webhook_from_kubeconfig
from proxy.files import SourceError, explain
from proxy.observe.log_writer import LogWriter
from proxy.observe.metrics import Metrics
from proxy.server.building import StartError
from proxy.server.running import Stop, background

_STDOUT: Final = 1


@dataclass(frozen=True, slots=True)
class Audit:
    """The observer that audits, and the policy that it is to ``follow``."""

    observer: AuditObserver
    policy: FollowedPolicy

    def follow(self, flush: Callable[[], None]) -> None:
        """Have each new policy taken; ``flush`` tells before of what ended under the old one."""

        def take(policy: Policy) -> None:
            flush()
            self.observer.take(policy)

        self.policy.on_change = take


@contextlib.asynccontextmanager
async def auditing(
    config: Config, policy: Path, metrics: Metrics, stop: Stop
) -> AsyncIterator[Audit]:
    """Yield what audits by the policy in a file; on the way out, write what is left."""
    followed = _policy(policy)
    async with contextlib.AsyncExitStack() as stack:
        sinks: list[Sink] = []
        if config.audit_log_path is not None:
            log = _log_sink(config, config.audit_log_path, metrics)
            stack.callback(log.close)
            sinks.append(log)
        if config.audit_webhook_config_file is not None:
            webhook = _webhook_sink(config.audit_webhook_config_file, metrics)
            sending = asyncio.create_task(webhook.run(), name="audit webhook")
            stack.push_async_callback(webhook.close, sending)
            sinks.append(webhook)
        observer = AuditObserver(followed.policy, sinks, config.forwarded_from)
        async with background("audit policy", followed.run(), stop):
            yield Audit(observer, followed)


def _policy(path: Path) -> FollowedPolicy:
    flag = f"--audit-policy-file {str(path)!r}"
    try:
        return FollowedPolicy(path)
    except SourceError as error:
        raise StartError(f"{flag}: {error}") from error
    except InvalidPolicy as error:
        raise StartError(*(f"{flag}: {problem}" for problem in error.problems)) from error


def _log_sink(config: Config, path: Path, metrics: Metrics) -> LogWriter:
    writer = LogWriter(_STDOUT, MAX_BUFFERED) if str(path) == "-" else _log_file(config, path)
    writer.on_write = partial(metrics.audit_written, "log")
    writer.on_drop = partial(metrics.audit_dropped, "log")
    writer.on_error = partial(metrics.audit_failed, "log")
    return writer


def _webhook_sink(path: Path, metrics: Metrics) -> WebhookSink:
    try:
        sink = WebhookSink(webhook_from_kubeconfig(path))
    except (KubeconfigError, OSError) as error:
        problems = error.problems if isinstance(error, KubeconfigError) else [explain(error)]
        flag = f"--audit-webhook-config-file {str(path)!r}"
        raise StartError(*(f"{flag}: {problem}" for problem in problems)) from error
    sink.on_write = partial(metrics.audit_written, "webhook")
    sink.on_drop = partial(metrics.audit_dropped, "webhook")
    sink.on_error = partial(metrics.audit_failed, "webhook")
    return sink


def _log_file(config: Config, path: Path) -> LogFile:
    rotation = Rotation(
        config.audit_log_maxsize * MEGABYTE, config.audit_log_maxage, config.audit_log_maxbackup
    )
    try:
        return LogFile(path, rotation)
    except OSError as error:
        raise StartError(f"--audit-log-path {str(path)!r}: {explain(error)}") from error
