"""One session beside its tunnel: shown the bytes, it keeps the facts and feeds the recording.

Nothing that happens here may reach the tunnel as an exception. What cannot be read is read no
further, in that direction, and what was not learned stays ``unknown``; only where the policy is
that every session is recorded does the end of a recording end the session.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Final

from proxy.errors import ProxyError, RecordingFailed, SessionNotRecordable
from proxy.files import explain
from proxy.sessions.allowance import Unreadable
from proxy.sessions.channels import CHANNEL_PROTOCOLS
from proxy.sessions.facts import TERMINALS, Facts
from proxy.sessions.protocols import (
    TUNNELLED_SPDY,
    Channels,
    SessionProtocol,
    Streams,
    Unknown,
)

if TYPE_CHECKING:
    from proxy.http.head import ResponseHead
    from proxy.sessions.recorder import Recording

BEGINNING: Final = 5.0  # seconds that a recording has to begin in, where it must

_log = logging.getLogger(__name__)


class Session:
    """Satisfies ``http.service.Session``.

    ``end`` ends the exchange for a reason; with ``required``, it does so when the recording ends
    before the session does.
    """

    def __init__(
        self,
        facts: Facts,
        recording: Recording | None,
        *,
        required: bool,
        end: Callable[[ProxyError], None],
    ) -> None:
        self.facts = facts
        self.opening: Awaitable[None] | None = None
        self._recording = recording
        self._required = required
        self._end: Callable[[ProxyError], None] | None = end  # gone with the session: no cycles
        self._protocol: SessionProtocol = Unknown()
        self._joined_at = 0.0
        self._read_client = self._read_upstream = True
        if recording is not None:
            facts.recording = recording.name
            if required:
                self._loop = asyncio.get_running_loop()
                recording.on_trouble = self._recording_ended
                self.opening = self._begun(recording)

    async def _begun(self, recording: Recording) -> None:
        try:
            async with asyncio.timeout(BEGINNING):
                await asyncio.wrap_future(recording.begun)
        except OSError as error:  # a TimeoutError is one too
            raise RecordingFailed(explain(error) or "it did not begin in time") from error

    def joined(self, head: ResponseHead) -> None:
        self._protocol = self._agreed(head)
        unknown = isinstance(self._protocol, Unknown)
        if unknown and self._required and self._recording is not None:
            raise SessionNotRecordable("the API server chose a protocol that is not known here")
        if unknown and self._recording is not None:
            self._recording.stop("the protocol is not known here")
        self._joined_at = time.monotonic()

    def _agreed(self, head: ResponseHead) -> SessionProtocol:
        """Return a reader for what the API server's 101 says will be spoken."""
        facts = self.facts
        lines = (line.partition(b": ") for line in head.passing)
        fields = {name.lower(): value.decode("latin-1") for name, _, value in lines}
        if head.upgrade.lower() == b"spdy/3.1":
            version = fields.get(b"x-stream-protocol-version", "")
            return Streams(facts, version, in_websocket=False)
        protocol = fields.get(b"sec-websocket-protocol", "")
        if b"sec-websocket-extensions" in fields:
            return Unknown()
        if facts.kind in TERMINALS and protocol in CHANNEL_PROTOCOLS:
            base64 = CHANNEL_PROTOCOLS[protocol]
            return Channels(facts, self._recording, protocol, base64=base64)
        if facts.kind not in TERMINALS and protocol == TUNNELLED_SPDY:
            return Streams(facts, protocol, in_websocket=True)
        return Unknown()

    def client_data(self, data: bytes) -> None:
        self.facts.bytes_in += len(data)
        if self._read_client:
            try:
                self._protocol.client_data(data, time.monotonic())
            except Exception as error:  # noqa: BLE001 - the tunnel goes on, whatever this is
                self._read_client = False
                self._gave_up(error, "client")

    def upstream_data(self, data: bytes) -> None:
        self.facts.bytes_out += len(data)
        if self._read_upstream:
            try:
                self._protocol.upstream_data(data, time.monotonic())
            except Exception as error:  # noqa: BLE001 - the tunnel goes on, whatever this is
                self._read_upstream = False
                self._gave_up(error, "API server")
                if self._recording is not None:
                    self._recording.stop("what the API server sent could not be read")

    def _gave_up(self, error: Exception, side: str) -> None:
        """Say once that a direction is read no further."""
        if isinstance(error, Unreadable):
            extra = {"side": side, "detail": str(error)}
            _log.info("a session is not read any further", extra=extra)
        else:
            _log.error("[unexpected] a session could not be read", exc_info=error)

    def _recording_ended(self) -> None:
        """From any thread: the recording takes nothing more."""
        self._loop.call_soon_threadsafe(self._end_unrecorded)

    def _end_unrecorded(self) -> None:
        if self._joined_at and self._end is not None and self._recording is not None:
            self._end(RecordingFailed(self._recording.trouble))

    def ended(self) -> Mapping[str, str]:
        now, facts = time.monotonic(), self.facts
        self._end = None
        protocol, self._protocol = self._protocol, Unknown()
        protocol.ended()
        if self._joined_at:
            facts.duration = now - self._joined_at
        recording, self._recording = self._recording, None
        if recording is not None and self._joined_at:
            facts.truncated = recording.trouble
            if recording.begun.done() and recording.begun.exception() is not None:
                facts.recording = ""
            recording.finish(self._mark(), now)
        elif recording is not None:
            facts.recording = ""
            recording.discard()
        return facts.annotations()

    def _mark(self) -> str:
        status = self.facts.exit_status
        return f"exit status {status}" if isinstance(status, int) else f"ended: {status}"

    def fields(self) -> Mapping[str, object]:
        if self._recording is not None:
            self.facts.truncated = self._recording.trouble
        return self.facts.fields()
