"""Channels in WebSocket messages: whose content is whose, in whatever pieces it comes."""

from __future__ import annotations

import pytest

from proxy.sessions.channels import STDIN, STDOUT, ChannelReader
from tests.sessions.frames import message, websocket


def read(stream: bytes, size: int, *, base64: bool = False) -> bytes:
    """Read what comes on the standard streams in pieces of ``size`` bytes."""
    reader = ChannelReader(frozenset({STDIN, STDOUT}), masked=False, base64=base64)
    parts = [stream[at : at + size] for at in range(0, len(stream), size)]
    return b"".join(content for part in parts for _, content in reader.feed(part, 0.0))


@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_only_the_wanted_channels_are_read_however_the_stream_is_cut(size: int) -> None:
    stream = message(2, b"\x01no") + message(1, b"yes") + message(200, b"\x01no")
    assert read(stream, size) == b"yes"


@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_a_number_below_the_digits_is_no_channel_however_the_stream_is_cut(size: int) -> None:
    """Go's byte wraps round, and no byte of the content is then taken for the number."""
    stream = websocket(b"\x011bm8=", opcode=1) + websocket(b"1eWVz", opcode=1)
    assert read(stream, size, base64=True) == b"yes"
