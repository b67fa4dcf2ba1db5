"""SPDY frames: streams and their headers, however the bytes are cut."""

from __future__ import annotations

import zlib
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.sessions import spdy
from proxy.sessions.allowance import FRAMES_AT_ONCE, Unreadable
from proxy.sessions.spdy import Data, Opened, SpdyReader
from tests.sessions.frames import SpdyWriter, control, data


def read(parts: Iterable[bytes], wanted: Iterable[int] = ()) -> list[Opened | Data]:
    reader = SpdyReader(set(wanted), headers=True)
    return [event for part in parts for event in reader.feed(part, 0.0)]


def test_the_dictionary_is_that_of_the_draft() -> None:
    """zlib names a dictionary by its checksum, and this is the name in every SPDY/3 stream."""
    assert (len(spdy.DICTIONARY), zlib.adler32(spdy.DICTIONARY)) == (1423, 0xE3C6A7C2)


@given(st.data())
def test_streams_are_known_by_their_headers_however_the_bytes_are_cut(draw: st.DataObject) -> None:
    writer = SpdyWriter()
    stream = (
        writer.syn_stream(1, {"streamtype": "error"})
        + control(6, bytes(4))  # PING
        + writer.syn_reply(7)  # its headers go through the same zlib stream
        + writer.syn_stream(3, {"streamType": "data", "port": "8080", "requestid": "0"})
        + data(3, b"not wanted" * 50)
        + data(1, b"wanted ")
        + data(1, b"")
        + data(1, b"as well", fin=True)
    )
    cuts = sorted(draw.draw(st.lists(st.integers(0, len(stream)))))
    parts = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    for cut in (parts, [bytes([byte]) for byte in stream]):
        events = read(cut, {1})
        assert [event for event in events if isinstance(event, Opened)] == [
            Opened(1, {"streamtype": "error"}),
            Opened(3, {"streamtype": "data", "port": "8080", "requestid": "0"}),
        ]
        content = b"".join(event.content for event in events if isinstance(event, Data))
        assert content == b"wanted as well"


BOMB = zlib.compressobj(9, zdict=spdy.DICTIONARY)


@pytest.mark.parametrize(
    ("frame", "why"),
    [
        (b"\x80\x02\x00\x01" + (12).to_bytes(4, "big") + bytes(12), "version"),
        (control(1, bytes(3)), "short"),
        (control(1, bytes(10) + b"no zlib"), "unpacked"),
        (control(4, bytes(spdy.MAX_CONTROL_BYTES + 1)), "too large"),
        (
            control(1, bytes(10) + BOMB.compress(bytes(1 << 20)) + BOMB.flush()),
            "too large",
        ),
        (control(1, bytes(10) + SpdyWriter().packed(b"\0\0\0\1\0\0\0")), "cut short"),
        (control(1, bytes(10) + SpdyWriter().packed(b"\0\0\0\1\0\0\0\x09a")), "cut short"),
        (
            control(1, bytes(10) + SpdyWriter().block({str(n): "" for n in range(100)})),
            "too many headers",
        ),
    ],
)
def test_what_no_client_sends_is_not_read(frame: bytes, why: str) -> None:
    with pytest.raises(Unreadable, match=why):
        read([frame])


def test_more_frames_than_anybody_sends_are_not_read() -> None:
    with pytest.raises(Unreadable, match="more frames"):
        read([data(1, b"") * (int(FRAMES_AT_ONCE) + 1)])


@pytest.mark.parametrize(
    "headers", [{"padding": "x" * 60_000}, {str(n): "" for n in range(spdy.MAX_HEADERS)}]
)
def test_headers_are_paid_for_by_what_they_unpack_to(headers: dict[str, str]) -> None:
    """A hundred bytes can hold 64 KiB of them: some 170 us of work, where a frame is paid as 3."""
    writer = SpdyWriter()
    with pytest.raises(Unreadable, match="more frames"):
        read(writer.syn_stream(2 * n + 1, headers) for n in range(1000))
