"""Request and response heads: read with llhttp in its strict mode, one head to a parser.

The connection finds the end of a head itself and hands over exactly those bytes, so a parser
never sees a body, never carries state from one message to the next, and a pipelined request
waits unparsed until its turn. llhttp refuses what could be read in two ways (bare CR or LF,
folded lines, blanks around colons, conflicting lengths ...); what it lets through and RFC 9112
does not is refused here: a request must be, to the byte, ``method SP target SP version CRLF``.

Pure: bytes in, values out, errors of ``proxy.errors`` raised.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import httptools

from proxy.errors import (
    HeadTooLarge,
    MalformedRequest,
    MethodNotAllowed,
    ProxyError,
    TargetNotOriginForm,
    UpgradeNotSupported,
    UpstreamMalformed,
)
from proxy.headers import (
    BEARER_PROTOCOL_PREFIX,
    Field,
    RequestHeaders,
    ResponseHeaders,
    ResponseRole,
    Role,
    connection_options,
)
from proxy.limits import DEFAULTS

if TYPE_CHECKING:
    from proxy.http.known import Known, Line

END: Final = b"\r\n\r\n"
MAX_MEMBERS: Final = 100  # of Connection and Sec-WebSocket-Protocol, which are taken apart
MAX_RESPONSE_HEAD_BYTES: Final = 256 * 1024
START_LINES: Final = 2  # of an outgoing head: request line, Host

METHODS: Final = frozenset({b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS"})
# Methods that may be sent again when a reused connection turns out to be dead (RFC 9110, 9.2.2);
# narrower than the RFC: PUT and DELETE are idempotent, but admission webhooks need not be.
REPEATABLE: Final = frozenset({b"GET", b"HEAD", b"OPTIONS"})
_UPGRADES: Final = {b"websocket": b"websocket", b"spdy/3.1": b"SPDY/3.1"}
_VERSIONS: Final = {b"HTTP/1.1": True, b"HTTP/1.0": False}
# Naming an enum's member costs as much as finding a role (0.2 us, Python 3.11).
_DROP, _PASS, _RESPONSE_PASS = Role.DROP, Role.PASS, ResponseRole.PASS
_METHOD_LINE: Final = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+) [^ ]+ HTTP/1\.[01]")


@dataclass(slots=True)
class RequestHead:
    """A request head, sorted by what each part is for.

    ``passing`` are the headers that may go upstream, in order. ``content_length`` is None where
    there is none; a request has a body if it is positive or ``chunked`` is set. ``upgrade`` is
    ``b"websocket"``, ``b"SPDY/3.1"`` or None. ``known`` is what was kept of the same header block,
    and ``line`` of the same request line (``HeadReader``).
    """

    method: bytes
    target: bytes
    http11: bool
    passing: tuple[Field, ...] = ()
    authorization: tuple[bytes, ...] = field(default=(), repr=False)
    websocket_protocols: tuple[bytes, ...] = field(default=(), repr=False)
    options: frozenset[bytes] = frozenset()
    upgrade: bytes | None = None
    content_length: int | None = None
    chunked: bool = False
    expects_continue: bool = False
    impersonation: tuple[Field, ...] = ()
    forwarded_for: tuple[bytes, ...] = ()
    user_agent: bytes = b""
    known: Known | None = field(default=None, repr=False, compare=False)
    line: Line | None = field(default=None, repr=False, compare=False)

    @property
    def impersonates(self) -> bool:
        """Whether any header looks like impersonation, however it is spelt."""
        return bool(self.impersonation)

    @property
    def has_body(self) -> bool:
        return self.chunked or bool(self.content_length)

    @property
    def keep_alive(self) -> bool:
        return self.http11 and b"close" not in self.options

    @property
    def repeatable(self) -> bool:
        return self.method in REPEATABLE and not self.has_body

    def header(self, name: bytes) -> bytes:
        """Return the first passing header called ``name`` (lower-case), empty if there is none."""
        for known, value in self.passing:
            if known.lower() == name:
                return value
        return b""

    def replace(self, name: bytes, value: bytes) -> None:
        """Have ``name`` (lower-case) pass with this value, whatever the client's was, if any.

        The head is then like no other that was read.
        """
        others = (field for field in self.passing if field[0].lower() != name)
        self.passing, self.known, self.line = (*others, (name, value)), None, None


class _Fields:
    """The callbacks of an httptools parser: collects fields, refuses too many."""

    __slots__ = ("complete", "fields", "target")

    def __init__(self) -> None:
        self.fields: list[Field] = []
        self.target = b""
        self.complete = False

    def on_url(self, url: bytes) -> None:
        self.target = url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields.append((name, value))

    def on_headers_complete(self) -> None:
        self.complete = True


def parse_request(
    head: bytes, headers: RequestHeaders, max_fields: int = DEFAULTS.head_fields
) -> RequestHead:
    """Read a whole request head, empty line included; raises a ``RequestError``."""
    line_end = head.find(b"\r\n")
    collected = _Fields()
    parser = httptools.HttpRequestParser(collected)
    try:
        parser.feed_data(head)
    except httptools.HttpParserUpgrade:
        pass
    except httptools.HttpParserError as error:
        # A method that llhttp does not know, or knows from another protocol.
        line = _METHOD_LINE.fullmatch(head, 0, line_end)
        if line is not None and line[1] not in METHODS:
            raise MethodNotAllowed from error
        raise MalformedRequest(str(error)) from error
    method, target = parser.get_method(), collected.target
    version = head[line_end - 8 : line_end]
    if not collected.complete or head[:line_end] != b"%s %s %s" % (method, target, version):
        raise MalformedRequest("the request line is not 'method target version'")
    if (http11 := _VERSIONS.get(version)) is None:
        raise MalformedRequest("only HTTP/1.1 and HTTP/1.0 are spoken here")
    if method not in METHODS:
        raise MethodNotAllowed
    if target[:1] != b"/" or b"#" in target:
        raise TargetNotOriginForm
    if len(collected.fields) > max_fields:
        raise HeadTooLarge(f"more than {max_fields} header fields")
    return _sorted_out(RequestHead(method, target, http11), collected.fields, headers)


def _sorted_out(head: RequestHead, fields: list[Field], headers: RequestHeaders) -> RequestHead:
    """Give each field its place by its role; the one look at every name."""
    passing: list[Field] = []
    impersonation: list[Field] = []
    authorization: list[bytes] = []
    protocols: list[bytes] = []
    forwarded_for: list[bytes] = []
    connection: list[bytes] = []
    upgrade: list[bytes] = []
    encodings: list[bytes] = []
    hosts = 0
    for name, raw in fields:
        role = headers[name]
        if role is _DROP:
            continue
        value = raw.rstrip(b" \t")
        if role is _PASS:
            passing.append((name, value))
        elif role is Role.HOST:
            hosts += 1
        elif role is Role.AUTHORIZATION:
            authorization.append(value)
        elif role is Role.CONNECTION:
            connection.append(value)
        elif role is Role.CONTENT_LENGTH:
            head.content_length = _content_length(value)
        elif role is Role.TRANSFER_ENCODING:
            encodings.append(value)
        elif role is Role.UPGRADE:
            upgrade.append(value)
        elif role is Role.WEBSOCKET_PROTOCOL:
            protocols.append(value)
        elif role is Role.IMPERSONATION:
            impersonation.append((name, value))
        elif role is Role.FORWARDED_FOR:
            forwarded_for.append(value)
        elif role is Role.EXPECT:
            head.expects_continue = head.http11 and value.lower() == b"100-continue"
    if hosts != 1 and (head.http11 or hosts):
        raise MalformedRequest(f"{hosts} Host headers; exactly one is needed")
    if connection or protocols:
        _check_members(connection, protocols)
    if connection:
        head.options = connection_options(connection)
        passing = [f for f in passing if f[0].lower() not in head.options]
    if encodings:
        _set_chunked(head, encodings)
    if upgrade and b"upgrade" in head.options and head.http11:
        head.upgrade = _upgrade(head, upgrade)
    if b"sec-websocket-protocol" in head.options:
        protocols = []
    if protocols and head.upgrade != b"websocket":
        # Nobody will look for a token in these, so none may be in them.
        protocols = [value for value in protocols if BEARER_PROTOCOL_PREFIX not in value]
    head.passing, head.authorization = tuple(passing), tuple(authorization)
    head.websocket_protocols, head.impersonation = tuple(protocols), tuple(impersonation)
    head.forwarded_for = tuple(forwarded_for)
    head.user_agent = head.header(b"user-agent")
    return head


def _check_members(*lists: list[bytes]) -> None:
    """Refuse longer lists than anybody needs: each comma of 64 KiB would be a member to look at."""
    if any(sum(value.count(b",") + 1 for value in values) > MAX_MEMBERS for values in lists):
        raise HeadTooLarge(f"a list of more than {MAX_MEMBERS} members")


def _content_length(value: bytes) -> int:
    if not value.isdigit() or len(value) > 18:
        raise MalformedRequest("Content-Length is not a length")
    return int(value)


def _set_chunked(head: RequestHead, encodings: list[bytes]) -> None:
    """Accept exactly ``chunked``, and only where nothing else says how long the body is."""
    if len(encodings) != 1 or encodings[0].lower() != b"chunked":
        raise MalformedRequest("the only transfer coding spoken here is chunked")
    if head.content_length is not None or not head.http11:
        raise MalformedRequest("Transfer-Encoding conflicts with Content-Length or HTTP/1.0")
    head.chunked = True


def _upgrade(head: RequestHead, values: list[bytes]) -> bytes:
    protocol = _UPGRADES.get(values[0].lower()) if len(values) == 1 else None
    if protocol is None:
        raise UpgradeNotSupported
    if head.has_body:
        raise MalformedRequest("a request that asks for an upgrade must not have a body")
    return protocol


def write_start(method: bytes, target: bytes, authority: bytes) -> bytes:
    """Write the lines in front of the fields: ``START_LINES`` lines."""
    return b"%s %s HTTP/1.1\r\nHost: %s\r\n" % (method, target, authority)


def write_fields(head: RequestHead, *, credential: bytes, identity: bytes) -> bytes:
    """Write the fields, but for ``Audit-Id``, which is another's each time, and the empty line.

    ``credential`` and ``identity`` are whole header lines. The body's framing is the client's
    length or our own chunking; ``Connection`` is sent with an upgrade only.
    """
    parts = [credential, identity]
    parts += [b"%s: %s\r\n" % passing for passing in head.passing]
    parts += [b"Sec-WebSocket-Protocol: %s\r\n" % value for value in head.websocket_protocols]
    if head.chunked:
        parts.append(b"Transfer-Encoding: chunked\r\n")
    elif head.content_length is not None:
        parts.append(b"Content-Length: %d\r\n" % head.content_length)
    if head.upgrade:
        parts.append(b"Connection: Upgrade\r\nUpgrade: %s\r\n" % head.upgrade)
    parts.append(b"\r\n")
    return b"".join(parts)


_RESPONSE_HEADERS: Final = ResponseHeaders()
_NO_OPTIONS: Final[frozenset[bytes]] = frozenset()


@dataclass(slots=True)
class ResponseHead:
    """A response head, which many answers may share, so nobody may change it.

    ``content_length`` and ``chunked`` are as the head says, whatever the request was: what body
    there is, is decided by ``body.response_body``. ``line`` is the status line that goes to the
    client, and ``passing`` are the lines behind it, both without their ends; ``lines`` are all of
    these, with them. ``keep_alive`` says whether its connection may serve another request.
    """

    status: int
    line: bytes
    http11: bool
    passing: tuple[bytes, ...]
    options: frozenset[bytes]
    upgrade: bytes
    content_length: int | None
    chunked: bool
    lines: bytes = field(init=False, repr=False)
    keep_alive: bool = field(init=False)

    def __post_init__(self) -> None:
        self.lines = b"\r\n".join((self.line, *self.passing, b""))
        self.keep_alive = self.http11 and b"close" not in self.options


class _StatusFields(_Fields):
    __slots__ = ("status_text",)

    def __init__(self) -> None:
        super().__init__()
        self.status_text = b""

    def on_status(self, text: bytes) -> None:
        self.status_text = text


def parse_response(head: bytes) -> ResponseHead:
    """Read a whole response head, empty line included; raises ``UpstreamMalformed``."""
    collected = _StatusFields()
    parser = httptools.HttpResponseParser(collected)
    try:
        parser.feed_data(head)
    except httptools.HttpParserUpgrade:
        pass
    except httptools.HttpParserError as error:
        raise UpstreamMalformed(str(error)) from error
    if not collected.complete or head[:7] != b"HTTP/1.":
        raise UpstreamMalformed("not an HTTP/1 response")
    status = parser.get_status_code()
    has_length = status >= 200 and status != 204  # others have none (RFC 9110, section 8.6)
    passing: list[Field] = []
    connection: list[bytes] = []
    encodings: list[bytes] = []
    upgrade = b""
    content_length: int | None = None
    for passed in collected.fields:
        name, value = passed
        role = _RESPONSE_HEADERS[name]
        if role is _RESPONSE_PASS:
            passing.append(passed)
        elif role is ResponseRole.CONTENT_LENGTH:
            content_length = _response_length(value.rstrip(b" \t"))
            if has_length:
                passing.append(passed)
        elif role is ResponseRole.CONNECTION:
            connection.append(value)
        elif role is ResponseRole.TRANSFER_ENCODING:
            encodings.append(value.strip(b" \t").lower())
        elif role is ResponseRole.UPGRADE:
            upgrade = value.strip(b" \t")
    if encodings and encodings != [b"chunked"]:
        raise UpstreamMalformed("a transfer coding other than chunked")
    options = connection_options(connection) if connection else _NO_OPTIONS
    if options:
        dropped = options - {b"content-length"}
        passing = [f for f in passing if f[0].lower() not in dropped]
    return ResponseHead(
        status,
        b"HTTP/1.1 %d %s" % (status, collected.status_text),
        head[7:8] == b"1",
        tuple([b"%s: %s" % field for field in passing]),
        options,
        upgrade,
        content_length,
        bool(encodings),
    )


def _response_length(value: bytes) -> int:
    try:
        return _content_length(value)
    except ProxyError as error:
        raise UpstreamMalformed(str(error)) from error


def write_response(head: ResponseHead, framing: bytes) -> bytes:
    """Write the head that goes to the client; ``framing`` are whole header lines of ours."""
    return b"".join((head.lines, framing, b"\r\n"))
