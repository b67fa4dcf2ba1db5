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
from itertools import filterfalse
from typing import Final

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


class ResponseReader:
    """Reads the response heads of one API server."""

    def __init__(self) -> None:
        self._starts: dict[bytes, int] = {}  # the status of each
        self._lines: set[bytes] = set()
        self._is_known = self._lines.__contains__

    def read(self, head: bytes) -> ResponseHead:
        """Read a whole response head, empty line included; raises ``UpstreamMalformed``."""
        start, *lines = head[: -len(END)].split(b"\r\n")
        status = self._starts.get(start)
        if status is None or len(lines) >= MOST:
            return self._read_new(head, start)
        length: int | None = None
        chunked = kept = False
        for line in list(filterfalse(self._is_known, lines)):
            if length is None and (found := _LENGTH.fullmatch(line)) is not None:
                length = int(found[1])
                continue
            if line == _CHUNKED and not chunked:
                chunked = True
            elif line == _KEEP_ALIVE:
                kept = True
            elif _AUDIT_ID.fullmatch(line) is None:
                return self._read_new(head, start)
            lines.remove(line)
        if chunked and length is not None:
            return self._read_new(head, start)
        return ResponseHead(status, start, True, lines, _OPTIONS[kept], b"", length, chunked)

    def _read_new(self, head: bytes, start: bytes) -> ResponseHead:
        read = parse_response(head)
        always = read.status >= 200 and read.status != 204  # a length is no matter of the status
        if always and start == read.line and len(start) <= LONGEST:
            if len(self._starts) >= LINES:
                self._starts.clear()
            self._starts[start] = read.status
        if len(read.passing) < MOST:
            for line in read.passing:
                if len(line) <= LONGEST and line.partition(b":")[0].lower() in _NAMES:
                    self._remember(line)
        return read

    def _remember(self, line: bytes) -> None:
        """Remember one line more, within bounds; what is remembered is of no use after a while."""
        if len(self._lines) >= LINES:
            self._lines.clear()
        self._lines.add(line)
