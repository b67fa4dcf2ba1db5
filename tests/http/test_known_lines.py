"""A head put together from remembered lines is what reading it anew would say, for every head."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import UpstreamMalformed
from proxy.http import known_lines
from proxy.http.head import END, ResponseHead, parse_response
from proxy.http.known_lines import HEADS, LINES, LONGEST, MOST, ResponseReader
from tests.forms import attributes

KUBE = (
    b"HTTP/1.1 200 OK",
    b"Audit-Id: 6a1f8a9e-7a53-4f1c-a1ad-3d1f5b1b6b1e",
    b"Cache-Control: no-cache, private",
    b"Content-Type: application/json",
    b"X-Kubernetes-Pf-Flowschema-Uid: 3f9e",
    b"Date: Tue, 24 Nov 2026 00:00:00 GMT",
    b"Content-Length: 400",
)
STARTS = [
    b"HTTP/1.1 200 OK",
    b"HTTP/1.1 404 Not Found",
    b"HTTP/1.1 200 ",
    b"HTTP/1.1 200",
    b"HTTP/1.0 200 OK",
    b"HTTP/1.1 304 Not Modified",
    b"HTTP/1.1 204 No Content",
    b"HTTP/1.1 100 Continue",
    b"HTTP/1.1 101 Switching Protocols",
    b"HTTP/1.1 099 Odd",
    b"HTTP/2 200 OK",
]
OF_INTEREST = [
    *KUBE[1:],
    b"content-length: 400",
    b"Content-Length: 400 ",
    b"Content-Length:400",
    b"Content-Length: 4e2",
    b"Content-Length: 1234567890123456789",
    b"Transfer-Encoding: chunked",
    b"Transfer-Encoding: gzip",
    b"transfer-encoding: Chunked",
    b"Connection: keep-alive",
    b"Connection: close",
    b"Connection: Date, cache-control",
    b"Keep-Alive: timeout=5",
    b"Upgrade: websocket",
    b"Audit-Id: x\ty",
    b"Audit-Id:",
    b"Audit-Id: a\rb",
    b"Audit-Id: a\x00",
    b"Set-Cookie: a=b",
    b"X-Auth-Token: secret",
    b"Date : x",
    b"Date:x",
    b"Date: \tx ",
    b" folded",
    b"Vary: a\nb",
    b"Vary: a\rb",
    b"Vary: \x00",
    b"no colon",
    b"Server: \xff",
]


def head(*lines: bytes) -> bytes:
    return b"".join(line + b"\r\n" for line in lines) + b"\r\n"


def read(reading: Callable[[bytes], ResponseHead], data: bytes) -> ResponseHead | str:
    try:
        return reading(data)
    except UpstreamMalformed as error:
        return error.detail


@given(
    st.lists(
        st.tuples(st.sampled_from(STARTS), st.lists(st.sampled_from(OF_INTEREST), max_size=6)),
        min_size=1,
        max_size=6,
    )
)
def test_whatever_came_before_a_head_is_read_as_if_nothing_had(
    answers: list[tuple[bytes, list[bytes]]],
) -> None:
    reader = ResponseReader()
    for _, (start, lines) in product(range(2), answers):
        data = head(start, *lines)
        assert read(reader.read, data) == read(parse_response, data)


@pytest.mark.parametrize("start", STARTS)
def test_no_line_means_anything_else_behind_a_start_that_is_known(start: bytes) -> None:
    reader = ResponseReader()
    for lines in ([], *([line] for line in OF_INTEREST), []):
        data = head(start, *lines)
        assert read(reader.read, data) == read(parse_response, data), lines


@pytest.mark.parametrize("first", OF_INTEREST)
def test_no_two_lines_mean_anything_else_once_they_are_known(first: bytes) -> None:
    reader = ResponseReader()
    for second in OF_INTEREST:
        for lines in ((first,), (second,), (first, second)):
            data = head(STARTS[0], *lines)
            assert read(reader.read, data) == read(parse_response, data), lines


def test_an_api_servers_answer_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    reader = ResponseReader()
    reader.read(head(*KUBE))
    other = [line.replace(b"6a1f", b"7777").replace(b"400", b"12345") for line in KUBE]
    expected = parse_response(head(*other))
    monkeypatch.setattr(known_lines, "parse_response", None)
    assert reader.read(head(*other)) == expected
    assert expected.content_length == 12345


def test_a_head_that_differs_in_its_id_alone_is_not_taken_apart_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reader = ResponseReader()
    for _ in range(2):
        reader.read(head(*KUBE))
    other = head(*(line.replace(b"6a1f", b"7777") for line in KUBE))
    reader._starts.clear()  # so that whatever is taken apart goes to llhttp
    expected = parse_response(other)
    monkeypatch.setattr(known_lines, "parse_response", None)
    assert reader.read(other) == expected


@pytest.mark.parametrize(
    "id_line", [KUBE[1], KUBE[1][:-1] + b"\x00", KUBE[1] + b"0", b"Audit-Id: x"]
)
def test_only_a_whole_line_is_left_out_of_what_a_head_is_found_by(id_line: bytes) -> None:
    reader, known = ResponseReader(), head(KUBE[0], *KUBE[2:])
    for _ in range(2):
        reader.read(known)
    assert reader._heads
    for place in range(len(known) + 1):
        for inserted in (id_line + b"\r\n", b"\r\n" + id_line, b"\r\n" + id_line + b"\r\n"):
            data = known[:place] + inserted + known[place:]
            if data.find(END) == len(data) - len(END):
                assert read(reader.read, data) == read(parse_response, data), data


@pytest.mark.parametrize("line", [b"X-Auth-Token: secret", b"Set-Cookie: a=secret"])
def test_what_a_service_behind_the_api_server_says_is_not_remembered(line: bytes) -> None:
    reader = ResponseReader()
    for _ in range(3):
        reader.read(head(*KUBE, line))
    assert b"secret" not in repr(attributes(reader)).encode()


def test_what_is_remembered_is_bounded() -> None:
    reader = ResponseReader()
    reader.read(head(KUBE[0], b"Vary: " + b"x" * LONGEST))
    assert not reader._lines
    for number in range(2 * LINES):
        reader.read(head(b"HTTP/1.1 200 %d" % number, b"Vary: %d" % number))
        assert len(reader._lines) <= LINES
        assert len(reader._starts) <= LINES
        reader.read(head(KUBE[0], b"Content-Length: %d" % number))
        assert len(reader._heads) <= HEADS
    assert reader.read(head(KUBE[0])) == parse_response(head(KUBE[0]))


def test_no_long_head_is_remembered_whole_and_none_with_an_id_elsewhere() -> None:
    reader = ResponseReader()
    long = [b"Vary: %d" % number + b"x" * (LONGEST - 9) for number in range(10)]
    for lines in ([KUBE[0], *long], [KUBE[0], KUBE[2], KUBE[1]]):
        for _ in range(3):
            assert reader.read(head(*lines)) == parse_response(head(*lines))
    assert not reader._heads


def test_a_head_of_many_lines_neither_costs_more_nor_drives_out_what_is_known() -> None:
    reader = ResponseReader()
    lines = [b"Vary: %d" % number for number in range(MOST)]
    assert reader.read(head(KUBE[0], *lines)) == parse_response(head(KUBE[0], *lines))
    assert not reader._lines
    reader.read(head(KUBE[0], *lines[1:]))
    assert len(reader._lines) == MOST - 1
