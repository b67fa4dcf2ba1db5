"""One connection to the API server: sends what it is given, reads answers, knows no policy.

At most one exchange owns the connection at a time. Whatever arrives while nobody owns it is no
answer to anything, so the connection is given up. What a response means is its owner's business.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, cast

from proxy.errors import ProxyError, UpstreamMalformed
from proxy.http.body import NOTHING, Body, answer_has_body, response_body
from proxy.http.head import END, MAX_RESPONSE_HEAD_BYTES, ResponseHead

GOODBYE: Final = 30.0  # seconds that the API server has to take the last that was written

if TYPE_CHECKING:
    from proxy.http.tunnel import Tunnel


class Owner:
    """What an upstream connection tells the exchange that owns it."""

    __slots__ = ("method",)

    method: bytes

    def response_interim(self, head: ResponseHead) -> None:
        """A 1xx other than 101 came; the answer is still to come."""

    def response_switch(self, head: ResponseHead, rest: bytes) -> None:
        """A 101 came, with ``rest`` behind it; nothing more is read as HTTP."""

    def response_head(self, head: ResponseHead, parts: list[bytes], done: bool) -> None:
        """The answer begins; ``parts`` is what of its body came along, ``done`` if all did."""

    def response_content(self, parts: list[bytes], done: bool) -> None:
        """More of the answer's body came."""

    def response_chunk(self, chunk: bytes) -> None:
        """One whole chunk of the answer's body came, as ``body.encode_chunk`` writes it."""

    def upstream_failed(self, error: ProxyError) -> None:
        """What came is not HTTP; the connection is closed."""

    def upstream_lost(self, clean: bool) -> None:
        """The connection is gone; ``clean`` if the API server ended it in order."""

    def pause_request(self) -> None:
        """The API server does not keep up with what is sent."""

    def resume_request(self) -> None:
        """The API server has caught up."""


