"""The server's side of ``kubectl exec``: a pretended process, reached by WebSocket or by SPDY/3.1.

The process echoes its input to its output, unless it is ``passwd``. Its first argument is the exit
code, its second one what it says on stderr before anything else: ``kubectl exec -i web -- cat 3
careful``.

Just enough of both protocols for client-go and browsers. WebSocket (RFC 6455): v5 and
v4.channel.k8s.io. With v4 nobody can say that stdin has ended, so there the process lives for as
long as its client. SPDY/3.1: v4.channel.k8s.io; streams are told apart by the order in which
client-go opens them (k8s.io/client-go, tools/remotecommand/v2.go), since their headers would need
SPDY's dictionary; flow control is ignored, as client-go ignores it.
"""

from __future__ import annotations

import base64
import hashlib
import json
import struct
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from io import BufferedIOBase
from typing import Final

V5, V4 = "v5.channel.k8s.io", "v4.channel.k8s.io"
STDIN, STDOUT, STDERR, ERROR, CLOSE = 0, 1, 2, 3, 255  # channels of a WebSocket message

_ACCEPT_KEY: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, section 1.3
_BINARY, _CLOSE, _PING, _PONG = 2, 8, 9, 10
_FINAL: Final = 0x80

_CONTROL: Final = 0x80000000 | 3 << 16  # a control frame of SPDY version 3
_SYN_STREAM, _SYN_REPLY, _SPDY_PING = 1, 2, 6
_FIN: Final = 1
_NO_HEADERS: Final = bytes(4)  # a header block with a count of zero


@dataclass(frozen=True)
class Process:
    """What runs in the pod."""

    exit_code: int
    complaint: bytes
    has_stdin: bool
    echoes: bool

    @classmethod
    def of(cls, query: dict[str, list[str]]) -> Process:
        """Return the process that the query of an ``exec`` request asks for."""
        program, exit_code, *words = query["command"]
        has_stdin, echoes = query.get("stdin") == ["true"], program != "passwd"
        return cls(int(exit_code), "".join(words).encode(), has_stdin, echoes)

    def status(self) -> bytes:
        """The last words of the v4 protocol (k8s.io/apimachinery, util/remotecommand)."""
        if self.exit_code == 0:
            return json.dumps({"metadata": {}, "status": "Success"}).encode()
        cause = {"reason": "ExitCode", "message": str(self.exit_code)}
        status = {
            "metadata": {},
            "status": "Failure",
            "message": f"command terminated with non-zero exit code: {self.exit_code}",
            "reason": "NonZeroExitCode",
            "details": {"causes": [cause]},
        }
        return json.dumps(status).encode()


def choose_protocol(offered: Iterable[str], known: Iterable[str]) -> str:
    """Return the newest protocol that both sides know; raises LookupError where there is none."""
    names = {name.strip() for value in offered for name in value.split(",")}
    for name in known:
        if name in names:
            return name
    raise LookupError(f"none of the protocols offered is known: {names}")


# --- WebSocket -----------------------------------------------------------------------------------


def websocket_accept(key: str) -> str:
    """Return what ``Sec-WebSocket-Accept`` says to a ``Sec-WebSocket-Key``."""
    return base64.b64encode(hashlib.sha1(key.encode() + _ACCEPT_KEY).digest()).decode()


def run_over_websocket(process: Process, reader: BufferedIOBase, writer: BufferedIOBase) -> None:
    """Run the process until its input ends, and take leave of the client."""
    if process.complaint:
        writer.write(_message(STDERR, process.complaint))
    if process.has_stdin:
        for message in _messages(reader, writer):
            if message == bytes([CLOSE, STDIN]):
                break
            if message[0] == STDIN and process.echoes:
                writer.write(_message(STDOUT, message[1:]))
    writer.write(_message(ERROR, process.status()) + _websocket_frame(_CLOSE, b"\x03\xe8"))
    for _ in _messages(reader, writer):
        pass


def _messages(reader: BufferedIOBase, writer: BufferedIOBase) -> Iterator[bytes]:
    """Yield whole messages until the client closes; answer pings on the way."""
    message = b""
    while head := reader.read(2):
        payload = _unmasked(reader, head[1])
        opcode = head[0] & 0x0F
        if opcode == _CLOSE:
            return
        if opcode == _PING:
            writer.write(_websocket_frame(_PONG, payload))
        elif opcode < _CLOSE:
            message += payload
            if head[0] & _FINAL:
                yield message
                message = b""


def _unmasked(reader: BufferedIOBase, length: int) -> bytes:
    size = length & 0x7F
    if size >= 126:
        size = int.from_bytes(reader.read(2 if size == 126 else 8))
    mask = reader.read(4)
    masked = int.from_bytes(reader.read(size))
    return (masked ^ int.from_bytes((mask * (size // 4 + 1))[:size])).to_bytes(size)


def _message(channel: int, content: bytes) -> bytes:
    return _websocket_frame(_BINARY, bytes([channel]) + content)


def _websocket_frame(opcode: int, payload: bytes) -> bytes:
    size = len(payload)
    if size < 126:
        return struct.pack("!BB", _FINAL | opcode, size) + payload
    if size < 1 << 16:
        return struct.pack("!BBH", _FINAL | opcode, 126, size) + payload
    return struct.pack("!BBQ", _FINAL | opcode, 127, size) + payload


# --- SPDY ----------------------------------------------------------------------------------------


def run_over_spdy(process: Process, reader: BufferedIOBase, writer: BufferedIOBase) -> None:
    """Run the process until its input ends; return when the client has gone."""
    names = ["error", *(["stdin"] if process.has_stdin else []), "stdout", "stderr"]
    streams: dict[str, int] = {}
    headers = zlib.compressobj()
    while frame := reader.read(8):
        first, second = struct.unpack("!II", frame)
        flags, payload = second >> 24, reader.read(second & 0xFFFFFF)
        if first == _CONTROL | _SYN_STREAM:
            stream = int.from_bytes(payload[:4])
            streams[names[len(streams)]] = stream
            block = headers.compress(_NO_HEADERS) + headers.flush(zlib.Z_SYNC_FLUSH)
            writer.write(_spdy_frame(_CONTROL | _SYN_REPLY, payload[:4] + block))
            if len(streams) == len(names):
                writer.write(_spdy_frame(streams["stderr"], process.complaint))
                if not process.has_stdin:
                    writer.write(_last_frames(process, streams))
        elif first == _CONTROL | _SPDY_PING:
            writer.write(frame + payload)
        elif first == streams.get("stdin"):
            if process.echoes:
                writer.write(_spdy_frame(streams["stdout"], payload))
            if flags & _FIN:
                writer.write(_last_frames(process, streams))


def _last_frames(process: Process, streams: dict[str, int]) -> bytes:
    return (
        _spdy_frame(streams["stdout"], b"", _FIN)
        + _spdy_frame(streams["stderr"], b"", _FIN)
        + _spdy_frame(streams["error"], process.status(), _FIN)
    )


def _spdy_frame(first: int, payload: bytes, flags: int = 0) -> bytes:
    return struct.pack("!II", first, flags << 24 | len(payload)) + payload
