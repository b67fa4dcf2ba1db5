"""Fuzz targets for what comes over the wire: request heads, response heads, chunked bodies.

A request head goes the way that the listener and the exchange send it: read, admitted, written,
looked at once more. What then would leave is read by h11, which shares no code with the proxy, and
must be the same request, under exactly one identity, with nothing in it that may not pass.
"""

from __future__ import annotations

import contextlib
import re
from typing import Any, Final

import h11

from proxy.authn.authenticator import Authenticated
from proxy.authn.cache import TokenCache
from proxy.errors import MalformedRequest, ProxyError, UpstreamMalformed
from proxy.gate import Gate
from proxy.headers import RequestHeaders
from proxy.http.body import ChunkedBody, encode_chunk
from proxy.http.head import (
    END,
    MAX_RESPONSE_HEAD_BYTES,
    RequestHead,
    ResponseHead,
    parse_request,
    parse_response,
    write_response,
)
from proxy.http.known_lines import ResponseReader
from proxy.http.service import Admission
from proxy.impersonation import Impersonation, Policy
from proxy.requestinfo import resolve
from proxy.speaker import OnBehalf
from tests.authn.tokens import Unseen
from tests.fuzz.tokens import AUTHENTICATOR, NOW, genuine
from tests.wire import write_request

CREDENTIAL: Final = b"Bearer the-proxy-s-own"
POLICY: Final = Policy("headlamp-auth-proxy:authenticated")
IDENTITY: Final = [
    (b"impersonate-user", b"alice@example.com"),
    (b"impersonate-group", b"dev"),
    (b"impersonate-group", b"headlamp-auth-proxy:authenticated"),
]
# As the contract has it, and not as proxy/headers.py says it.
MAY_LEAVE: Final = frozenset(
    b"host authorization audit-id impersonate-user impersonate-group connection upgrade "
    b"content-length transfer-encoding accept accept-encoding accept-language cache-control "
    b"content-type content-encoding range user-agent origin sec-websocket-key "
    b"sec-websocket-version sec-websocket-protocol sec-websocket-extensions "
    b"x-stream-protocol-version traceparent tracestate".split()
)
MAY_LEAVE_PREFIXES: Final = (b"if-", b"kubectl-")
MAY_NOT_COME_BACK: Final = frozenset(
    b"set-cookie set-cookie2 keep-alive proxy-authenticate proxy-authorization te trailer "
    b"proxy-connection upgrade".split()
)
AUDIT_ID: Final = b"0f8fad5b-d9cb-469f-a165-70867728950e"
HEADERS: Final = RequestHeaders()
KNOWN: Final = ResponseReader()


class _Everybody:
    """An authenticator to whom every token is alice's; tokens are for other targets."""

    def authenticate(self, _token: bytes, now: float, *, trace: object = None) -> Authenticated:
        return AUTHENTICATOR.authenticate(genuine().encode(), now)


def request(data: bytes) -> None:
    """Read, admit and write a request head."""
    end = data.find(END)
    raw = data[: end + len(END)] if end >= 0 else data
    try:
        head = parse_request(raw, HEADERS)
        cache: TokenCache[Any] = TokenCache()
        gate = Gate(_Everybody(), cache, POLICY, Unseen())  # type: ignore[arg-type]
        admission = gate.admit(head, NOW)
    except ProxyError:
        return
    assert isinstance(admission, Admission)
    assert isinstance(admission.identity, Impersonation)
    assert end >= 0, "a head without an end was read"
    resolve(head.method, head.target)
    if admission.websocket_protocols is not None:
        head.websocket_protocols = (admission.websocket_protocols,)
    speaker = OnBehalf(b"Authorization: " + CREDENTIAL + b"\r\n", admission.identity)
    written = write_request(
        head,
        authority=b"10.96.0.1:443",
        credential=speaker.credential,
        identity=speaker.header,
        audit_id=AUDIT_ID.decode(),
    )
    speaker.verify(written)
    assert raw.startswith(b"%s %s HTTP/1." % (head.method, head.target))
    _check_outgoing(written, head)


