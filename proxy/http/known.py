"""Header blocks that were seen before: a client sends the same one with request after request.

What such a block says is then found instead of read anew, and what goes upstream for it is written
and looked at once. Nothing that depends on the time, or on what may change, is found here: whose
token it is, whether it still holds, who is kept out and what limits say is asked for each request.
That makes 17 us of 93 (``python -m bench.path``). A block that is new costs up to 2.6 times what
reading it does; those that are another's each time, with a ``traceparent``, are looked up in vain
but not remembered.

What must stay true:

1. A block is found by an HMAC of all its bytes, under a key that lives and dies with the process,
   and neither the token in it nor a dropped header (a cookie) is kept; as in ``authn.cache``.
2. Only blocks are kept that say nothing but who asks and what passes: no body, no upgrade, no
   expectation, nothing that is refused. All else is read by llhttp, every time.
3. The request line is never known. One that is anything but plain ASCII in origin-form goes to
   llhttp with the whole head; a test holds the pattern against llhttp.
4. What was looked at before it left is sent again as the very same bytes, and only for the same
   identity and credential; what is new in front of it is looked at again.
"""

from __future__ import annotations

import hmac
import re
import secrets
from typing import Final

from proxy.headers import Field, RequestHeaders
from proxy.http.head import RequestHead, parse_request
from proxy.impersonation import Impersonation
from proxy.limits import DEFAULTS
from proxy.speaker import OnBehalf, Speaker

GENERATION: Final = 512  # blocks; there are at most two generations, of some 2 KiB a block
LONGEST: Final = 4096  # bytes of a block, and of what is sent for it
# A part of what llhttp takes for a request line, and RFC 9112 does.
_LINE: Final = re.compile(rb"(GET|HEAD|POST|PUT|PATCH|DELETE|OPTIONS) (/[!\"$-~]*) HTTP/1\.1\r\n")
_TRACED: Final = b"raceparent"  # either spelling; any other is merely kept in vain


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
        self._passing: list[Field] = head.passing
        self._forwarded_for = head.forwarded_for
        self._user_agent = head.user_agent
        self._identity: Impersonation | None = None
        self._credential = self._fields = b""

    def head(self, method: bytes, target: bytes, block: bytes) -> RequestHead:
        """Return what ``parse_request`` would for a request line and this block."""
        return RequestHead(
            method,
            target,
            True,
            self._passing,
            [block[self._authorization]],
            [],
            self._options,
            forwarded_for=self._forwarded_for,
            user_agent=self._user_agent,
            known=self,
        )

    def sent(self, speaker: Speaker) -> bytes:
        """Return the fields that were looked at and sent for the same speaker, if any were."""
        same = (
            isinstance(speaker, OnBehalf)
            and self._identity is speaker.identity
            and self._credential == speaker.credential
        )
        return self._fields if same else b""

    def remember_sent(self, speaker: OnBehalf, fields: bytes) -> None:
        """``fields`` have been looked at as part of a whole head."""
        if len(fields) <= LONGEST:
            self._identity, self._credential = speaker.identity, speaker.credential
            self._fields = fields


class HeadReader:
    """Reads request heads; see ``parse_request`` for what comes of it."""

    def __init__(self, headers: RequestHeaders, max_fields: int = DEFAULTS.head_fields) -> None:
        self._headers, self._max_fields = headers, max_fields
        self._secret = secrets.token_bytes(32)
        self._young: dict[bytes, Known] = {}
        self._old: dict[bytes, Known] = {}  # goes when the young have become as many

    def read(self, head: bytes) -> RequestHead:
        """Read a whole request head, empty line included; raises a ``RequestError``."""
        line = _LINE.match(head)
        if line is None or len(head) - line.end() > LONGEST:
            return parse_request(head, self._headers, self._max_fields)
        block = head[line.end() :]
        key = hmac.digest(self._secret, block, "sha256")
        known = self._young.get(key)
        if known is None:
            known = self._old.get(key)
            if known is None:
                return self._read_new(head, block, key)
            self._keep(key, known)
        method, target = line.groups()
        return known.head(method, target, block)

    def _read_new(self, head: bytes, block: bytes, key: bytes) -> RequestHead:
        read = parse_request(head, self._headers, self._max_fields)
        if _is_plain(read) and _TRACED not in block:
            read.known = Known(read, block)
            self._keep(key, read.known)
        return read

    def _keep(self, key: bytes, known: Known) -> None:
        if len(self._young) >= GENERATION:
            self._old, self._young = self._young, {}
        self._young[key] = known


def _is_plain(head: RequestHead) -> bool:
    """Say whether a head says no more than who asks, for what, and which headers pass."""
    return (
        len(head.authorization) == 1
        and bool(head.authorization[0])
        and not head.has_body
        and head.content_length is None
        and head.upgrade is None
        and not head.expects_continue
        and not head.websocket_protocols
        and not head.impersonates
    )
