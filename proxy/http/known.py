"""Heads that were seen before: a client sends the same header block with request after request.

What such a block says is then found instead of read anew, and what goes upstream for it is written
and looked at once; so it is with request lines, which many clients send. Nothing that depends on
the time, or on what may change, is found here: whose token it is, whether it still holds, who is
kept out and what limits say is asked for each request. What that bought is in
docs/performance-profile.md. A block that is new costs more than reading it does; those that are
another's each time, with a ``traceparent``, are looked up in vain but not remembered.

What must stay true:

1. A block is found by a SHA-256 of all its bytes behind a secret that lives and dies with the
   process, and neither the token in it nor a dropped header (a cookie) is kept here; as in
   ``authn.cache``. Nobody sees such a hash, so what an HMAC would add is of no use here, and it
   takes longer. A connection keeps the last block that came on it until it watches something,
   is tunnelled or closes: to compare the next with that takes less still (``read_again``).
2. Only blocks are kept that say nothing but who asks and what passes: no body, no upgrade, no
   expectation, nothing that is refused. All else is read by llhttp, every time.
3. A request line that is anything but plain ASCII in origin-form goes to llhttp with the whole
   head; a test holds the pattern against llhttp. A long one, which may hold a token, is not kept.
4. What was looked at before it left is sent again as the very same bytes, fields only for the same
   identity and credential.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from functools import lru_cache, partial
from typing import Final

from proxy import requestinfo
from proxy.headers import RequestHeaders
from proxy.http.head import START_LINES, RequestHead, parse_request, write_start
from proxy.impersonation import Impersonation, verify_lines
from proxy.limits import DEFAULTS
from proxy.speaker import OnBehalf, PassedThrough

LINES: Final = 1024  # request lines
LONGEST_LINE: Final = 256  # bytes of one; see requestinfo.resolve
GENERATION: Final = 512  # blocks, of two; some 2 KiB a block; a connection keeps its last besides
MOST_FIELDS: Final = 32  # of a block that pass
LONGEST: Final = 4096  # bytes of a block, and of what is sent for it
# A part of what llhttp takes for a request line, and RFC 9112 does.
_LINE: Final = re.compile(rb"(GET|HEAD|POST|PUT|PATCH|DELETE|OPTIONS) (/[!\"$-~]*) HTTP/1\.1\r\n")
_TRACED: Final = b"raceparent"  # either spelling; any other is merely kept in vain


class Line:
    """What one request line says. ``start`` is what goes upstream for it, looked at already."""

    __slots__ = ("info", "kind", "method", "start", "target")

    def __init__(self, method: bytes, target: bytes, authority: bytes) -> None:
        self.method, self.target = method, target
        self.info = requestinfo.resolve(method, target)
        self.kind = requestinfo.kind(self.info, upgrade=False)
        self.start = write_start(method, target, authority)
        verify_lines(self.start, START_LINES)


def _read_line(line: bytes, *, authority: bytes) -> Line | None:
    """Read a request line, line end included; None for one that llhttp must look at."""
    match = _LINE.fullmatch(line)
    return Line(match[1], match[2], authority) if match else None


class Known:
    """What one header block says. ``token_key`` is for the gate to keep, ``b""`` until it has."""

    __slots__ = (
        "_authorization",
        "_credential",
        "_fields",
        "_forwarded_for",
        "_identity",
        "_options",
        "_passing",
        "_user_agent",
        "token_key",
    )

    def __init__(self, head: RequestHead, block: bytes) -> None:
        begin = block.index(head.authorization[0])
        self.token_key = b""
        self._authorization = slice(begin, begin + len(head.authorization[0]))
        self._options = head.options
        self._passing = head.passing
        self._forwarded_for = head.forwarded_for
        self._user_agent = head.user_agent
        self._identity: Impersonation | None = None
        self._credential = self._fields = b""

    def head(self, line: Line, block: bytes) -> RequestHead:
        """Return what ``parse_request`` would for a request line and this block."""
        return RequestHead(
            line.method,
            line.target,
            True,
            self._passing,
            (block[self._authorization],),
            options=self._options,
            forwarded_for=self._forwarded_for,
            user_agent=self._user_agent,
            known=self,
            line=line,
        )

    def sent(self, identity: Impersonation | PassedThrough, credential: bytes) -> bytes:
        """Return the fields that were looked at and sent on behalf of the same, if any were."""
        same = self._identity is identity and self._credential == credential
        return self._fields if same else b""

    def remember_sent(self, speaker: OnBehalf, fields: bytes) -> None:
        """``fields`` have been looked at as part of a whole head."""
        if len(fields) <= LONGEST:
            self._identity, self._credential = speaker.identity, speaker.credential
            self._fields = fields


class HeadReader:
    """Reads request heads; see ``parse_request`` for what comes of it."""

    def __init__(
        self, headers: RequestHeaders, authority: bytes, max_fields: int = DEFAULTS.head_fields
    ) -> None:
        self._headers, self._max_fields = headers, max_fields
        self._new_line = partial(_read_line, authority=authority)
        self._known_line = lru_cache(LINES)(self._new_line)
        self._keyed = hashlib.sha256(secrets.token_bytes(64))  # as long as what it takes at once
        self._young: dict[bytes, Known] = {}
        self._old: dict[bytes, Known] = {}  # goes when the young have become as many

    def read(self, head: bytes) -> RequestHead:
        """Read a whole request head, empty line included; raises a ``RequestError``."""
        end = head.find(b"\r\n") + 2
        block = head[end:]
        if len(block) > LONGEST:
            return parse_request(head, self._headers, self._max_fields)
        sought = self._keyed.copy()
        sought.update(block)
        key = sought.digest()
        known = self._young.get(key)
        if known is None:
            known = self._old.get(key)
            if known is None:
                return self._read_new(head, end, key)
            self._keep(key, known)
        line = (self._known_line if end <= LONGEST_LINE else self._new_line)(head[:end])
        if line is None:
            return parse_request(head, self._headers, self._max_fields)
        return known.head(line, block)

    def read_again(self, head: bytes, known: Known, block: bytes) -> RequestHead | None:
        """Read a head that is one request line and then ``block``, whose meaning is ``known``.

        None if it is anything else, or its line is long or not plain: ``read`` must look at it.
        """
        end = len(head) - len(block)
        if end > LONGEST_LINE or not head.endswith(block) or head.find(b"\r\n") != end - 2:
            return None
        line = self._known_line(head[:end])
        return None if line is None else known.head(line, block)

    def _read_new(self, head: bytes, end: int, key: bytes) -> RequestHead:
        """Read a head whose block, from ``end`` on, is not known; only then make anything of it."""
        read = parse_request(head, self._headers, self._max_fields)
        block = head[end:]
        if _is_plain(read) and _TRACED not in block and _LINE.fullmatch(head, 0, end):
            read.known = Known(read, block)
            self._keep(key, read.known)
            if end <= LONGEST_LINE:
                read.line = self._known_line(head[:end])
        return read

    def _keep(self, key: bytes, known: Known) -> None:
        if len(self._young) >= GENERATION:
            self._old, self._young = self._young, {}
        self._young[key] = known


def _is_plain(head: RequestHead) -> bool:
    """Say whether a head says no more than who asks, for what, and which headers pass."""
    return (
        len(head.passing) <= MOST_FIELDS
        and len(head.authorization) == 1
        and bool(head.authorization[0])
        and not head.has_body
        and head.content_length is None
        and head.upgrade is None
        and not head.expects_continue
        and not head.websocket_protocols
        and not head.impersonates
    )
