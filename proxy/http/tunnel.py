"""Two connections joined after a 101: bytes pass both ways and mean nothing here.

SPDY and every WebSocket subprotocol work because none of them is known. Where the exchange is a
session, that is shown the same bytes before they pass on, and has no way to change them. When
either side ends, what it sent before is delivered and then the other side is closed. (Of a client
whose end comes while the API server does not keep up, the last part may be lost: it has given up.)

A client that the API server does not keep up with is not read, so its leaving is not seen either.
It is looked for: else whoever gives up on a process that reads no input would leave the tunnel, and
the process, behind for as long as that lives.
"""

from __future__ import annotations

import select
from typing import TYPE_CHECKING, Final

from proxy.http.timer import Timer

if TYPE_CHECKING:
    from proxy.http.exchange import Client, Exchange
    from proxy.http.upstream import UpstreamConnection


LOOK: Final = 10.0  # seconds between looks at a client that is not read
_HUNG_UP: Final = getattr(select, "POLLRDHUP", 0)  # Linux; poll(2) tells of resets everywhere


class Tunnel:
    """Joins a client and an upstream connection; ends the exchange that it grew from."""

    __slots__ = ("_client", "_ended", "_exchange", "_timer", "_upstream")

    def __init__(self, exchange: Exchange, client: Client, upstream: UpstreamConnection) -> None:
        self._exchange = exchange
        self._client = client
        self._upstream = upstream
        self._ended = False
        self._timer = Timer(client.loop, self.look_for_client)  # runs while the client is not read
        upstream.join(self)

    def client_data(self, data: bytes) -> None:
        exchange = self._exchange
        exchange.bytes_received += len(data)
        if exchange.session is not None:
            exchange.session.client_data(data)
        self._upstream.transport.write(data)

    def upstream_data(self, data: bytes) -> None:
        exchange = self._exchange
        exchange.bytes_sent += len(data)
        if exchange.session is not None:
            exchange.session.upstream_data(data)
        self._client.send(data)

    def client_lost(self) -> None:
        if not self._ended:
            self._end()
            self._upstream.close()
            self._exchange.tunnel_ended(client_left=True)

    def upstream_lost(self) -> None:
        if not self._ended:
            self._end()
            self._exchange.tunnel_ended(client_left=False)

    def _end(self) -> None:
        self._ended = True
        self._timer.cancel()

    def pause_client(self) -> None:
        self._client.transport.pause_reading()
        self._timer.set(LOOK)

    def resume_client(self) -> None:
        self._timer.clear()
        self._client.transport.resume_reading()

    def look_for_client(self) -> None:
        """Read on where a client that was not read has gone: no more comes than the kernel has."""
        poll = select.poll()
        poll.register(self._client.transport.get_extra_info("socket"), _HUNG_UP)
        if poll.poll(0):
            self._client.transport.resume_reading()
        else:
            self._timer.set(LOOK)

    def pause_upstream(self) -> None:
        self._upstream.pause()

    def resume_upstream(self) -> None:
        self._upstream.resume()
