"""Numbers that a peer may choose mean what they say or are refused, however large, in either form.

Compiled, some numbers are integers of C, and those have an end.
"""

from __future__ import annotations

import contextlib
import math
import time

import pytest

from proxy.errors import MalformedRequest, UpstreamMalformed
from proxy.headers import RequestHeaders
from proxy.http.body import ChunkedBody, LengthBody, request_body, response_body
from proxy.http.head import parse_request
from proxy.http.known_lines import ResponseReader
from proxy.http.timer import Timer
from proxy.limits import Tally
from proxy.observe.logs import Timestamps
from tests.corpus import head
from tests.http.memory import Loop

LENGTHS = [0, 1, 2**31 - 1, 2**31, 2**32, 2**32 + 5, 2**53 + 1, 10**18 - 1]
NO_LENGTHS = [-1, -(2**31), 10**18, 2**63 - 1, 2**63, 2**64, 2**64 + 5]
CHUNKS = [1, 2**31 - 1, 2**31, 2**32, 2**53 + 1, 16**15 - 1]
NO_CHUNKS = [-1, 16**15, 2**63 - 1, 2**63, 2**64, 2**64 + 5]
NO_STATUSES = [-200, -1, 1000, 2**16 + 200, 2**31, 2**32 + 200, 2**63, 2**64 + 200]


@pytest.mark.parametrize("length", LENGTHS)
def test_a_length_is_what_it_says(length: int) -> None:
    read = parse_request(head(b"Content-Length: %d" % length), RequestHeaders())
    assert read.content_length == length
    reader = ResponseReader()
    for _ in range(3):  # by llhttp, by its lines, whole
        answer = reader.read(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % length)
        assert answer.content_length == length
    for body in (
        request_body(length, chunked=False),
        response_body(b"GET", 200, length, chunked=False),
    ):
        assert isinstance(body, LengthBody)
        assert body.remaining == length
    whole = LengthBody(length)
    whole.feed(b"x")
    assert whole.remaining == max(0, length - 1)


@pytest.mark.parametrize("length", NO_LENGTHS)
def test_what_is_no_length_is_refused(length: int) -> None:
    with pytest.raises(MalformedRequest):
        parse_request(head(b"Content-Length: %d" % length), RequestHeaders())
    reader = ResponseReader()
    reader.read(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")  # its first line is known then
    with pytest.raises(UpstreamMalformed):
        reader.read(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % length)


@pytest.mark.parametrize("size", CHUNKS)
def test_a_chunk_has_the_size_that_it_says(size: int) -> None:
    body = ChunkedBody(MalformedRequest)
    assert not body.is_chunk(b"%x\r\n12345\r\n" % size)
    body.feed(b"%x\r\n1" % size)
    assert body._remaining == size - 1


@pytest.mark.parametrize("size", NO_CHUNKS)
def test_what_is_no_size_of_a_chunk_is_refused(size: int) -> None:
    body = ChunkedBody(MalformedRequest)
    assert not body.is_chunk(b"%x\r\n12345\r\n" % size)
    with pytest.raises(MalformedRequest):
        body.feed(b"%x\r\n1" % size)


@pytest.mark.parametrize("status", NO_STATUSES)
def test_what_is_no_status_is_refused(status: int) -> None:
    with pytest.raises(UpstreamMalformed):
        ResponseReader().read(b"HTTP/1.1 %d X\r\nContent-Length: 0\r\n\r\n" % status)


@pytest.mark.parametrize("limit", [0, 1, 2**31, 2**62])
def test_a_tally_counts_to_any_limit_that_can_be_set(limit: int) -> None:
    tally = Tally(limit)
    assert tally.limit == limit
    assert tally.enter("alice")
    assert tally.may_enter("alice") == (limit != 1)


def test_what_is_counted_never_becomes_less_by_one_more() -> None:
    """Nobody gets so far; where numbers have an end there, that is an error."""
    tally = Tally()
    tally._counts["alice"] = 2**63 - 1
    with contextlib.suppress(OverflowError):
        tally.enter("alice")
    assert tally._counts["alice"] in (2**63 - 1, 2**63)


@pytest.mark.parametrize(
    ("now", "written"),
    [
        (0.25, "1970-01-01T00:00:00.250Z"),
        (2**31 + 0.5, "2038-01-19T03:14:08.500Z"),
        (2**33 + 0.5, "2242-03-16T12:56:32.500Z"),
        (-86400.0, "1969-12-31T00:00:00.000Z"),
    ],
)
def test_a_time_is_written_whatever_the_clock_says(now: float, written: str) -> None:
    assert Timestamps().format(now) == written


@pytest.mark.parametrize("now", [math.inf, math.nan, 1e300, -1e300, 2.0**63, 2.0**64])
def test_what_is_no_time_is_an_error_and_not_another_time(now: float) -> None:
    timestamps = Timestamps()
    with pytest.raises((OverflowError, ValueError, OSError)):
        timestamps.format(now)
    assert timestamps.format(0.0) == time.strftime("%FT%T.000Z", time.gmtime(0))


def test_a_deadline_that_never_comes_is_none() -> None:
    loop, expired = Loop(), []
    timer = Timer(loop, lambda: expired.append(1))
    timer.set(math.inf)
    loop.advance(1e9)
    timer.set(5)
    loop.advance(6)
    loop.close()
    assert expired == [1]
