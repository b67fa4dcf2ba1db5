"""SPDY/3.1 of one direction, taken apart as it comes: which stream is for what, and its content.

Kubernetes tells streams apart by headers of SYN_STREAM (``streamtype``, for port-forward also
``port``), compressed in one zlib stream for each direction, so each block of headers must go
through it, in order. Data is pointed at and passed over, but for the streams that are asked for.
What waits is bounded: a frame's header, a block of headers.

Source: the SPDY protocol, draft 3.1, and how moby/spdystream reads it, which is at both ends here.
"""

from __future__ import annotations

import zlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from proxy.sessions.allowance import Allowance, Unreadable

MAX_CONTROL_BYTES: Final = 16 * 1024  # of a frame that is no data, as it is sent
MAX_HEADER_BYTES: Final = 64 * 1024  # of a block of headers, unpacked
MAX_HEADERS: Final = 64

_HEADER: Final = 8  # bytes
_VERSION: Final = 3
_SYN_STREAM, _SYN_REPLY, _HEADERS = 1, 2, 8
_BEFORE_HEADERS: Final = {_SYN_STREAM: 10, _SYN_REPLY: 4, _HEADERS: 4}  # bytes

# Draft 3.1, section 2.6.10.1: these words, each with its length in front, and then the rest.
_WORDS: Final = (
    "options head post put delete trace accept accept-charset accept-encoding accept-language "
    "accept-ranges age allow authorization cache-control connection content-base content-encoding "
    "content-language content-length content-location content-md5 content-range content-type date "
    "etag expect expires from host if-match if-modified-since if-none-match if-range "
    "if-unmodified-since last-modified location max-forwards pragma proxy-authenticate "
    "proxy-authorization range referer retry-after server te trailer transfer-encoding upgrade "
    "user-agent vary via warning www-authenticate method get status 200_OK version HTTP/1.1 url "
    "public set-cookie keep-alive origin"
)
_REST: Final = (
    "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505203 "
    "Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 "
    "Unauthorized403 Forbidden404 Not Found500 Internal Server Error501 Not Implemented503 Service "
    "UnavailableJan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, "
    "Sat, Sun, GMTchunked,text/html,image/png,image/jpg,image/gif,application/xml,"
    "application/xhtml+xml,text/plain,text/javascript,publicprivatemax-age=gzip,deflate,sdch"
    "charset=utf-8charset=iso-8859-1,utf-,*,enq=0."
)
DICTIONARY: Final = (
    b"".join(
        len(word).to_bytes(4, "big") + word.replace("_", " ").encode() for word in _WORDS.split()
    )
    + _REST.encode()
)


class Content(Protocol):
    """Bytes, or what gives bytes when it is sliced."""

    def __len__(self) -> int: ...

    def __getitem__(self, part: slice, /) -> bytes | memoryview: ...


@dataclass(frozen=True, slots=True)
class Opened:
    """A stream begins; names of headers are in lower case, each with its first value."""

    stream: int
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Data:
    """Some content of a stream that was asked for."""

    stream: int
    content: bytes


class SpdyReader:
    """Reads one direction of a connection.

    ``wanted`` are the streams whose content is yielded; whoever made the reader may add to it.
    Headers are read only where ``headers`` is set.
    """

    __slots__ = ("_allowance", "_head", "_headers", "_keep", "_left", "_stream", "_unpack")

    def __init__(self, wanted: Collection[int], *, headers: bool) -> None:
        self._stream = -1  # of the data that is passing, or -1 for a control frame
        self._head = b""  # of a frame, not whole yet; with a control frame, all of it
        self._left = 0  # bytes of data that are still to come
        self._keep = wanted
        self._headers = headers
        self._unpack = zlib.decompressobj(zdict=DICTIONARY)
        self._allowance = Allowance()

    def feed(self, data: Content, now: float) -> Iterator[Opened | Data]:
        """Yield what ``data`` brings; raises ``Unreadable``. ``now`` in seconds, only growing."""
        self._allowance.grow(now)
        at, end = 0, len(data)
        while at < end:
            if self._left:
                size = min(self._left, end - at)
                if self._stream in self._keep:
                    yield Data(self._stream, bytes(data[at : at + size]))
                self._left -= size
                at += size
                continue
            size = min(self._missing(), end - at)
            self._head += bytes(data[at : at + size])
            at += size
            if not self._missing():
                yield from self._frame()

    def _missing(self) -> int:
        """Return how many bytes of the frame's header, or of the control frame, must still come."""
        head = self._head
        if len(head) < _HEADER:
            return _HEADER - len(head)
        if not head[0] & 0x80:
            return 0
        size = int.from_bytes(head[5:8], "big")
        if size > MAX_CONTROL_BYTES:
            raise Unreadable("a control frame that is too large")
        return _HEADER + size - len(head)

    def _frame(self) -> Iterator[Opened]:
        """Take what has come whole: the header of data, or a control frame."""
        self._allowance.spend()
        head, self._head = self._head, b""
        if not head[0] & 0x80:
            self._stream = int.from_bytes(head[:4], "big")
            self._left = int.from_bytes(head[5:8], "big")
            return
        if int.from_bytes(head[:2], "big") & 0x7FFF != _VERSION:
            raise Unreadable("not version 3 of SPDY")
        kind = int.from_bytes(head[2:4], "big")
        skip = _BEFORE_HEADERS.get(kind)
        if skip is None or not self._headers:
            return
        payload = head[_HEADER:]
        if len(payload) < skip:
            raise Unreadable("a control frame that is too short")
        headers = self._read_headers(payload[skip:])
        if kind == _SYN_STREAM:
            yield Opened(int.from_bytes(payload[:4], "big") & 0x7FFFFFFF, headers)

    def _read_headers(self, block: bytes) -> dict[str, str]:
        """Unpack a block of headers: a count, then names and values, each with its length."""
        try:
            text = self._unpack.decompress(block, MAX_HEADER_BYTES)
        except zlib.error as error:
            raise Unreadable("headers that cannot be unpacked") from error
        if self._unpack.unconsumed_tail or self._unpack.unused_data:
            raise Unreadable("headers that are too large, or end their stream")
        count, at = _number(text, 0), 4
        if count > MAX_HEADERS:
            raise Unreadable("too many headers")
        # Each header is a frame's worth of work, and so is a KiB unpacked; few bytes may hold it.
        self._allowance.spend(count + len(text) // 1024)
        headers: dict[str, str] = {}
        for _ in range(count):
            name, at = _text(text, at)
            value, at = _text(text, at)
            headers.setdefault(name.lower(), value.split("\0", 1)[0])
        return headers


def _number(text: bytes, at: int) -> int:
    if at + 4 > len(text):
        raise Unreadable("headers that are cut short")
    return int.from_bytes(text[at : at + 4], "big")


def _text(text: bytes, at: int) -> tuple[str, int]:
    """Return the text at ``at``, and where it ends."""
    end = at + 4 + _number(text, at)
    if end > len(text):
        raise Unreadable("headers that are cut short")
    return text[at + 4 : end].decode("utf-8", "replace"), end
