"""Lines of response heads that were seen before: the API server says most of them each time.

A head of nothing but such lines, and of the few whose value is another each time, is put together
from what is remembered; any other is read by llhttp, and its lines are remembered then. That takes
less than half of what reading it does (``python -m bench.parts``).

What must stay true:

1. The outcome is that of ``parse_response`` on the same bytes, for every head.
2. A line is remembered only of a field that llhttp has read, and only if what it says does not
   depend on the lines around it.
3. Only headers are remembered that carry no credential: those that the API server itself sends, as
   far as they are the same with many answers, whoever may have sent them.
4. What a hostile answer costs stays in proportion: of a head of many lines none is looked up.
"""

from __future__ import annotations

import re
from typing import Final, TypeVar

from proxy.http.head import END, ResponseHead, parse_response

LINES: Final = 512  # that are remembered at most, of either kind
LONGEST: Final = 256  # bytes of such a line
MOST: Final = 64  # lines of a head that is looked up; the API server's own have some ten
_NAMES: Final = frozenset(
    {
        b"accept-ranges",
        b"cache-control",
        b"content-encoding",
        b"content-type",
        b"date",
        b"etag",
        b"last-modified",
        b"server",
        b"strict-transport-security",
        b"vary",
        b"x-content-type-options",
        b"x-frame-options",
        b"x-kubernetes-pf-flowschema-uid",
        b"x-kubernetes-pf-prioritylevel-uid",
    }
)
_AUDIT_ID: Final = re.compile(rb"Audit-Id: [0-9A-Za-z-]+")
_LENGTH: Final = re.compile(rb"Content-Length: ([0-9]{1,18})")
_CHUNKED: Final = b"Transfer-Encoding: chunked"
_KEEP_ALIVE: Final = b"Connection: keep-alive"
_OPTIONS: Final = {False: frozenset[bytes](), True: frozenset({b"keep-alive"})}

V = TypeVar("V")


class ResponseReader:
    """Reads the response heads of one API server."""

    def __init__(self) -> None:
        self._starts: dict[bytes, tuple[int, bytes]] = {}
        self._lines: dict[bytes, bytes] = {}

    def read(self, head: bytes) -> ResponseHead:
        """Read a whole response head, empty line included; raises ``UpstreamMalformed``."""
        lines = head[: -len(END)].split(b"\r\n")
        if len(lines) > MOST:
            return parse_response(head)
        start = self._starts.get(lines[0])
        if start is None:
            return self._read_new(head, lines)
        known, passing = self._lines, []
        length: int | None = None
        chunked = kept = False
        for line in lines[1:]:
            if (passed := known.get(line)) is not None:
                passing.append(passed)
            elif length is None and (found := _LENGTH.fullmatch(line)) is not None:
                length = int(found[1])
                passing.append(line + b"\r\n")
            elif line == _CHUNKED and not chunked:
                chunked = True
            elif line == _KEEP_ALIVE:
                kept = True
            elif _AUDIT_ID.fullmatch(line) is None:
                return self._read_new(head, lines)
        if chunked and length is not None:
            return self._read_new(head, lines)
        status, text = start
        return ResponseHead(status, text, True, passing, _OPTIONS[kept], b"", length, chunked)

    def _read_new(self, head: bytes, lines: list[bytes]) -> ResponseHead:
        read = parse_response(head)
        status, text = read.status, read.status_text
        always = status >= 200 and status != 204  # where a length is no matter of the status
        if always and lines[0] == b"HTTP/1.1 %d %s" % (status, text):
            _keep(self._starts, lines[0], (status, text))
        for passed in read.passing:
            if passed.partition(b":")[0].lower() in _NAMES:
                _keep(self._lines, passed.removesuffix(b"\r\n"), passed)
        return read


def _keep(remembered: dict[bytes, V], line: bytes, meaning: V) -> None:
    """Remember one line more, within bounds; what is remembered is of no use after a while."""
    if len(line) <= LONGEST:
        if len(remembered) >= LINES:
            remembered.clear()
        remembered[line] = meaning
