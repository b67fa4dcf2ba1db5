"""The upstream of streams: watches that get events when told, and tunnels. A process of its own.

It fakes an API server at its socket: whatever is asked, a watch is an endless chunked answer, an
upgrade is a WebSocket, and anything else is ``ok``. An event carries the time at which it was
written to its watch, so that whoever gets it knows the delay (one machine, one monotonic clock).

On the control port, lines are orders, each answered by one line when it is done:

    burst             write an event to every watch, one straight after the other
    pace 1000 0.002   write 1000 events, to one watch after the other, so many seconds apart

In a tunnel, a frame of one byte comes back; a frame of eight bytes is a number, and so many
binary frames of ``FRAME`` bytes come; a frame of twelve bytes is a number and an interval in
nanoseconds, and so many frames of ``PRINTED`` bytes come one interval apart, as what a session's
standard output says: the time at which the frame was written.

    python -m bench.streams PORT CONTROL_PORT CERTIFICATE
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
import ssl
import struct
import sys
import time
from pathlib import Path
from typing import Final, cast

import uvloop

FRAME: Final = 32 * 1024  # bytes, as a kubelet's
PRINTED: Final = 80  # bytes, of which the first is the channel
EVENT: Final = 400  # bytes
_BULK: Final = b"\x82\x7e" + struct.pack("!H", FRAME) + b"x" * FRAME
_WATCH: Final = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
)
_OK: Final = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok"


def event() -> bytes:
    """Return a chunk that tells the time at which it was made."""
    text = b'{"written":%d}' % time.monotonic_ns()
    return b"%x\r\n%b\r\n" % (EVENT, text.ljust(EVENT - 1) + b"\n")


class Connection(asyncio.Protocol):
    """One connection of a proxy: requests without bodies, one after the other."""

    watches: Final[dict[Connection, None]] = {}

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(
            "asyncio.Transport", transport
        )  # uvloop's over TLS only quacks like it
        self._read = b""
        self._frames = False
        self._writable = asyncio.Event()
        self._writable.set()
        self._bulk: asyncio.Task[None] | None = None

    def connection_lost(self, error: Exception | None) -> None:
        self.watches.pop(self, None)
        if self._bulk:
            self._bulk.cancel()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def data_received(self, data: bytes) -> None:
        self._read += data
        while self._frame() if self._frames else self._request():
            pass

    def _request(self) -> bool:
        head, end, rest = self._read.partition(b"\r\n\r\n")
        if not end:
            return False
        self._read = rest
        if key := re.search(rb"\r\nsec-websocket-key: *(\S+)", head, re.IGNORECASE):
            protocol = re.search(rb"\r\n(sec-websocket-protocol: *\S+)", head, re.IGNORECASE)
            digest = hashlib.sha1(key[1] + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()
            self.transport.write(
                b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                b"Sec-WebSocket-Accept: %b\r\n%b\r\n"
                % (base64.b64encode(digest), protocol[1] + b"\r\n" if protocol else b"")
            )
            self._frames = True
        elif b"watch" in head.partition(b"\r\n")[0]:
            self.transport.write(_WATCH + event())
            self.watches[self] = None
        else:
            self.transport.write(_OK)
        return True

    def _frame(self) -> bool:
        """Take a masked frame of at most 125 bytes, as a client sends it."""
        if len(self._read) < 6 or len(self._read) < 6 + (size := self._read[1] & 0x7F):
            return False
        mask, masked = self._read[2:6], self._read[6 : 6 + size]
        opcode, self._read = self._read[0] & 0x0F, self._read[6 + size :]
        payload = bytes(byte ^ mask[n % 4] for n, byte in enumerate(masked))
        if opcode == 0x8:
            self.transport.close()
        elif size == 8:
            self._bulk = asyncio.create_task(self._send(int.from_bytes(payload, "big")))
        elif size == 12:
            self._bulk = asyncio.create_task(self._print(*struct.unpack("!QI", payload)))
        else:
            self.transport.write(bytes([0x82, size]) + payload)
        return True

    async def _send(self, frames: int) -> None:
        for _ in range(frames):
            self.transport.write(_BULK)
            await self._writable.wait()

    async def _print(self, frames: int, interval: int) -> None:
        began = time.monotonic()
        for n in range(frames):
            await asyncio.sleep(began + n * interval / 1e9 - time.monotonic())
            written = b"\x01%d" % time.monotonic_ns()
            self.transport.write(bytes([0x82, PRINTED]) + written.ljust(PRINTED))


async def _control(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while line := (await reader.readline()).split():
        watches = list(Connection.watches)
        if line[0] == b"burst":
            for watch in watches:
                watch.transport.write(event())
        else:
            began, interval = time.monotonic(), float(line[2])
            for n in range(int(line[1])):
                await asyncio.sleep(began + n * interval - time.monotonic())
                watches[n % len(watches)].transport.write(event())
        writer.write(b"done\n")


async def main() -> None:
    port, control, certificate = sys.argv[1:]
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, Path(certificate).with_suffix(".key"))
    loop = asyncio.get_running_loop()
    await loop.create_server(Connection, "127.0.0.1", int(port), ssl=tls, backlog=8192)
    async with await asyncio.start_server(_control, "127.0.0.1", int(control)) as server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.Runner(loop_factory=uvloop.new_event_loop).run(main())
