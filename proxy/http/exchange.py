"""One request and its answer: the order of all that happens to it is in ``Exchange._proceed``.

An exchange belongs to one client connection and borrows one upstream connection. It owns the two
promises that matter most here. Nothing is sent upstream before the gate has said who is asking,
our credential is at hand and a connection stands; and what the API server did not finish is never
passed on as a complete answer: then the client's connection is cut instead.

``_proceed`` goes as far as it can without waiting, which for a known token and a pooled
connection is all the way; where it must wait it returns what for, and is called again after.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable
from http import HTTPStatus
from time import perf_counter, time
from typing import TYPE_CHECKING, Final

from proxy import requestinfo
from proxy.errors import (
    CredentialRejected,
    Internal,
    ProxyError,
    TooManyRequests,
    TooManyStreams,
    UpstreamMalformed,
    UpstreamReset,
    UpstreamTimeout,
)
from proxy.http import answer
from proxy.http.audit_id import new_audit_id
from proxy.http.body import (
    LAST_CHUNK,
    NOTHING,
    Body,
    answer_has_body,
    chunk_content,
    encode_chunk,
    request_body,
)
from proxy.http.head import (
    RequestHead,
    ResponseHead,
    write_fields,
    write_response,
    write_start,
)
from proxy.http.service import Admission, Page, Service, Session
from proxy.http.timer import Timer
from proxy.http.tunnel import Tunnel
from proxy.http.upstream import Owner, UpstreamConnection
from proxy.impersonation import Impersonation
from proxy.limits import Tally
from proxy.missing_rule import MissingRule, missing_rule
from proxy.speaker import OnBehalf, PassedThrough

if TYPE_CHECKING:
    from proxy.http.pool import Pool

ANSWER_TIMEOUT: Final = 75.0  # seconds from the last byte sent to the response head
_SNIFFED_BYTES: Final = 4096  # of a 403's body, to see what is missing, and to whom
# k8s.io/apiserver, endpoints/handlers/responsewriters/errors.go, forbiddenMessage; both the
# classic verb and the constrained ones of KEP-5284 ("cannot impersonate-on:..."), in JSON, YAML
# (which may fold the line) and protobuf.
_CANNOT_IMPERSONATE: Final = re.compile(rb'is forbidden: User \\?"[^"]*"\s+cannot\s+impersonate')

_log = logging.getLogger(__name__)


class Client:
    """What an exchange, and the tunnel that grows from it, ask of the connection it came on.

    ``accepted_at`` is 0 once a request has been answered on it.
    """

    __slots__ = ("accepted_at", "address", "loop", "timer", "transport")

    accepted_at: float
    address: str
    loop: asyncio.AbstractEventLoop
    timer: Timer
    transport: asyncio.Transport

    @property
    def draining(self) -> bool:
        """Whether nothing may come after this exchange."""
        raise NotImplementedError

    def send(self, data: bytes) -> None:
        """Send it to the client."""

    def join(self, tunnel: Tunnel) -> None:
        """Stop reading HTTP; from now on bytes go to ``tunnel`` as they come."""

    def cut(self) -> None:
        """End the connection so that an unfinished answer cannot be taken for a whole one."""

    def exchange_ended(self, close: bool, request_done: bool) -> None:
        """The exchange is over."""

    def update_reading(self) -> None:
        """Read from the socket only while there is somewhere to put what it gives."""


class Exchange(Owner):
    """A request from the moment its head is whole until its answer has ended, either way.

    Times are those of ``time.perf_counter`` (uvloop's own clock counts whole milliseconds), 0 where
    that point was not reached. ``status`` is what the client was sent (0: nothing), ``error`` why,
    where the proxy itself is the reason, and ``truncated`` that the answer could not be finished.
    ``missing`` is the rule for want of which the API server refused, once the answer has ended.
    ``received_at`` and ``completed_at`` are in unix seconds. ``annotations`` take whatever is found
    out on the way that its audit event is to say (keys in the form ``domain/name``).
    """

    __slots__ = (
        "_body",
        "_chunking",
        "_close",
        "_held",
        "_id_line",
        "_pool",
        "_retried",
        "_reuse",
        "_service",
        "_sniffed",
        "_tally",
        "_task",
        "_until_close",
        "_upstream",
        "_upstream_full",
        "admission",
        "annotations",
        "answered_at",
        "audit_id",
        "began_at",
        "bytes_received",
        "bytes_sent",
        "client",
        "client_left",
        "completed_at",
        "ended_at",
        "error",
        "head",
        "impersonation_forbidden",
        "info",
        "kind",
        "missing",
        "received_at",
        "request_done",
        "sent_at",
        "session",
        "status",
        "truncated",
    )

    def __init__(self, service: Service, client: Client, head: RequestHead) -> None:
        # Compiled, attributes of ours have types and parameters have none, so what these have is
        # read through ``self`` where it is read for each request.
        self._service, self.client, self.head = service, client, head
        self.audit_id = new_audit_id()
        self._id_line = b"Audit-Id: " + self.audit_id.encode() + b"\r\n"
        self.received_at = time()
        self.annotations: dict[str, str] = {}
        self.method = self.head.method
        if (line := self.head.line) is not None:
            self.info, self.kind = line.info, line.kind
        else:
            self.info = requestinfo.resolve(head.method, head.target)
            self.kind = requestinfo.kind(self.info, upgrade=head.upgrade is not None)
        self.admission: Admission | None = None
        self.session: Session | None = None
        self._body: Body = request_body(self.head.content_length, chunked=self.head.chunked)
        self.request_done = self._body is NOTHING
        self.status = 0
        self.error: ProxyError | None = None
        self.truncated = self.client_left = self.impersonation_forbidden = False
        self.missing: MissingRule | None = None
        self._sniffed: bytes | None = None  # the beginning of a 403's body
        self.bytes_received = self.bytes_sent = 0
        self.began_at = perf_counter()
        self.sent_at = self.answered_at = self.ended_at = self.completed_at = 0.0
        self._tally: Tally | None = None  # where this exchange is counted in
        self._pool = self._service.pool
        self._upstream: UpstreamConnection | None = None
        self._upstream_full = False
        self._held: list[bytes] = []  # body that came before there was anywhere to send it
        self._retried = False
        self._reuse = True  # a pooled connection will do
        self._chunking = False  # the answer is chunked towards the client
        self._until_close = False  # the answer's end is the end of the upstream connection
        self._close = False  # the client's connection ends with this exchange
        self._task: asyncio.Task[None] | None = None
        self._service.observer.begun(self)

    # the way up

    def start(self) -> None:
        """Go on as far as is possible now; called once, and again for a second attempt."""
        page, target = self._service.page, self.head.target
        if page is not None and target.startswith(page.path) and page.is_at(target):
            self._task = self.client.loop.create_task(self._show(page), name="page")
            return
        try:
            waiting_for = self._proceed()
        except ProxyError as error:
            self.refuse(error)
            return
        except Exception as error:  # noqa: BLE001 - whatever it is, a client is owed an answer
            _log.exception("[unexpected] a request could not be handled")
            self.refuse(Internal(repr(error)))
            return
        if waiting_for is not None:
            self._task = self.client.loop.create_task(self._wait(waiting_for), name="exchange")

    async def _wait(self, waiting_for: Awaitable[None] | None) -> None:
        try:
            while waiting_for is not None:
                await waiting_for
                if self.ended_at:  # in the same turn of the loop, before it could be cancelled
                    self._abandon_upstream()
                    return
                waiting_for = self._proceed()
        except ProxyError as error:
            self._refuse_late(error)
        except Exception as error:  # noqa: BLE001 - nobody else awaits this task
            _log.exception("[unexpected] a request could not be handled")
            self._refuse_late(Internal(repr(error)))

    async def _show(self, page: Page) -> None:
        """Answer with a page of our own; nothing is forwarded, and nobody is counted in."""
        try:
            document = await page.show(self.head, time())
            if self.ended_at:  # in the same turn of the loop, before it could be cancelled
                return
            self._close = self._is_last()
            answered = answer.document(
                document,
                audit_id=self.audit_id,
                method=self.method,
                close=self._close,
                now=time(),
            )
        except ProxyError as error:
            self._refuse_late(error)
        except Exception as error:  # noqa: BLE001 - nobody else awaits this task
            _log.exception("[unexpected] a page could not be made")
            self._refuse_late(Internal(repr(error)))
        else:
            self.status = HTTPStatus.OK.value
            self._send_client(answered)
            self._end()

    def _refuse_late(self, error: ProxyError) -> None:
        if not self.ended_at:
            self.refuse(error)

    def _proceed(self) -> Awaitable[None] | None:
        """Take the next steps, in this order; return what must be awaited before going on."""
        now = time()
        if self.admission is None:
            admission = self._service.gate.admit(self.head, now)
            if not isinstance(admission, Admission):
                return self._admit(admission)
            self.admission = admission
        if self._tally is None:
            self._enter(self.admission)
            if (opening := self._open_session()) is not None:
                return opening
        identity = self.admission.identity
        if isinstance(identity, PassedThrough):
            credential = identity.credential
            self._pool = self._bare_pool()
        elif (held := self._service.credential.header(now)) is not None:
            credential = held
        else:
            return self._service.credential.renew()
        upstream = self._upstream
        if upstream is None and self._reuse:
            upstream = self._pool.take()
        if upstream is None or upstream.lost:
            return self._connect()
        self._upstream = upstream
        self._send(upstream, self.admission, credential)
        return None

    async def _admit(self, admission: Awaitable[Admission]) -> None:
        self.admission = await admission

    def _enter(self, admission: Admission) -> None:
        """Count the request in; ``_end`` counts it out. Raises Denied or a ``LimitError``."""
        service = self._service
        service.observer.admitted(self)
        if service.denial is not None:
            service.denial.check(admission.bearer)
        unary = self.kind == "unary"
        tally = service.requests if unary else service.streams
        if not tally.enter(admission.bearer.username):
            error = TooManyRequests if unary else TooManyStreams
            raise error(f"{tally.limit} under way already")
        self._tally = tally

    def _open_session(self) -> Awaitable[None] | None:
        sessions = self._service.sessions
        if sessions is not None and self.kind != "unary":
            self.session = sessions.open(self)
        return None if self.session is None else self.session.opening

    async def _connect(self) -> None:
        self._upstream = await self._pool.connect()

    def _bare_pool(self) -> Pool:
        if self._service.bare_pool is None:
            raise Internal("[unexpected] there are no connections for what is passed through")
        return self._service.bare_pool

    def _send(self, upstream: UpstreamConnection, admission: Admission, credential: bytes) -> None:
        head = self.head
        if admission.websocket_protocols is not None:
            head.websocket_protocols = (admission.websocket_protocols,)
        data = self._outgoing(admission.identity, credential)
        self.sent_at = perf_counter()
        if self._body is not NOTHING:
            upstream.give_up_after(0)
            data += self._framed(self._held)
            self._held = []
        upstream.begin(self, data)
        if not self.request_done:
            if head.expects_continue and not self.bytes_received:
                self.client.send(answer.CONTINUE)
            self.client.update_reading()
        self._await_answer()

    def _outgoing(self, identity: Impersonation | PassedThrough, credential: bytes) -> bytes:
        """Write the head, and look at what is about to leave; at what has left before, once."""
        head = self.head
        known, line = head.known, head.line
        if known is not None and line is not None and (fields := known.sent(identity, credential)):
            return b"".join((line.start, self._id_line, fields))
        speaker = (
            identity if isinstance(identity, PassedThrough) else OnBehalf(credential, identity)
        )
        fields = write_fields(head, credential=speaker.credential, identity=speaker.header)
        start = write_start(head.method, head.target, self._service.authority)
        whole = b"".join((start, self._id_line, fields))
        speaker.verify(whole)
        if known is not None and isinstance(speaker, OnBehalf):
            known.remember_sent(speaker, fields)
        return whole

    @property
    def accepting(self) -> bool:
        """Whether more of the request's body may be read from the client now."""
        return self.request_done or (bool(self.sent_at) and not self._upstream_full)

    def client_data(self, data: bytes) -> bytes:
        """Take what came of the body and return what follows it; raises ``MalformedRequest``."""
        body = self._body
        parts, tail = body.feed(data)
        self.bytes_received += len(data) - len(tail)
        self.request_done = body.done
        if self.sent_at and self._upstream is not None:
            self._upstream.transport.write(self._framed(parts))
            self._await_answer()
        else:
            self._held += parts
        return tail

    def client_lost(self) -> None:
        """The client has left: so does its request."""
        self.client_left = True
        self._abandon_upstream()
        self._end()

    def timed_out(self) -> None:
        self._service.pool.close_idle()
        self.refuse(UpstreamTimeout(f"no answer within {ANSWER_TIMEOUT:g} s"))

    def _framed(self, parts: list[bytes]) -> bytes:
        """Frame body content for the API server as the head that it was sent says."""
        if not self.head.chunked:
            return b"".join(parts)
        return encode_chunk(parts) + (LAST_CHUNK if self.request_done else b"")

    def _await_answer(self) -> None:
        if not self.status and self.kind == "unary":
            self.client.timer.set(ANSWER_TIMEOUT)

    # the way down (upstream.Owner)

    def pause_request(self) -> None:
        self._upstream_full = True
        self.client.update_reading()

    def resume_request(self) -> None:
        self._upstream_full = False
        self.client.update_reading()

    def pause_response(self) -> None:
        if (upstream := self._upstream) is not None:
            upstream.pause()

    def resume_response(self) -> None:
        if (upstream := self._upstream) is not None:
            upstream.resume()

    def response_interim(self, head: ResponseHead) -> None:
        if head.status != 100 and self.head.http11:
            self._send_client(write_response(head, b""))

    def response_switch(self, head: ResponseHead, rest: bytes) -> None:
        asked = self.head.upgrade
        upstream, self._upstream = self._upstream, None
        assert upstream is not None
        if not asked or head.upgrade.lower() != asked.lower() or b"upgrade" not in head.options:
            upstream.abandon()
            self.refuse(UpstreamMalformed("it switched to a protocol that was not asked for"))
            return
        if self.session is not None:
            try:
                self.session.joined(head)
            except ProxyError as error:
                upstream.abandon()
                self.refuse(error)
                return
            self.session.upstream_data(rest)
        self.status = head.status
        self.answered_at = perf_counter()
        self._service.observer.answered(self)
        framing = self._id_line + b"Connection: Upgrade\r\nUpgrade: %s\r\n" % asked
        self._send_client(write_response(head, framing) + rest)
        self.client.join(Tunnel(self, self.client, upstream))

    def response_head(self, head: ResponseHead, parts: list[bytes], done: bool) -> None:
        if head.status == 401 and self.info.subresource != "proxy" and not self._passed_through:
            self._credential_rejected()
            return
        self.client.timer.clear()
        self.status = head.status
        self.answered_at = perf_counter()
        if head.status == 403:
            self._sniffed = b""
        if self.kind != "unary":
            self._service.observer.answered(self)
        self._answer(write_response(head, self._framing(head)), parts, done)

    def response_content(self, parts: list[bytes], done: bool) -> None:
        self._answer(b"", parts, done)

    def response_chunk(self, chunk: bytes) -> None:
        if self._chunking and self._sniffed is None:  # as most watch events come
            self._send_client(chunk)
        else:
            self._answer(b"", [chunk_content(chunk)], done=False)

    def upstream_failed(self, error: ProxyError) -> None:
        self._upstream = None
        self.refuse(error)

    def upstream_lost(self, clean: bool) -> None:
        upstream, self._upstream = self._upstream, None
        assert upstream is not None
        if self.status:
            if self._until_close and clean:
                self._answer(b"", [], done=True)
            else:
                self.refuse(UpstreamReset("it closed the connection before its answer was whole"))
        elif upstream.reused and not upstream.heard and self.head.repeatable and not self._retried:
            self._retry(on_new_connection=True)
        else:
            self.refuse(UpstreamReset())

    def _credential_rejected(self) -> None:
        """A 401 is about our credential, never the user's: look at it again, and try once more.

        But for the ``proxy`` subresource, where it is the proxied service that speaks, and for
        clients whose own token was passed through.
        """
        self._service.credential.reread()
        self._abandon_upstream()
        if self.head.repeatable and not self._retried:
            self._retry(on_new_connection=False)
        else:
            self.refuse(CredentialRejected())

    @property
    def _passed_through(self) -> bool:
        return self.admission is not None and isinstance(self.admission.identity, PassedThrough)

    def _retry(self, *, on_new_connection: bool) -> None:
        self._retried = True
        self._reuse = not on_new_connection
        self._service.observer.retried()
        self.start()

    def _is_last(self) -> bool:
        """Whether the client's connection must end with the answer that begins now.

        After an upgrade that did not come about, what the client has sent may be anything but a
        request.
        """
        return (
            self.client.draining
            or not self.head.keep_alive
            or not self.request_done
            or self.head.upgrade is not None
        )

    def _framing(self, head: ResponseHead) -> bytes:
        """Decide how the answer is delimited towards the client; return header lines of ours."""
        unknown_length = head.content_length is None and answer_has_body(self.method, head.status)
        self._until_close = unknown_length and not head.chunked
        self._chunking = unknown_length and self.head.http11
        self._close = self._is_last()
        lines = self._id_line
        if self._chunking:
            lines += b"Transfer-Encoding: chunked\r\n"
        return lines + b"Connection: close\r\n" if self._close else lines

    def _answer(self, head: bytes, parts: list[bytes], done: bool) -> None:
        if self._sniffed is not None and parts:
            self._sniffed = (self._sniffed + b"".join(parts))[:_SNIFFED_BYTES]
        if self._chunking:
            self._send_client(head + encode_chunk(parts) + (LAST_CHUNK if done else b""))
        elif head or len(parts) > 1:
            self._send_client(b"".join((head, *parts)))
        elif parts:
            self._send_client(parts[0])
        if done:
            self._finish()

    def _finish(self) -> None:
        upstream, self._upstream = self._upstream, None
        if upstream is not None:
            if self.request_done and self.head.upgrade is None:
                self._pool.give_back(upstream)
            else:
                upstream.abandon()
        if self._sniffed is not None and self.info.subresource != "proxy":  # where others speak
            self.impersonation_forbidden = bool(_CANNOT_IMPERSONATE.search(self._sniffed))
        self._end()

    # the end

    def refuse(self, error: ProxyError) -> None:
        """Answer with ``error``; where an answer has begun, cut it instead of completing it."""
        self.error = error.with_traceback(None)  # its frames hold this exchange
        self._abandon_upstream()
        if self.status:
            self.truncated = self._close = True
            self.client.cut()
        else:
            self.status = error.code
            self._close = self._is_last()
            self._send_client(
                answer.refusal(
                    error,
                    audit_id=self.audit_id,
                    method=self.method,
                    close=self._close,
                    now=time(),
                    has_page=self._service.page is not None,
                )
            )
        self._end()

    def stop(self, error: ProxyError) -> None:
        """End at once because of ``error``, whatever is under way; a tunnel too."""
        if self.status == HTTPStatus.SWITCHING_PROTOCOLS:
            self.error, self.truncated = error, True
            self.client.cut()  # and the tunnel ends with its client
        else:
            self.refuse(error)

    def tunnel_ended(self, *, client_left: bool) -> None:
        self.client_left = client_left
        self._close = True
        self._end()

    def _end(self) -> None:
        self.ended_at = ended_at = perf_counter()
        if self.kind == "unary":
            self.completed_at = self.received_at + ended_at - self.began_at
        else:  # during which a clock may have been set
            self.completed_at = time()
        if self._tally is not None and self.admission is not None:
            self._tally.leave(self.admission.bearer.username)
            self._tally = None
        if self._task is not None:
            # Whatever it still waits for must not answer on what is now another's connection.
            # A moment later, for a task that has not begun would leave its coroutine unawaited.
            self.client.loop.call_soon(self._task.cancel)
        if self.session is not None:
            self.annotations.update(self.session.ended())
        if self._sniffed and not self.impersonation_forbidden:
            self.missing = missing_rule(self.info, self._sniffed)
        self._service.observer.ended(self)
        self.client.exchange_ended(close=self._close, request_done=self.request_done)

    def _send_client(self, data: bytes) -> None:
        self.bytes_sent += len(data)
        self.client.send(data)

    def _abandon_upstream(self) -> None:
        upstream, self._upstream = self._upstream, None
        if upstream is not None:
            upstream.abandon()
