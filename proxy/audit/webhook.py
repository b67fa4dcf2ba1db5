"""Sends audit events to a webhook, in batches, in the background.

A request only appends to a queue. What does not fit into it is dropped and counted, and so is a
batch that the receiver says it will never take. Otherwise a batch is sent again until it arrives,
with growing pauses, for a collector that restarts must not cost events; the same event may then
arrive twice, with the same ``auditID`` and ``stage``, as from kube-apiserver. The numbers are those
of its batching backend, but for the pause, which is shorter: k8s.io/apiserver/pkg/server/options/
audit.go, plugin/pkg/audit/buffered.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import deque
from collections.abc import Callable
from typing import Final

import aiohttp

from proxy.audit.event import API_VERSION
from proxy.credentials.kubeconfig import Webhook
from proxy.errors import CredentialUnavailable
from proxy.outage import Outage
from proxy.version import VERSION

MAX_QUEUED: Final = 10_000  # events
MAX_QUEUED_SIZE: Final = 16 << 20  # characters of ASCII, for a request's URI may be long
MAX_BATCH: Final = 400  # events
COLLECTING: Final = 1.0  # seconds that a batch may wait to become larger
TIMEOUT: Final = 30.0  # seconds for one attempt
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0  # seconds between attempts, doubled each time
FLUSHING: Final = 5.0  # seconds at the end for what is queued
_USER_AGENT: Final = f"headlamp-auth-proxy/{VERSION} (audit)"
_LIST: Final = f'{{"kind":"EventList","apiVersion":"{API_VERSION}","metadata":{{}},"items":['

_log = logging.getLogger(__name__)


class WebhookSink:
    """An audit sink; ``write`` and ``run`` belong to one event loop.

    ``on_write`` and ``on_drop`` are called with a number of events, ``on_error`` for each attempt
    that failed.
    """

    def __init__(self, webhook: Webhook) -> None:
        self.on_write: Callable[[int], object] = lambda _count: None
        self.on_drop: Callable[[int], object] = lambda _count: None
        self.on_error: Callable[[], object] = lambda: None
        self._webhook = webhook
        self._queue: deque[str] = deque()
        self._queued_size = 0  # characters
        self._wake = asyncio.Event()  # there is something, or this is the end
        self._full = asyncio.Event()  # there is enough for a batch, or this is the end
        self._closing = False
        self._outage = Outage()

    def write(self, *lines: str) -> None:
        """Take events; never waits, never raises."""
        count, size = len(self._queue) + len(lines), self._queued_size + sum(map(len, lines))
        if count > MAX_QUEUED or size > MAX_QUEUED_SIZE or self._closing:
            if len(lines) == 1:
                self.on_drop(1)
                return
            for line in lines:  # nobody's is lost for another's length
                self.write(line)
            return
        self._queue += lines
        self._queued_size = size
        self._wake.set()
        if len(self._queue) >= MAX_BATCH:
            self._full.set()

    async def run(self) -> None:
        """Send what comes, until ``close``."""
        async with aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=TIMEOUT),
            headers={"Content-Type": "application/json", "User-Agent": _USER_AGENT},
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
        ) as session:
            while self._queue or not self._closing:
                await self._wake.wait()
                await self._collected()
                batch = [self._queue.popleft() for _ in range(min(MAX_BATCH, len(self._queue)))]
                self._queued_size -= sum(map(len, batch))
                if not self._closing:
                    if not self._queue:
                        self._wake.clear()
                    if len(self._queue) < MAX_BATCH:
                        self._full.clear()
                if batch:
                    await self._deliver(session, batch)

    async def _collected(self) -> None:
        try:
            async with asyncio.timeout(COLLECTING):
                await self._full.wait()
        except TimeoutError:
            pass

    async def close(self, sending: asyncio.Task[None]) -> None:
        """Give ``sending``, which is ``run``, a moment for what is queued; drop what is left."""
        self._closing = True
        self._wake.set()
        self._full.set()
        await asyncio.wait([sending], timeout=FLUSHING)
        sending.cancel()
        await asyncio.wait([sending])
        if self._queue:
            self.on_drop(len(self._queue))
            self._queue.clear()

    async def _deliver(self, session: aiohttp.ClientSession, batch: list[str]) -> None:
        body = f"{_LIST}{','.join(batch)}]}}".encode()
        pause = FIRST_PAUSE
        try:
            while again := await self._attempt(session, body):
                self._report(again)
                await asyncio.sleep(pause * random.uniform(0.8, 1.2))  # noqa: S311 - no secret
                pause = min(2 * pause, LONGEST_PAUSE)
        except (_Refused, asyncio.CancelledError) as error:
            self.on_drop(len(batch))
            if not isinstance(error, _Refused):
                raise
            self._report(f"{error}; the events are dropped")
        else:
            self.on_write(len(batch))
            if self._outage.ends():
                _log.info("the audit webhook takes events again")

    async def _attempt(self, session: aiohttp.ClientSession, body: bytes) -> str:
        """Send once; return why it should be tried again, empty if it arrived. Raises _Refused."""
        webhook = self._webhook
        try:
            headers = await self._headers()
            async with session.post(
                webhook.url,
                data=body,
                headers=headers,
                ssl=webhook.credential.ssl_context(),
                server_hostname=webhook.server_name,
                allow_redirects=False,
            ) as answer:
                status = answer.status
        except CredentialUnavailable as error:
            return error.detail
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            return f"{type(error).__name__}: {error}"
        if status < 300:
            return ""
        if status == 401:
            webhook.credential.reread()
        if status >= 500 or status in (401, 408, 429):
            return f"it answered {status}"
        raise _Refused(f"it answered {status}")

    async def _headers(self) -> dict[str, str]:
        credential = self._webhook.credential
        line = credential.header(time.time())
        if line is None:
            await credential.renew()
            line = credential.header(time.time())
        name, _, value = (line or b"").decode("latin-1").rstrip("\r\n").partition(": ")
        return {name: value} if name else {}

    def _report(self, failure: str) -> None:
        """Count a failure, and log it once for each cause."""
        self.on_error()
        if self._outage.fails(failure):
            _log.error("the audit webhook does not take events: %s", failure)


class _Refused(Exception):
    """The receiver will not take these events, however often they are sent."""
