"""The protocols of sessions, both directions: what is read of them, and into what it goes.

Whatever raises ``Unreadable`` ends the reading of that direction only. For channels, which is what
is recorded, the direction that matters is the API server's: a client cannot blind us to it.
"""

from __future__ import annotations

import json
from typing import Final, Protocol

from proxy.sessions.allowance import Allowance
from proxy.sessions.channels import ERROR, RESIZE, STDERR, STDOUT, ChannelReader
from proxy.sessions.facts import MAX_STATUS_BYTES, Facts, exit_status
from proxy.sessions.spdy import Content, Data, Opened, SpdyReader
from proxy.sessions.websocket import WebSocketReader

TUNNELLED_SPDY: Final = "SPDY/3.1+portforward.k8s.io"
STATUS_PROTOCOLS: Final = frozenset(
    {"v4.channel.k8s.io", "v4.base64.channel.k8s.io", "v5.channel.k8s.io"}
)
MAX_ERROR_STREAMS: Final = 16
_MAX_SIZE: Final = 1024  # bytes of a message that tells a terminal's size
_MAX_CELLS: Final = 10_000
_SIZE_COSTS: Final = 2  # frames, which is what reading a size is worth


class Screen(Protocol):
    """Where a terminal's output goes; ``at`` in seconds of the clock that is fed from."""

    def output(self, channel: int, data: bytes, at: float) -> None: ...

    def resize(self, columns: int, rows: int, at: float) -> None: ...


class SessionProtocol(Protocol):
    """Reads both directions of a session; both methods may raise ``Unreadable``."""

    def client_data(self, data: bytes, now: float) -> None: ...

    def upstream_data(self, data: bytes, now: float) -> None: ...

    def ended(self) -> None:
        """Both directions have come to their end: settle what is known."""


class _Status:
    """Collects what comes on an error channel, as far as that can be a ``Status``."""

    __slots__ = ("_document", "_readable")

    def __init__(self, *, readable: bool) -> None:
        self._document = b""
        self._readable = readable

    def add(self, content: bytes) -> None:
        if len(self._document) <= MAX_STATUS_BYTES:
            self._document += content

    def settle(self, facts: Facts) -> None:
        if self._readable and self._document and facts.exit_status is not None:
            facts.exit_status = exit_status(self._document)


class Channels:
    """Exec and attach over WebSocket."""

    __slots__ = ("_allowance", "_down", "_facts", "_screen", "_size", "_status", "_up")

    def __init__(self, facts: Facts, screen: Screen | None, protocol: str, *, base64: bool) -> None:
        output = {STDOUT, STDERR} if screen else set()
        self._facts = facts
        self._screen = screen
        self._status = _Status(readable=protocol in STATUS_PROTOCOLS)
        self._size = b""
        self._allowance = Allowance()  # for sizes
        self._up = ChannelReader(frozenset({RESIZE}), masked=True, base64=base64)
        self._down = ChannelReader(frozenset({ERROR, *output}), masked=False, base64=base64)

    def client_data(self, data: bytes, now: float) -> None:
        if self._screen is None:
            return
        self._allowance.grow(now)
        for _, content in self._up.feed(data, now):
            self._size += content[:_MAX_SIZE]
            while b"}" in self._size:
                self._allowance.spend(_SIZE_COSTS)
                document, _, self._size = self._size.partition(b"}")
                if (size := terminal_size(document + b"}")) is not None:
                    self._screen.resize(*size, now)
            self._size = self._size[-_MAX_SIZE:]

    def upstream_data(self, data: bytes, now: float) -> None:
        for channel, content in self._down.feed(data, now):
            if channel == ERROR:
                self._status.add(content)
            elif self._screen is not None:
                self._screen.output(channel, content, now)

    def ended(self) -> None:
        self._status.settle(self._facts)


class Streams:
    """Any session over SPDY, bare or in the messages of a WebSocket (port-forward)."""

    __slots__ = ("_down", "_error_streams", "_facts", "_status", "_up", "_websocket")

    def __init__(self, facts: Facts, protocol: str, *, in_websocket: bool) -> None:
        self._facts = facts
        self._status = _Status(readable=protocol in STATUS_PROTOCOLS)
        self._error_streams: set[int] = set()
        self._up = SpdyReader((), headers=True)
        self._down = SpdyReader(self._error_streams, headers=False)
        self._websocket = (
            (WebSocketReader(masked=True), WebSocketReader(masked=False)) if in_websocket else None
        )

    def client_data(self, data: bytes, now: float) -> None:
        if self._websocket is None:
            self._client_content(data, now)
            return
        for piece in self._websocket[0].feed(data, now):
            self._client_content(piece.payload, now)

    def _client_content(self, content: Content, now: float) -> None:
        for opened in self._up.feed(content, now):
            if not isinstance(opened, Opened):
                continue
            self._facts.add_port(opened.headers.get("port", ""))
            is_error = opened.headers.get("streamtype") == "error"
            if is_error and len(self._error_streams) < MAX_ERROR_STREAMS:
                self._error_streams.add(opened.stream)

    def upstream_data(self, data: bytes, now: float) -> None:
        if self._facts.exit_status is None:
            return  # of a port-forward, the client says all that there is to know
        for event in self._down.feed(data, now):
            if isinstance(event, Data):
                self._status.add(event.content)

    def ended(self) -> None:
        self._status.settle(self._facts)


class Unknown:
    """A protocol of which nothing can be read."""

    def client_data(self, data: bytes, now: float) -> None: ...

    def upstream_data(self, data: bytes, now: float) -> None: ...

    def ended(self) -> None: ...


def terminal_size(document: bytes) -> tuple[int, int] | None:
    """Return columns and rows of a ``TerminalSize``, or None if it is none.

    Source: k8s.io/client-go/tools/remotecommand/resize.go; Go reads names in any case.
    """
    try:
        fields = {name.lower(): value for name, value in json.loads(document).items()}
    except (ValueError, AttributeError, RecursionError):
        return None
    columns, rows = fields.get("width"), fields.get("height")
    if type(columns) is not int or type(rows) is not int:
        return None
    if not (0 < columns <= _MAX_CELLS and 0 < rows <= _MAX_CELLS):
        return None
    return columns, rows
