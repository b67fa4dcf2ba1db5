"""What runs while the proxy serves, and how it comes to an end."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import itertools
import logging
import os
import signal
import socket
import time
from collections.abc import AsyncIterator, Coroutine, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from proxy.config import Address, Config
from proxy.credentials.serving import ServingCertificate
from proxy.freed import give_back
from proxy.http.acceptor import Acceptor
from proxy.http.listener import Listener
from proxy.http.pool import Pool
from proxy.http.tls_transport import Buffers
from proxy.observe.admin import Check, serve_admin
from proxy.observe.metrics import Metrics
from proxy.server.building import StartError
from proxy.sockets import listen_at, listen_at_path

if TYPE_CHECKING:
    from proxy.observe.tracing import Tracing

HOUSEKEEPING: Final = 1.0  # seconds between two rounds
GIVE_BACK_EVERY: Final = 5  # rounds
LAST_SPANS: Final = 3.0  # seconds that a collector has for them at the end

_log = logging.getLogger(__name__)


@contextlib.asynccontextmanager
async def admin(config: Config, metrics: Metrics, checks: Sequence[Check]) -> AsyncIterator[None]:
    """Answer metrics and probes for as long as what is inside runs."""
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
async def listening(
    config: Config,
    listener: Listener,
    certificate: ServingCertificate | None,
    buffers: Buffers,
) -> AsyncIterator[None]:
    """Accept clients; on the way out, let what is under way finish within the grace."""
    try:
        if config.listen.unix is None:
            sockets = await listen_at(config.listen.host, config.listen.port)
        else:
            sockets = [listen_at_path(Path(config.listen.unix))]
    except OSError as error:
        raise StartError(_cannot_listen("--listen", config.listen, error)) from error
    tls = certificate.context if certificate else None
    acceptor = Acceptor(listener, sockets, tls, buffers)
    try:
        yield
    finally:
        acceptor.close()
        await listener.drain(config.shutdown_grace)


async def keep_house(
    pools: Iterable[Pool], certificate: ServingCertificate | None, metrics: Metrics
) -> None:
    for rounds in itertools.count(1):
        await asyncio.sleep(HOUSEKEEPING)
        for pool in pools:
            pool.expire()
        if certificate is not None:
            certificate.refresh(time.time())
        metrics.fold()
        if rounds % GIVE_BACK_EVERY == 0:
            give_back()


async def send_spans(tracing: Tracing) -> None:
    """Have the last spans sent; a collector that does not take them keeps nobody."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(LAST_SPANS):
            await asyncio.to_thread(tracing.close)


class Stop:
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
async def background(name: str, work: Coroutine[Any, Any, None], stop: Stop) -> AsyncIterator[None]:
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


def log_unhandled(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log what no one else has caught; a broken connection is no news."""
    error = context.get("exception")
    level = logging.DEBUG if isinstance(error, OSError) else logging.ERROR
    _log.log(level, "[unexpected] %s", context.get("message"), exc_info=error)


def _cannot_listen(flag: str, address: Address, error: OSError) -> str:
    return f"{flag} {str(address)!r}: cannot listen there: {_why(address, error)}"


def _why(address: Address, error: OSError) -> str:
    """Say it in the system's words, and not in asyncio's; of a name, the resolver has its own."""
    if error.errno == errno.EADDRINUSE:
        what = "path" if address.unix is not None else "port"
        return f"it is in use; choose another {what}, or end what listens there"
    if error.errno is None or isinstance(error, socket.gaierror):
        return error.strerror or str(error)
    return os.strerror(error.errno)
