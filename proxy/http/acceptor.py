"""Accepts client connections, and knows of each from that moment and not only after TLS.

An event loop's own server shows a connection when its handshake is done; those that never finish it
could then use up every descriptor unseen, and with them the probes and the fetching of keys. So
connections are accepted here, one by one, each into a place of the listener's; where there is
none, it is closed at once.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import ssl
from collections.abc import Sequence
from typing import Final

from proxy.http.listener import ClientConnection, Listener
from proxy.http.tls_transport import Buffers, accept

BATCH: Final = 32  # connections to accept before others have their turn
PAUSE: Final = 0.5  # seconds without accepting when the system has no descriptor left
_EXHAUSTED: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})

_log = logging.getLogger(__name__)


class Acceptor:
    """Accepts at listening ``sockets``, with TLS where there is a context; then owns them."""

    def __init__(
        self,
        listener: Listener,
        sockets: Sequence[socket.socket],
        tls: ssl.SSLContext | None,
        buffers: Buffers,
    ) -> None:
        self._listener = listener
        self._sockets = sockets
        self._tls = tls
        self._buffers = buffers
        self._loop = asyncio.get_running_loop()
        self._arriving: set[asyncio.Task[None]] = set()
        self._pause: asyncio.TimerHandle | None = None
        self._resume()

    def close(self) -> None:
        """Accept no more; what has been accepted goes on."""
        if self._pause is not None:
            self._pause.cancel()
        for listening in self._sockets:
            self._loop.remove_reader(listening)
            listening.close()

    def _resume(self) -> None:
        self._pause = None
        for listening in self._sockets:
            self._loop.add_reader(listening, self._accept, listening)

    def _accept(self, listening: socket.socket) -> None:
        for _ in range(BATCH):
            try:
                sock, address = listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionError):
                return
            except OSError as error:
                if error.errno not in _EXHAUSTED:
                    raise
                self._wait_for_descriptors(error)
                return
            self._arrived(sock, address[0] if isinstance(address, tuple) else "")

    def _arrived(self, sock: socket.socket, address: str) -> None:
        connection = self._listener.arrive(address)
        if connection is None:
            sock.close()
            return
        task = self._loop.create_task(self._made(sock, connection), name="arriving")
        self._arriving.add(task)
        task.add_done_callback(self._arriving.discard)

    async def _made(self, sock: socket.socket, connection: ClientConnection) -> None:
        """Shake hands; from then on the loop tells the connection all that happens to it."""
        sock.setblocking(False)
        in_time = True
        try:
            if self._tls is None:
                await self._loop.connect_accepted_socket(lambda: connection, sock)
            else:
                timeout = connection.limits.handshake_timeout
                await accept(connection, sock, self._tls, self._buffers, timeout=timeout)
        except TimeoutError:
            in_time = False
        except OSError as error:
            _log.debug("a connection was not made: %s", error)
        finally:
            if not connection.made:
                self._listener.vanished(connection, in_time=in_time)

    def _wait_for_descriptors(self, error: OSError) -> None:
        _log.error("no more connections can be accepted for now: %s", error.strerror)
        for listening in self._sockets:
            self._loop.remove_reader(listening)
        self._pause = self._loop.call_later(PAUSE, self._resume)
