"""Where a body ends, however its bytes happen to arrive."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from proxy.errors import MalformedRequest, UpstreamMalformed
from proxy.http.body import (
    MAX_LINE_BYTES,
    MAX_TRAILER_BYTES,
    Body,
    ChunkedBody,
    CloseBody,
    LengthBody,
    encode_chunk,
    response_body,
)


def decode(body: Body, pieces: list[bytes]) -> tuple[bytes, bytes]:
    """Feed all pieces; return the content and what followed the body."""
    content, tail = b"", b""
    for piece in pieces:
        if body.done:
            tail += piece
            continue
        parts, rest = body.feed(piece)
        content += b"".join(parts)
        tail += rest
    return content, tail


def cut(data: bytes, size: int) -> list[bytes]:
    return [data[i : i + size] for i in range(0, len(data), size)]


CHUNKED = [
    (b"0\r\n\r\n", b""),
    (b"3\r\nabc\r\n0\r\n\r\n", b"abc"),
    (b"3;ext=\"v\"\r\nabc\r\n00A\r\n0123456789\r\n0;last\r\n\r\n", b"abc0123456789"),
    (b"1\r\n\r\r\n1\r\n\n\r\n0\r\nTrailer: x\r\nEmpty:\r\n\r\n", b"\r\n"),
]  # fmt: skip


@pytest.mark.parametrize(("wire", "content"), CHUNKED)
@pytest.mark.parametrize("size", [1, 2, 3, 1000])
def test_chunks_are_read_whatever_way_they_are_cut(wire: bytes, content: bytes, size: int) -> None:
    body = ChunkedBody(MalformedRequest)
    assert decode(body, cut(wire + b"NEXT", size)) == (content, b"NEXT")
    assert body.done


@given(
    st.lists(
        st.sampled_from(
            [
                b"3\r\nabc\r\n",
                b"0A\r\n0123456789\r\n",
                b"1;x\r\n\n\r\n",
                b"2\r\n\r",
                b"0\r\n\r\n",
                b"1\r\naXY",
            ]
        )
    )
)
def test_whole_chunks_are_read_as_their_bytes_would_be(pieces: list[bytes]) -> None:
    def outcome(pieces: list[bytes]) -> tuple[bytes, bytes] | None:
        try:
            return decode(ChunkedBody(MalformedRequest), pieces)
        except MalformedRequest:
            return None

    assert outcome(pieces) == outcome(cut(b"".join(pieces), 1))


@pytest.mark.parametrize(
    "wire",
    [
        b"-1\r\n", b"+1\r\n", b"0x1\r\n", b" 1\r\n", b"1 \r\n", b"1 ;x\r\n", b"\r\n", b";x\r\n",
        b"g\r\n", b"1" * 16 + b"\r\n", b"1\nabc", b"3\nabc\r\n", b"1;a\nb\r\n", b"1;a\rb\r\n",
        b"1\r\naXY", b"1\r\na\n0\r\n\r\n", b"1\r\nab\r\n", b"1\r\nab\r\n0",
        b"1\r\na0\r\n0", b"1;" + b"x" * MAX_LINE_BYTES + b"\r\n",
        b"0\r\nno colon\r\n", b"0\r\n folded: x\r\n", b"0\r\nA\0: x\r\n",
        b"0\r\nA: b\nB: c\r\n", b"0\r\n" + b"A: b\r\n" * MAX_TRAILER_BYTES,
        b"a" * (MAX_LINE_BYTES + 2), b"0\r\n" + b"a" * (MAX_TRAILER_BYTES + 2),
    ],
)  # fmt: skip
def test_chunk_framing_that_could_be_read_in_two_ways_is_refused(wire: bytes) -> None:
    for size in (1, len(wire)):
        with pytest.raises(MalformedRequest):
            decode(ChunkedBody(MalformedRequest), cut(wire + b"\r\n\r\n", size))


@given(st.lists(st.binary()), st.integers(1, 50), st.binary(max_size=20))
def test_what_is_encoded_decodes_to_the_same(
    pieces: list[bytes], size: int, following: bytes
) -> None:
    wire = b"".join(encode_chunk([p]) for p in pieces) + b"0\r\n\r\n"
    body = ChunkedBody(UpstreamMalformed)
    assert decode(body, cut(wire + following, size)) == (b"".join(pieces), following)


@given(st.one_of(st.binary(max_size=30), st.binary(max_size=30).map(lambda c: encode_chunk([c]))))
@example(b"3\r\nabc\r\n")
def test_a_whole_chunk_is_one_that_would_be_written_so(data: bytes) -> None:
    parts: list[bytes] = []
    with contextlib.suppress(UpstreamMalformed):
        parts, _ = ChunkedBody(UpstreamMalformed).feed(data)
    whole = bool(data) and encode_chunk(parts) == data
    assert ChunkedBody(UpstreamMalformed).is_chunk(data) == whole


@pytest.mark.parametrize("before", [b"3", b"3\r\n", b"3\r\nab", b"3\r\nabc", b"0\r\n"])
def test_what_continues_a_chunk_is_none(before: bytes) -> None:
    body = ChunkedBody(UpstreamMalformed)
    body.feed(before)
    assert not body.is_chunk(b"3\r\nabc\r\n")


@pytest.mark.parametrize(
    "data",
    [
        b"03\r\nabc\r\n", b"3;x\r\nabc\r\n", b"A\r\n0123456789\r\n", b"0\r\n\r\n", b"0\r\n",
        b"3", b"3xxabc\r\n", b"3\r\nabcXY", b"3\r\nabc\r\r", b"3\n\nabc\r\n", b"3\r\nabc\n\n",
        b"3\r\nab\r\n",
    ],
)  # fmt: skip
def test_a_chunk_that_is_framed_otherwise_is_to_be_framed_anew(data: bytes) -> None:
    assert not ChunkedBody(UpstreamMalformed).is_chunk(data)


@given(st.binary(max_size=300), st.integers(1, 20))
def test_no_input_makes_a_decoder_do_anything_but_decode_or_refuse(data: bytes, size: int) -> None:
    body = ChunkedBody(MalformedRequest)
    try:
        content, tail = decode(body, cut(data, size))
    except MalformedRequest:
        return
    assert len(content) + len(tail) <= len(data)


@pytest.mark.parametrize("size", [1, 4, 100])
def test_a_body_of_known_length_ends_there(size: int) -> None:
    body = LengthBody(5)
    assert decode(body, cut(b"12345GET", size)) == (b"12345", b"GET")
    assert body.done


def test_a_body_is_done_with_its_last_octet() -> None:
    body = LengthBody(5)
    body.feed(b"1234")
    assert not body.done
    body.feed(b"5")
    assert body.done


def test_no_body_is_done_from_the_start() -> None:
    assert LengthBody(0).done


@pytest.mark.parametrize(
    ("method", "status", "length", "chunked", "kind", "done"),
    [
        (b"GET", 200, 5, False, LengthBody, False),
        (b"GET", 200, 0, False, LengthBody, True),
        (b"GET", 200, None, True, ChunkedBody, False),
        (b"GET", 200, None, False, CloseBody, False),
        (b"HEAD", 200, 5, False, LengthBody, True),
        (b"HEAD", 200, None, True, LengthBody, True),
        (b"HEAD", 200, None, False, LengthBody, True),
        (b"GET", 204, 5, False, LengthBody, True),
        (b"GET", 304, 5, False, LengthBody, True),
    ],
)
def test_how_a_response_is_delimited(
    method: bytes, status: int, length: int | None, chunked: bool, kind: type, done: bool
) -> None:
    body = response_body(method=method, status=status, length=length, chunked=chunked)
    assert isinstance(body, kind)
    assert body.done is done
