"""Response heads that were seen before, and lines of them: the API server says most each time.

A head that differs from an earlier one in its ``Audit-Id`` alone is that one, as far as we go: on a
busy proxy all answers of a second that are of one length have the same. One of nothing but lines
that are known, and of the few whose value is another each time, is put together from what is
remembered; any other is read by llhttp, and its lines are remembered then. The first takes a
seventh of that, the second half of it (``python -m bench.parts``).

What must stay true:

1. The outcome is that of ``parse_response`` on the same bytes, for every head.
2. A line is remembered only of a field that llhttp has read, and only if what it says does not
   depend on the lines around it.
3. Only headers are remembered that carry no credential: those that the API server itself sends, as
   far as they are the same with many answers, whoever may have sent them.
4. What a hostile answer costs stays in proportion: of a head of many lines none is looked up.
5. A whole head is remembered only if it was put together from lines. Only a line is left out of
   what it is found by, never a part of one.
"""

from __future__ import annotations

import re
from itertools import filterfalse
from typing import Final

from proxy.http.head import END, ResponseHead, parse_response

LINES: Final = 512  # that are remembered at most, of either kind
LONGEST: Final = 256  # bytes of such a line
MOST: Final = 64  # lines of a head that is looked up; the API server's own have some ten
HEADS: Final = 128  # whole ones that are remembered at most
LONGEST_HEAD: Final = 2048  # bytes of such a head
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
_ID_LINE: Final = b"\r\nAudit-Id: "  # the first behind the status line, as Go sorts them
_ID_END: Final = len(_ID_LINE) + len("01234567-89ab-cdef-0123-456789abcdef")
_LENGTH: Final = re.compile(rb"Content-Length: ([0-9]{1,18})")
_CHUNKED: Final = b"Transfer-Encoding: chunked"
_KEEP_ALIVE: Final = b"Connection: keep-alive"
_OPTIONS: Final = {False: frozenset[bytes](), True: frozenset({b"keep-alive"})}


class ResponseReader:
    """Reads the response heads of one API server."""

    def __init__(self) -> None:
        self._heads: dict[bytes, ResponseHead] = {}  # by all their bytes but the Audit-Id's
        self._starts: dict[bytes, int] = {}  # the status of each
        self._lines: set[bytes] = set()
        self._is_known = self._lines.__contains__

    def read(self, head: bytes) -> ResponseHead:
        """Read a whole response head, empty line included; raises ``UpstreamMalformed``."""
        rest = _without_id(head)
        known = self._heads.get(rest)
        return self._read_lines(head, rest) if known is None else known

    def _read_lines(self, head: bytes, rest: bytes) -> ResponseHead:
        """Read ``head`` line by line, and remember it as ``rest`` where that is all it says."""
        start, *lines = rest[: -len(END)].split(b"\r\n")
        status = self._starts.get(start)
        if status is None or len(lines) >= MOST:
            return self._read_new(head, start)
        length: int | None = None
        chunked = kept = unlike = False
        for line in list(filterfalse(self._is_known, lines)):
            if length is None and (found := _LENGTH.fullmatch(line)) is not None:
                length = int(found[1])
                continue
            if line == _CHUNKED and not chunked:
                chunked = True
            elif line == _KEEP_ALIVE:
                kept = True
            elif _AUDIT_ID.fullmatch(line) is not None:
                unlike = True
            else:
                return self._read_new(head, start)
            lines.remove(line)
        if chunked and length is not None:
            return self._read_new(head, start)
        passing, options = tuple(lines), _OPTIONS[kept]
        read = ResponseHead(status, start, True, passing, options, b"", length, chunked)
        if not unlike and len(rest) <= LONGEST_HEAD:
            if len(self._heads) >= HEADS:
                self._heads.clear()
            self._heads[rest] = read
        return read

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


def _without_id(head: bytes) -> bytes:
    """Return ``head`` without the line that says the request's ID, if that is the first."""
    begin = head.find(b"\r\n")
    end = begin + _ID_END
    if not head.startswith(_ID_LINE, begin) or not head.startswith(b"\r\n", end):
        return head
    audit_id = head[begin + len(_ID_LINE) : end]
    return head[:begin] + head[end:] if audit_id.replace(b"-", b"").isalnum() else head