def _check_outgoing(written: bytes, head: RequestHead) -> None:
    server = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
    server.receive_data(written)
    seen = server.next_event()
    assert isinstance(seen, h11.Request), seen
    assert (seen.method, seen.target) == (head.method, head.target)
    fields = list(seen.headers)
    names = [name for name, _ in fields]
    assert all(n in MAY_LEAVE or n.startswith(MAY_LEAVE_PREFIXES) for n in names), names
    assert [f for f in fields if f[0].startswith(b"impersonate")] == IDENTITY
    assert [v for n, v in fields if n == b"authorization"] == [CREDENTIAL]
    assert [v for n, v in fields if n == b"audit-id"] == [AUDIT_ID]
    assert [v for n, v in fields if n == b"host"] == [b"10.96.0.1:443"]
    assert names.count(b"content-length") + names.count(b"transfer-encoding") <= 1
    assert (b"transfer-encoding", b"chunked") in fields or not head.chunked
    upgrade = [(b"connection", b"Upgrade"), (b"upgrade", head.upgrade)] if head.upgrade else []
    assert [f for f in fields if f[0] in (b"connection", b"upgrade")] == upgrade
    assert head.upgrade in (None, b"websocket", b"SPDY/3.1")
    protocols = b",".join(v for n, v in fields if n == b"sec-websocket-protocol")
    assert not re.search(rb"base64url\.bearer\.authorization\.k8s\.io\.[^, \t]", protocols)


def response(data: bytes) -> None:
    """Read a response head, anew and as one that may be known, and write it for the client."""
    end = data.find(END)
    if end < 0 or end > MAX_RESPONSE_HEAD_BYTES:
        return  # the connection to the API server waits for more, or gives up
    raw = data[: end + len(END)]
    try:
        head: ResponseHead | None = parse_response(raw)
    except UpstreamMalformed:
        head = None
    for _ in range(2):
        try:
            known: ResponseHead | None = KNOWN.read(raw)
        except UpstreamMalformed:
            known = None
        assert known == head
    if head is None:
        return
    if not 200 <= head.status <= 999:
        return
    written = write_response(head, b"")
    assert written.find(END) == len(written) - len(END), "a second head hides inside"
    assert written.count(b"\r\n") == len(head.passing) + 2
    assert written.count(b"\n") == written.count(b"\r") == written.count(b"\r\n")
    names = [line.partition(b":")[0].lower() for line in head.passing]
    assert not MAY_NOT_COME_BACK.intersection(names)
    assert b"connection" not in names
    assert b"transfer-encoding" not in names
    assert not (head.chunked and head.content_length is not None)
    length = head.content_length is not None and head.status != 204
    assert names.count(b"content-length") == length


def chunked(data: bytes) -> None:
    """Decode a chunked body whole and in pieces; the first byte says how long those are."""
    size, wire = (data[0] if data else 0) % 32 + 1, data[1:]
    whole = _decoded([wire])
    assert whole == _decoded([wire[i : i + size] for i in range(0, len(wire), size)])
    if whole is None or whole[1] is None:
        return
    content, tail = whole[0], whole[1]
    assert wire.endswith(tail)
    again = encode_chunk([content]) + b"0\r\n\r\n" + tail
    assert _decoded([again]) == whole
    with contextlib.suppress(h11.RemoteProtocolError):  # it knows no obs-text in extensions
        assert _as_h11_reads_it(wire) == content


def _decoded(pieces: list[bytes]) -> tuple[bytes, bytes | None] | None:
    """Return content, and what follows the body if it has ended; None for a malformed one."""
    body, content, tail = ChunkedBody(MalformedRequest), b"", b""
    for piece in pieces:
        if body.done:
            tail += piece
            continue
        chunk = body.is_chunk(piece)
        try:
            parts, rest = body.feed(piece)
        except MalformedRequest:
            assert not chunk
            return None
        assert not chunk or encode_chunk(parts) == piece
        content += b"".join(parts)
        tail += rest
    return content, (tail if body.done else None)


def _as_h11_reads_it(wire: bytes) -> bytes:
    server = h11.Connection(h11.SERVER)
    server.receive_data(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + wire)
    content = b""
    while not isinstance(event := server.next_event(), h11.EndOfMessage):
        assert not isinstance(event, type), "h11 waits for more of a body that has ended"
        if isinstance(event, h11.Data):
            content += bytes(event.data)
    return content