class UpstreamConnection:  # and no asyncio.Protocol: C has no base that is Python's
    """A connection that is idle in the pool, or owned by one exchange.

    ``reused`` says that it has served an exchange before the present one; ``heard`` that a byte
    of the present answer has come; ``vanished`` that the connection was lost because nothing was
    heard of the other machine any more. ``read`` is ``parse_response``, or does what that does.
    ``opened_at`` and ``usable_until`` (for another exchange) are loop times in seconds.
    """

    __slots__ = (
        "_body",
        "_buffer",
        "_clean",
        "_cut",
        "_head_bytes",
        "_keep_alive",
        "_on_lost",
        "_paused",
        "_read",
        "_tunnel",
        "heard",
        "lost",
        "opened_at",
        "owner",
        "reused",
        "tls",
        "transport",
        "usable_until",
        "vanished",
    )

    transport: asyncio.Transport

    def __init__(
        self,
        on_lost: Callable[[UpstreamConnection], None],
        read: Callable[[bytes], ResponseHead],
    ) -> None:
        self.owner: Owner | None = None
        self.opened_at = self.usable_until = 0.0
        self.reused = self.heard = self.lost = self.vanished = False
        self.tls: ssl.SSLContext | None = None  # that it was made with
        self._on_lost = on_lost
        self._read = read
        self._buffer = b""  # of a head that is not complete yet
        self._head_bytes = 0  # that came before the body, of all heads of this answer
        self._body: Body | None = None  # None until the final head has come
        self._keep_alive = False
        self._tunnel: Tunnel | None = None
        self._clean = self._paused = False
        self._cut: asyncio.TimerHandle | None = None  # set once it is closing

    def begin(self, owner: Owner, data: bytes) -> None:
        """Give the connection to ``owner`` and send its request."""
        self.owner = owner
        self.heard = self._keep_alive = False
        self._body = None
        self._head_bytes = 0
        self.transport.write(data)

    def join(self, tunnel: Tunnel) -> None:
        """Stop reading HTTP; from now on bytes go to ``tunnel`` as they come."""
        self.owner = None
        self._tunnel = tunnel
        self.give_up_after(0)

    def give_up_after(self, seconds: int) -> None:
        """Take the API server for gone when its kernel acknowledges nothing for so long.

        0 is the kernel's own idea, a quarter of an hour. It is for what may be more than the API
        server wants to read now (a body, a tunnel): to the kernel that looks the same.
        """
        sock = self.transport.get_extra_info("socket")
        if sock is not None and hasattr(socket, "TCP_USER_TIMEOUT"):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, seconds * 1000)

    def release(self) -> bool:
        """Take the connection from its owner; return whether it may serve another exchange.

        It may not if something came behind the answer, or if the answer came before the request
        had left.
        """
        self.owner = None
        self.reused = True
        if self._paused:
            self.resume()
        transport = self.transport
        return (
            self._keep_alive
            and not self._buffer
            and not transport.is_closing()
            and not transport.get_write_buffer_size()
        )

    def pause(self) -> None:
        """Stop reading: nobody takes what comes."""
        self._paused = True
        self.transport.pause_reading()

    def resume(self) -> None:
        if self._paused:
            self._paused = False
            self.transport.resume_reading()

    def abandon(self) -> None:
        """Take the connection from its owner and end it at once, whatever is still to come."""
        self.owner = None
        self.transport.abort()

    def close(self) -> None:
        """End the connection once all that was written has left, or without it after a while.

        An API server that takes nothing is not told either, and would keep it for ever.
        """
        self.transport.close()
        loop = asyncio.get_running_loop()
        self._cut = loop.call_later(GOODBYE, self.transport.abort)

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        if self._tunnel is not None:
            self._tunnel.upstream_data(data)
            return
        owner = self.owner
        if owner is None:
            self.transport.abort()
            return
        self.heard = True
        try:
            body = self._body
            if body is None:
                self._read_head(owner, data)
            elif body.is_chunk(data):
                owner.response_chunk(data)
            else:
                parts, self._buffer = body.feed(data)
                owner.response_content(parts, body.done)
        except ProxyError as error:
            self._fail(error)

    def eof_received(self) -> None:
        self._clean = True

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        if self._cut is not None:
            self._cut.cancel()
        self.vanished = isinstance(exc, TimeoutError)
        self._on_lost(self)
        owner, self.owner = self.owner, None
        tunnel, self._tunnel = self._tunnel, None
        if tunnel is not None:
            tunnel.upstream_lost()
        elif owner is not None:
            owner.upstream_lost(clean=self._clean and exc is None)

    def pause_writing(self) -> None:
        if self._tunnel is not None:
            self._tunnel.pause_client()
        elif (owner := self.owner) is not None:
            owner.pause_request()

    def resume_writing(self) -> None:
        if self._tunnel is not None:
            self._tunnel.resume_client()
        elif (owner := self.owner) is not None:
            owner.resume_request()

    # reading

    def _read_head(self, owner: Owner, data: bytes) -> None:
        self._head_bytes += len(data)
        searched = 0
        if self._buffer:
            searched = max(0, len(self._buffer) - len(END) + 1)
            data, self._buffer = self._buffer + data, b""
        while (end := data.find(END, searched)) >= 0:
            end += len(END)
            head, data, searched = self._read(data[:end]), data[end:], 0
            if head.status >= 200:
                self._begin_body(owner, head, data)
                return
            if head.status == 101:
                owner.response_switch(head, data)
                return
            if head.status < 100:
                raise UpstreamMalformed("a status below 100")
            owner.response_interim(head)
        self._buffer = data
        if self._head_bytes > MAX_RESPONSE_HEAD_BYTES:  # the interim ones before it included
            raise UpstreamMalformed("the response head is too large")

    def _begin_body(self, owner: Owner, head: ResponseHead, rest: bytes) -> None:
        method, status, length = owner.method, head.status, head.content_length
        self._keep_alive = head.keep_alive
        whole = length == len(rest) > 0 and not head.chunked
        if whole and answer_has_body(method, status):  # as most answers come
            self._body = NOTHING
            owner.response_head(head, [rest], done=True)
            return
        body = self._body = response_body(
            method=method, status=status, length=length, chunked=head.chunked
        )
        parts: list[bytes] = []
        if rest:
            parts, self._buffer = body.feed(rest)
        owner.response_head(head, parts, body.done)

    def _fail(self, error: ProxyError) -> None:
        owner, self.owner = self.owner, None
        self.transport.abort()
        if owner is not None:
            owner.upstream_failed(error)
