"""WebSocket and SPDY frames as clients and API servers write them, for the readers to read."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping

from proxy.sessions.spdy import DICTIONARY

KEY = b"\xa1\xb2\xc3\xd4"


def websocket(
    payload: bytes, *, opcode: int = 2, fin: bool = True, masked: bool = False, rsv: int = 0
) -> bytes:
    """One frame (RFC 6455, section 5.2), its length in the shortest form."""
    size, mask = len(payload), 0x80 if masked else 0
    if size < 126:
        length = bytes([mask | size])
    elif size < 1 << 16:
        length = bytes([mask | 126]) + size.to_bytes(2, "big")
    else:
        length = bytes([mask | 127]) + size.to_bytes(8, "big")
    first = bytes([(0x80 if fin else 0) | rsv | opcode])
    if not masked:
        return first + length + payload
    return first + length + KEY + bytes(b ^ KEY[n % 4] for n, b in enumerate(payload))


def message(channel: int, content: bytes, *, masked: bool = False) -> bytes:
    return websocket(bytes([channel]) + content, masked=masked)


def status(code: int) -> bytes:
    """What a kubelet writes to the error channel (v4)."""
    if not code:
        return b'{"metadata":{},"status":"Success"}'
    causes = [{"reason": "ExitCode", "message": str(code)}]
    return json.dumps(
        {
            "metadata": {},
            "status": "Failure",
            "message": f"command terminated with non-zero exit code: exit status {code}",
            "reason": "NonZeroExitCode",
            "details": {"causes": causes},
        }
    ).encode()


class SpdyWriter:
    """Frames of one direction, whose headers share one zlib stream."""

    def __init__(self) -> None:
        self._pack = zlib.compressobj(zdict=DICTIONARY)

    def block(self, headers: Mapping[str, str]) -> bytes:
        """Headers, packed."""
        text = len(headers).to_bytes(4, "big")
        for word in (word for header in headers.items() for word in header):
            text += len(word).to_bytes(4, "big") + word.encode()
        return self.packed(text)

    def packed(self, text: bytes) -> bytes:
        return self._pack.compress(text) + self._pack.flush(zlib.Z_SYNC_FLUSH)

    def syn_stream(self, stream: int, headers: Mapping[str, str]) -> bytes:
        return control(1, stream.to_bytes(4, "big") + bytes(6) + self.block(headers))

    def syn_reply(self, stream: int) -> bytes:
        return control(2, stream.to_bytes(4, "big") + self.block({}))


def control(kind: int, payload: bytes) -> bytes:
    head = b"\x80\x03" + kind.to_bytes(2, "big")
    return head + len(payload).to_bytes(4, "big") + payload


def data(stream: int, content: bytes, *, fin: bool = False) -> bytes:
    return stream.to_bytes(4, "big") + bytes([fin]) + len(content).to_bytes(3, "big") + content
