"""Two connections joined after a 101: bytes pass both ways and mean nothing here.

SPDY and every WebSocket subprotocol work because none of them is known. When either side ends,
what it sent before is delivered and then the other side is closed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from proxy.http.exchange import Exchange
    from proxy.http.listener import ClientConnection
    from proxy.http.upstream import UpstreamConnection


class Tunnel:
    """Joins a client and an upstream connection; ends the exchange that it grew from."""

    __slots__ = ("_client", "_ended", "_exchange", "_upstream")

    def __init__(
        self, exchange: Exchange, client: ClientConnection, upstream: UpstreamConnection
    ) -> None:
        self._exchange = exchange
        self._client = client
        self._upstream = upstream
        self._ended = False
        upstream.join(self)

    def client_data(self, data: bytes) -> None:
        self._exchange.bytes_received += len(data)
        self._upstream.transport.write(data)

    def upstream_data(self, data: bytes) -> None:
        self._exchange.bytes_sent += len(data)
        self._client.send(data)

    def client_lost(self) -> None:
        if not self._ended:
            self._ended = True
            self._upstream.close()
            self._exchange.tunnel_ended()

    def upstream_lost(self) -> None:
        if not self._ended:
            self._ended = True
            self._exchange.tunnel_ended()

    def pause_client(self) -> None:
        self._client.transport.pause_reading()

    def resume_client(self) -> None:
        self._client.transport.resume_reading()

    def pause_upstream(self) -> None:
        self._upstream.pause()

    def resume_upstream(self) -> None:
        self._upstream.resume()
