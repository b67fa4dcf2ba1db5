"""WebSocket frames: the same messages however the bytes are cut, and nothing else."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.sessions.allowance import FRAMES_AT_ONCE, FRAMES_PER_SECOND, Unreadable
from proxy.sessions.websocket import WebSocketReader
from tests.sessions.frames import websocket


def read(parts: Iterable[bytes], *, masked: bool = False) -> list[bytes]:
    """The messages that are whole."""
    reader = WebSocketReader(masked=masked)
    messages, message = [], b""
    for part in parts:
        for piece in reader.feed(part, 0.0):
            message = (b"" if piece.begins else message) + bytes(piece.payload[0:])
            if piece.ends:
                messages.append(message)
    return messages


frames = st.lists(st.tuples(st.binary(max_size=300), st.sampled_from(["whole", "parts", "ping"])))


@given(frames, st.booleans(), st.data())
def test_the_messages_are_the_same_however_the_stream_is_cut(
    sent: list[tuple[bytes, str]], masked: bool, draw: st.DataObject
) -> None:
    stream, expected = b"", []
    for payload, how in sent:
        half = len(payload) // 2
        if how == "ping":
            stream += websocket(payload[:125], opcode=9, masked=masked)
            continue
        expected.append(payload)
        if how == "whole":
            stream += websocket(payload, masked=masked)
        else:
            stream += websocket(payload[:half], fin=False, masked=masked)
            stream += websocket(b"?", opcode=10, masked=masked)
            stream += websocket(payload[half:], opcode=0, masked=masked)
    cuts = sorted(draw.draw(st.lists(st.integers(0, len(stream)))))
    parts = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert read(parts, masked=masked) == expected
    assert read((bytes([byte]) for byte in stream), masked=masked) == expected


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65535, 65536, 1 << 20])
@pytest.mark.parametrize("masked", [False, True])
def test_every_form_of_length(size: int, masked: bool) -> None:
    payload = bytes(range(256)) * (size // 256 + 1)
    assert read([websocket(payload[:size], masked=masked)], masked=masked) == [payload[:size]]


@pytest.mark.parametrize(
    ("frame", "why"),
    [
        (websocket(b"a", rsv=0x40), "extension"),  # permessage-deflate
        (websocket(b"a", opcode=3), "extension"),
        (websocket(b"a", opcode=11), "extension"),
        (websocket(b"a", masked=True), "masked"),
        (websocket(b"a", opcode=0), "rest of none"),
        (websocket(b"a", fin=False) + websocket(b"b"), "inside another"),
        (websocket(b"a", opcode=9, fin=False), "control"),
        (websocket(b"a" * 126, opcode=9), "control"),
        (b"\x82\x7f\xff" + bytes(7), "length"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "extension"),
    ],
)
def test_what_the_rfc_rules_out_is_not_read(frame: bytes, why: str) -> None:
    with pytest.raises(Unreadable, match=why):
        read([frame])


def test_a_client_that_does_not_mask_is_not_read() -> None:
    with pytest.raises(Unreadable, match="masked"):
        read([websocket(b"a")], masked=True)


def test_after_a_close_nothing_means_anything() -> None:
    assert read([websocket(b"a") + websocket(b"", opcode=8) + b"\xff\xff", b"more"]) == [b"a"]


def test_a_frame_of_any_size_waits_for_nothing_and_keeps_nothing() -> None:
    reader = WebSocketReader(masked=False)
    head = b"\x82\x7f" + (1 << 62).to_bytes(8, "big")
    (piece,) = reader.feed(head + b"ab", 0.0)
    assert bytes(piece.payload[0:]) == b"ab"
    assert not piece.ends
    (piece,) = reader.feed(b"cd", 0.0)
    assert (piece.begins, bytes(piece.payload[0:]), piece.ends) == (False, b"cd", False)


def test_more_frames_than_an_api_server_sends_are_not_read() -> None:
    reader = WebSocketReader(masked=False)
    tiny = websocket(b"", opcode=10)
    list(reader.feed(tiny * int(FRAMES_AT_ONCE), 10.0))
    list(reader.feed(tiny * int(FRAMES_AT_ONCE / 2), 10.0 + FRAMES_AT_ONCE / FRAMES_PER_SECOND))
    with pytest.raises(Unreadable, match="more frames"):
        list(reader.feed(tiny * int(FRAMES_PER_SECOND), 12.0))
