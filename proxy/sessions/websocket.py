"""WebSocket frames of one direction, taken apart as they come (RFC 6455, section 5).

A frame's header is read and its payload is pointed at: nothing is copied, unmasked or kept that
nobody asks for, so a frame costs the same whatever its size, and a header that does not arrive
whole is all that ever waits. No extension is understood, because Kubernetes negotiates none: a
reserved bit is an error here, and so is everything else that the RFC rules out.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from proxy.sessions.allowance import Allowance, Unreadable

_FIN: Final = 0x80
_RESERVED: Final = 0x70
_MASKED: Final = 0x80
_CONTINUATION, _TEXT, _BINARY, _CLOSE, _PING, _PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
_OPCODES: Final = frozenset({_CONTINUATION, _TEXT, _BINARY, _CLOSE, _PING, _PONG})
_MAX_CONTROL: Final = 125  # bytes


class Masked:
    """Bytes as a client sent them; what is taken out of them is unmasked (section 5.3)."""

    __slots__ = ("_data", "_key", "_phase")

    def __init__(self, data: bytes | memoryview, key: bytes, phase: int) -> None:
        self._data = data
        self._key = key
        self._phase = phase  # how many bytes of the payload lie before these

    def __len__(self) -> int:
        return len(self._data)

    def __getitem__(self, part: slice) -> bytes:
        start, stop, _ = part.indices(len(self._data))
        data = bytes(self._data[start:stop])
        size = len(data)
        turn = (self._phase + start) % 4
        key = (self._key[turn:] + self._key[:turn]) * (size // 4 + 1)
        masked = int.from_bytes(data, "big") ^ int.from_bytes(key[:size], "big")
        return masked.to_bytes(size, "big")


class Piece(NamedTuple):
    """Some of a message's content, in order; control frames are none."""

    begins: bool  # the message begins with it
    payload: memoryview | Masked
    ends: bool


class WebSocketReader:
    """Reads one direction: the client's is masked and the server's is not (section 5.1)."""

    __slots__ = (
        "_allowance",
        "_closed",
        "_fin",
        "_head",
        "_in_message",
        "_is_data",
        "_key",
        "_left",
        "_masked",
        "_passed",
        "_starts",
    )

    def __init__(self, *, masked: bool) -> None:
        self._masked = _MASKED if masked else 0
        self._head = b""  # of a frame, not whole yet
        self._left = 0  # bytes of the present frame's payload that are still to come
        self._passed = 0  # and that have come
        self._key = b""
        self._is_data = self._starts = self._fin = False  # what the present frame is
        self._in_message = False  # a message goes on in the next frame
        self._closed = False
        self._allowance = Allowance()

    def feed(self, data: bytes, now: float) -> Iterator[Piece]:
        """Yield what ``data`` brings of messages; ``now`` in seconds of any clock that only grows.

        Raises ``Unreadable``, after which there is nothing more to be had from this direction.
        """
        if self._closed:
            return
        self._allowance.grow(now)
        if self._head:
            data = self._head + data
            self._head = b""
        view = memoryview(data)
        at, end = 0, len(data)
        while True:
            if self._left:
                if at == end:
                    return
                size = min(self._left, end - at)
                if self._is_data:
                    yield self._piece(view[at : at + size])
                at += size
                self._left -= size
                self._passed += size
                continue
            if at == end:
                return
            size = _header_size(data, at)
            if size > end - at:
                self._head = data[at:]
                return
            self._allowance.spend()
            has_end = self._begin(data[at : at + size])
            if self._closed:
                return
            at += size
            if has_end:
                yield self._piece(view[at:at])

    def _begin(self, header: bytes) -> bool:
        """Enter the frame that this header opens, if it may stand here.

        Return whether all of its message's content has come with that, for there is none.
        """
        first, second = header[0], header[1]
        opcode, fin, length = first & 0x0F, bool(first & _FIN), second & 0x7F
        if first & _RESERVED or opcode not in _OPCODES:
            raise Unreadable("an extension that was not agreed on")
        if second & _MASKED != self._masked:
            raise Unreadable("a frame masked, or not, against the rule")
        keyed = len(header) - (4 if self._masked else 0)
        self._key = header[keyed:]
        if length > _MAX_CONTROL:
            length = int.from_bytes(header[2:keyed], "big")
            if length >> 63:
                raise Unreadable("a frame of impossible length")
        self._left, self._passed = length, 0
        self._is_data = opcode < _CLOSE
        if not self._is_data:
            if not fin or length > _MAX_CONTROL:
                raise Unreadable("a control frame in parts, or too long")
            self._closed = opcode == _CLOSE
            return False
        if (opcode == _CONTINUATION) is not self._in_message:
            raise Unreadable("a message inside another, or the rest of none")
        self._starts, self._fin = opcode != _CONTINUATION, fin
        self._in_message = not fin
        return not length

    def _piece(self, view: memoryview) -> Piece:
        begins = self._starts and not self._passed
        ends = self._fin and len(view) == self._left
        payload = Masked(view, self._key, self._passed) if self._masked else view
        return Piece(begins, payload, ends)


def _header_size(data: bytes, at: int) -> int:
    """Return the size of the frame header at ``at``, as far as that can be told: at least 2."""
    if len(data) - at < 2:
        return 2
    second = data[at + 1]
    length = second & 0x7F
    size = 2 if length < 126 else 4 if length == 126 else 10
    return size + 4 if second & _MASKED else size
