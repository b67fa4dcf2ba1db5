"""Kubernetes' channels in WebSocket messages: a number in front of each, then its content.

0 to 2 are the standard streams, 3 brings how it ended (a ``Status``, from v4 on) and 4 the size of
the terminal. The base64 protocols write the number as a digit and encode the rest.

Source: k8s.io/streaming/pkg/httpstream/wsstream/conn.go; the numbers are those of
k8s.io/apimachinery/pkg/util/remotecommand/constants.go.
"""

from __future__ import annotations

import binascii
from collections.abc import Iterator
from typing import Final

from proxy.sessions.allowance import Unreadable
from proxy.sessions.websocket import WebSocketReader

STDIN, STDOUT, STDERR, ERROR, RESIZE = range(5)
# Subprotocol -> whether it is base64. The empty one is what a client gets that asks for none.
CHANNEL_PROTOCOLS: Final = {
    "": False,
    "channel.k8s.io": False,
    "base64.channel.k8s.io": True,
    "v4.channel.k8s.io": False,
    "v4.base64.channel.k8s.io": True,
    "v5.channel.k8s.io": False,
}
_DIGIT: Final = ord("0")


class ChannelReader:
    """Reads one direction; what comes on other channels than ``wanted`` is not looked at."""

    __slots__ = ("_base64", "_carried", "_channel", "_frames", "_padded", "_wanted")

    def __init__(self, wanted: frozenset[int], *, masked: bool, base64: bool) -> None:
        self._frames = WebSocketReader(masked=masked)
        self._wanted = wanted
        self._base64 = base64
        self._padded = False  # the message's base64 has come to its end
        self._carried = b""  # base64 that does not make whole bytes yet
        self._channel = -1  # of the message that is under way; -1 where that is not known yet

    def feed(self, data: bytes, now: float) -> Iterator[tuple[int, bytes]]:
        """Yield channels and what came on them, never empty; raises ``Unreadable``."""
        for begins, payload, ends in self._frames.feed(data, now):
            start = 0
            if begins:
                self._channel, self._carried, self._padded = -1, b"", False
            if self._channel < 0 and len(payload):
                # What is below the digits wraps round as a byte does in Go: to no channel.
                self._channel = (payload[0:1][0] - (_DIGIT if self._base64 else 0)) & 0xFF
                start = 1
            if self._channel not in self._wanted or len(payload) == start:
                continue
            content = bytes(payload[start : len(payload)])
            if self._base64:
                content = self._decoded(content, ends=ends)
            if content:
                yield self._channel, content

    def _decoded(self, text: bytes, *, ends: bool) -> bytes:
        if self._padded:
            raise Unreadable("base64 behind its end")
        text = self._carried + text
        whole = len(text) if ends else len(text) // 4 * 4
        self._carried = text[whole:]
        self._padded = text[:whole].endswith(b"=")
        try:
            return binascii.a2b_base64(text[:whole], strict_mode=True)
        except binascii.Error as error:
            raise Unreadable("no base64") from error
