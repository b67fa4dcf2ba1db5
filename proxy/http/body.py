"""Message bodies: where one ends, for both directions (RFC 9112, section 6).

Decoders take bytes as they come and give back the content, never waiting for more than a chunk's
size line, so that a watch event passes at once. They keep at most one unfinished line. Content
is framed anew on its way out: chunk extensions and trailers end here, so there is nothing in the
framing that the next server could read differently.

Pure: no transport, no clock. A malformed body raises the error class that its decoder was given,
because on one side it is the client's fault and on the other the API server's.
"""

from __future__ import annotations

import re
from typing import Final

from proxy.errors import MalformedRequest, ProxyError, UpstreamMalformed

LAST_CHUNK: Final = b"0\r\n\r\n"
# Nobody needs long size lines or many trailers; without a bound they are free work for us.
MAX_LINE_BYTES: Final = 256
MAX_TRAILER_BYTES: Final = 8 * 1024
MAX_SIZE_DIGITS: Final = 15  # so that every size of a chunk is a number in C too

_DIGITS: Final = bytes(b"0123456789abcdef".find(octet) & 255 for octet in range(256))  # 255: none
_ZERO: Final = ord("0")
# What comes next of a chunked body.
_SIZE: Final = 0
_CONTENT: Final = 1
_CONTENT_END: Final = 2
_TRAILER: Final = 3
_SIZE_LINE: Final = re.compile(
    rb"([0-9A-Fa-f]{1,%d})(?:;[\t\x20-\x7e\x80-\xff]*)?" % MAX_SIZE_DIGITS
)
_TRAILER_LINE: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+:[\t\x20-\x7e\x80-\xff]*")


class Body:
    """What is left to come of a message's body; nothing is once it is ``done``."""

    __slots__ = ("done",)

    def __init__(self, done: bool = False) -> None:
        self.done = done

    def is_chunk(self, data: bytes) -> bool:  # noqa: ARG002 - only a chunked body looks at it
        """Say whether ``data`` is a whole chunk as ``encode_chunk`` writes it, where one may begin.

        Most watch events come as such. It need not be fed then: the state behind it is the same.
        """
        return False

    def feed(self, data: bytes) -> tuple[list[bytes], bytes]:
        """Return the content found in ``data`` and, once done, what follows the body."""
        raise NotImplementedError


class LengthBody(Body):
    """A body of known length; ``LengthBody(0)`` is no body."""

    __slots__ = ("remaining",)

    def __init__(self, length: int) -> None:
        super().__init__(done=not length)
        self.remaining = length

    def feed(self, data: bytes) -> tuple[list[bytes], bytes]:
        if len(data) <= self.remaining:
            self.remaining -= len(data)
            self.done = not self.remaining
            return [data], b""
        content, tail = data[: self.remaining], data[self.remaining :]
        self.remaining, self.done = 0, True
        return ([content] if content else []), tail


class CloseBody(Body):
    """A response body that lasts until the connection ends; it is never done by itself."""

    __slots__ = ()

    def feed(self, data: bytes) -> tuple[list[bytes], bytes]:
        return [data], b""


class ChunkedBody(Body):
    """A chunked body (RFC 9112, section 7.1); extensions and trailers are read and dropped."""

    __slots__ = ("_error", "_line", "_remaining", "_state", "_trailer_bytes")

    def __init__(self, error: type[ProxyError]) -> None:
        super().__init__()
        self._error = error
        self._state = _SIZE
        self._line = b""  # the unfinished line, never a chunk's content
        self._remaining = 0
        self._trailer_bytes = 0

    def is_chunk(self, data: bytes) -> bool:
        if self._state != _SIZE or self._line:
            return False
        size = end = 0
        while end < min(len(data), MAX_SIZE_DIGITS) and (digit := _DIGITS[data[end]]) < 16:
            size = size * 16 + digit
            end += 1
        return (
            size > 0
            and data[0] != _ZERO
            and len(data) == end + 2 + size + 2
            and data.startswith(b"\r\n", end)
            and data.endswith(b"\r\n")
        )

    def feed(self, data: bytes) -> tuple[list[bytes], bytes]:
        parts: list[bytes] = []
        if self._line:
            data, self._line = self._line + data, b""
        position = 0
        while not self.done and position < len(data):
            if self._state == _CONTENT:
                content = data[position : position + self._remaining]
                parts.append(content)
                position += len(content)
                self._remaining -= len(content)
                if not self._remaining:
                    self._state = _CONTENT_END
                continue
            end = data.find(b"\r\n", position)
            if end < 0:
                self._keep(data[position:])
                return parts, b""
            self._take_line(data[position:end])
            position = end + 2
        return parts, data[position:] if self.done else b""

    def _keep(self, line: bytes) -> None:
        if len(line) > self._line_limit:
            raise self._error("a line of the chunked body is too long")
        self._line = line

    @property
    def _line_limit(self) -> int:
        if self._state == _CONTENT_END:
            return 1
        return MAX_TRAILER_BYTES if self._state == _TRAILER else MAX_LINE_BYTES

    def _take_line(self, line: bytes) -> None:
        if self._state == _SIZE:
            self._take_size(line)
        elif self._state == _CONTENT_END:
            if line:
                raise self._error("a chunk is longer than its size")
            self._state = _SIZE
        elif not line:
            self.done = True
        else:
            self._trailer_bytes += len(line)
            if self._trailer_bytes > MAX_TRAILER_BYTES or not _TRAILER_LINE.fullmatch(line):
                raise self._error("malformed or too many trailers")

    def _take_size(self, line: bytes) -> None:
        match = _SIZE_LINE.fullmatch(line)
        if match is None or len(line) > MAX_LINE_BYTES:
            raise self._error("a chunk's size line is malformed")
        self._remaining = int(match[1], 16)
        self._state = _CONTENT if self._remaining else _TRAILER


def encode_chunk(parts: list[bytes]) -> bytes:
    """Frame content as one chunk; nothing for nothing, since an empty chunk would be the last."""
    content = b"".join(parts)
    return b"%x\r\n%s\r\n" % (len(content), content) if content else b""


def chunk_content(chunk: bytes) -> bytes:
    """Return what is in a whole chunk, as ``encode_chunk`` writes it."""
    return chunk[chunk.index(b"\r\n") + 2 : -2]


def answer_has_body(method: bytes, status: int) -> bool:
    """Say whether an answer with this final status has a body at all, whatever its head says."""
    return method != b"HEAD" and status not in {204, 304}


NOTHING: Final = LengthBody(0)  # one for all: nothing of it ever changes


def request_body(length: int | None, chunked: bool) -> Body:
    """Decide how a request's body is delimited (RFC 9112, section 6.3)."""
    if chunked:
        return ChunkedBody(MalformedRequest)
    return LengthBody(length) if length else NOTHING


def response_body(method: bytes, status: int, length: int | None, chunked: bool) -> Body:
    """Decide how a response's body is delimited (RFC 9112, section 6.3), for a final status."""
    if not answer_has_body(method, status):
        return NOTHING
    if chunked:
        return ChunkedBody(UpstreamMalformed)
    return CloseBody() if length is None else LengthBody(length)
