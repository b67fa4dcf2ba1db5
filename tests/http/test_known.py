"""What is known of a header block is what reading it anew would say, and no more is believed."""

from __future__ import annotations

import gc
import re
from collections.abc import Callable, Iterator

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from proxy.errors import Internal, MalformedRequest, ProxyError
from proxy.headers import RequestHeaders
from proxy.http import known
from proxy.http.head import END, RequestHead, parse_request
from proxy.http.known import GENERATION, LONGEST, LONGEST_LINE, MOST_FIELDS, HeadReader, Known, Line
from proxy.impersonation import verify_lines
from tests.corpus import PROBE, Case, head
from tests.corpus.every import CASES
from tests.forms import attributes, holds_its_module
from tests.http.memory import Wire, World
from tests.http.test_outgoing import FIELDS

PLAIN = head(b"Accept: a/b", b"Cookie: secret", b"Accept: c/d", b"User-Agent: x")
LINE = PLAIN[: PLAIN.find(b"\r\n") + 2]
STARTS = [
    LINE,
    LINE.replace(b"GET", b"DELETE"),
    LINE[:-2],
    b"\r\n",
    b"A: b\r\n",
    b"GET",
    b"\0",
    b" ",
    PLAIN,
]
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
AUDIT_ID = re.compile(rb"Audit-Id: [0-9a-f-]{36}")


def read(reading: Callable[[], RequestHead]) -> RequestHead | tuple[type[ProxyError], str]:
    try:
        return reading()
    except ProxyError as error:
        return type(error), error.detail


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_case_is_read_as_if_nothing_were_known(case: Case) -> None:
    data = case.data[: case.data.find(END) + len(END)] if END in case.data else case.data
    reader = HeadReader(RequestHeaders(), b"api")
    anew = read(lambda: parse_request(data, RequestHeaders()))
    assert read(lambda: reader.read(data)) == anew
    assert read(lambda: reader.read(data)) == anew


@given(FIELDS)
@example([(b"Accept", b"x"), (b"Connection", b"accept, keep-alive")])
@example([(b"Cookie", b"alice"), (b"X", b"Bearer alice")])
def test_whatever_is_sent_twice_is_read_alike(fields: list[tuple[bytes, bytes]]) -> None:
    data = head(*(b"%s: %s" % field for field in fields))
    data = data[: data.find(END) + len(END)]
    reader = HeadReader(RequestHeaders(), b"api")
    anew = read(lambda: parse_request(data, RequestHeaders()))
    assert read(lambda: reader.read(data)) == anew
    assert read(lambda: reader.read(data)) == anew


def test_the_request_line_is_never_another_requests() -> None:
    reader = HeadReader(RequestHeaders(), b"api")
    first = reader.read(PLAIN)
    other = reader.read(PLAIN.replace(b"GET /version", b"DELETE /api//v1/x%2Fy?a=b?c"))
    assert (other.method, other.target) == (b"DELETE", b"/api//v1/x%2Fy?a=b?c")
    assert other.known is first.known is not None
    assert (first.method, first.target) == (b"GET", b"/version")


@pytest.mark.parametrize("place", [b"/%s", b"/a%s", b"/a%sb?c", b"/a?b%sc", b"%s/a"])
def test_no_target_is_taken_that_llhttp_would_not_take(place: bytes) -> None:
    """Each byte in each kind of place, before a block that is known."""
    reader = HeadReader(RequestHeaders(), b"api")
    assert reader.read(PLAIN).known is not None
    taken = 0
    for byte in range(256):
        data = PLAIN.replace(b"/version", place % bytes([byte]))
        anew = read(lambda data=data: parse_request(data, RequestHeaders()))  # type: ignore[misc]
        assert read(lambda data=data: reader.read(data)) == anew, byte  # type: ignore[misc]
        taken += isinstance(anew, RequestHead)
    assert taken >= (1 if place == b"%s/a" else 90)


@pytest.mark.parametrize(
    "data",
    [
        head(b"Content-Length: 0"),
        head(b"Content-Length: 5"),
        head(b"Transfer-Encoding: chunked"),
        head(b"Expect: 100-continue"),
        head(b"Connection: Upgrade", b"Upgrade: websocket"),
        head(b"Sec-WebSocket-Protocol: v5"),
        head(b"Impersonate-User: root"),
        head(b"Authorization: Bearer bob"),
        head(b"A: " + b"b" * LONGEST),
        head(b"traceparent: 00-1-2-01"),
        PLAIN.replace(b"HTTP/1.1", b"HTTP/1.0"),
        PLAIN.replace(b"Authorization: Bearer alice\r\n", b""),
        PLAIN.replace(b"Bearer alice", b""),
    ],
)
def test_only_a_plain_block_is_known(data: bytes) -> None:
    reader = HeadReader(RequestHeaders(), b"api")
    assert [reader.read(data).known, reader.read(data).known] == [None, None]
    assert reader.read(PLAIN).known is reader.read(PLAIN).known is not None


@pytest.mark.parametrize("fields", [b"Accept: x\r\n", b"Authorization: Bearer alice\r\nA: b\r\n"])
def test_nothing_is_made_of_a_request_line_before_its_head_is_read(
    fields: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A target of 64 KiB takes 10 ms to resolve; a head that is refused must not cost that."""
    monkeypatch.setattr("proxy.requestinfo.resolve", None)
    data = b"GET /api/v1/pods?" + b"%41=%42&" * 7500 + b" HTTP/1.1\r\n" + fields
    with pytest.raises(MalformedRequest):  # for want of a Host
        HeadReader(RequestHeaders(), b"api").read(data + b"\r\n")


def reader_that_knows_one() -> tuple[HeadReader, Known, bytes]:
    reader = HeadReader(RequestHeaders(), b"api")
    known, block = reader.read(PLAIN).known, PLAIN.partition(b"\r\n")[2]
    assert known is not None
    return reader, known, block


@given(st.lists(st.sampled_from(STARTS), max_size=4).map(b"".join))
def test_a_block_that_comes_again_is_read_as_if_it_were_new(start: bytes) -> None:
    reader, known, block = reader_that_knows_one()
    again = reader.read_again(start + block, known, block)
    assert again is None or again == parse_request(start + block, RequestHeaders())
    plain = start in (LINE, LINE.replace(b"GET", b"DELETE"))
    assert (again is not None) == plain


@pytest.mark.parametrize("start", [LINE + b"Cookie: c\r\n", PLAIN + LINE])
def test_no_more_than_a_line_is_taken_for_one(start: bytes) -> None:
    reader, known, block = reader_that_knows_one()
    assert reader.read_again(start + block, known, block) is None
    assert reader._known_line.cache_info().currsize == 1


@pytest.mark.parametrize("other", [PLAIN[:-1] + b"x", PLAIN + b"GET", b"", PLAIN[:-4]])
def test_only_the_very_same_block_comes_again(other: bytes) -> None:
    reader, known, block = reader_that_knows_one()
    assert reader.read_again(other, known, block) is None


def test_a_long_line_is_not_read_again() -> None:
    reader, known, block = reader_that_knows_one()
    line = b"GET /" + b"a" * LONGEST_LINE + b" HTTP/1.1\r\n"
    assert reader.read_again(line + block, known, block) is None
    assert reader._known_line.cache_info().currsize == 1


def test_a_block_of_many_fields_is_not_kept() -> None:
    reader = HeadReader(RequestHeaders(), b"api")
    data = head(*[b"if-%d: x" % number for number in range(MOST_FIELDS + 1)])
    assert reader.read(data).known is None
    assert not reader._young


def test_neither_the_token_nor_what_is_dropped_is_kept() -> None:
    reader = HeadReader(RequestHeaders(), b"api")
    reader.read(PLAIN)
    held: list[object] = [reader]
    seen: set[int] = set()
    kept = b""
    while held:
        thing = held.pop()
        if id(thing) in seen or isinstance(thing, type) or holds_its_module(thing):
            continue
        seen.add(id(thing))
        kept += thing if isinstance(thing, bytes) else b""
        held += gc.get_referents(thing)
        if isinstance(thing, HeadReader | Known | Line):  # compiled, it does not tell of its bytes
            held += attributes(thing).values()
    assert b"a/b" in kept
    assert b"alice" not in kept
    assert b"secret" not in kept


def test_what_is_known_is_bounded_and_the_latest() -> None:
    reader = HeadReader(RequestHeaders(), b"api")
    often = reader.read(PLAIN).known
    for number in range(5 * GENERATION):
        assert reader.read(head(b"Accept: %d" % number)).known is not None
        assert reader.read(PLAIN).known is often
    assert len(reader._young) + len(reader._old) <= 2 * GENERATION


class Conversation:
    """Requests of one client, answered at once, and what the API server saw of them."""

    def __init__(self) -> None:
        self.world = World()
        self.seen: list[bytes] = []
        self.world.loop.on_dial = lambda dial: dial.succeed(self._stands)
        self.client = self.world.client()

    def _stands(self, wire: Wire) -> None:
        def answered() -> None:
            if wire.received:
                self.seen.append(bytes(wire.received))
                wire.received.clear()
                wire.feed(ANSWER)

        wire.on_receive = answered

    def ask(self, data: bytes) -> bytes:
        self.world.loop.do(self.client.feed, data)
        return self.seen[-1]


@pytest.fixture
def conversation() -> Iterator[Conversation]:
    begun = Conversation()
    yield begun
    assert begun.world.loop.unexpected == []
    begun.world.close()


def test_a_client_that_sends_the_same_block_again_has_only_its_line_read(
    conversation: Conversation, monkeypatch: pytest.MonkeyPatch
) -> None:
    conversation.ask(PLAIN)
    monkeypatch.setattr(conversation.world.listener.heads, "_keyed", None)  # to look up a block
    assert b"GET /other HTTP/1.1\r\n" in conversation.ask(PLAIN.replace(b"/version", b"/other"))
    assert len(conversation.seen) == 2


def test_a_connection_that_watches_keeps_no_block(conversation: Conversation) -> None:
    conversation.ask(PLAIN)
    (connection,) = conversation.world.listener._connections
    assert connection._block
    conversation.world.loop.do(
        conversation.client.feed, PLAIN.replace(b"/version", b"/api/v1/pods?watch=1")
    )
    assert not connection._block
    assert connection._known is None


def test_requests_that_come_at_once_are_as_many_as_they_are(conversation: Conversation) -> None:
    conversation.ask(PLAIN)
    other = PLAIN.replace(b"/version", b"/other")
    conversation.world.loop.do(conversation.client.feed, other + PLAIN)
    assert [b"GET /other " in seen for seen in conversation.seen] == [False, True, False]


def test_what_leaves_again_is_the_same_but_for_its_name(conversation: Conversation) -> None:
    first, again = conversation.ask(PLAIN), conversation.ask(PLAIN)
    assert len(conversation.seen) == 2
    assert first != again
    assert AUDIT_ID.sub(b"", first) == AUDIT_ID.sub(b"", again)


def test_a_new_credential_is_the_one_that_is_sent(conversation: Conversation) -> None:
    conversation.ask(PLAIN)
    conversation.world.credential.line = b"Authorization: Bearer another\r\n"
    assert b"\r\nAuthorization: Bearer another\r\n" in conversation.ask(PLAIN)
    assert b"\r\nAuthorization: Bearer another\r\n" in conversation.ask(PLAIN)


def test_another_user_is_another_identity(conversation: Conversation) -> None:
    for _ in range(2):
        assert b"\r\nImpersonate-User: alice\r\n" in conversation.ask(PROBE)
        other = conversation.ask(PROBE.replace(b"alice", b"bobby"))
        assert b"\r\nImpersonate-User: bobby\r\n" in other


def test_what_is_written_before_known_fields_is_looked_at(
    conversation: Conversation, monkeypatch: pytest.MonkeyPatch
) -> None:
    conversation.ask(PLAIN)
    hostile = b"GET /a\r\nImpersonate-User:root\r\nb HTTP/1.1\r\nHost: api\r\n"
    monkeypatch.setattr(known, "write_start", lambda *_: hostile)
    conversation.world.loop.do(conversation.client.feed, PLAIN.replace(b"/version", b"/a"))
    assert len(conversation.seen) == 1
    assert conversation.client.received.count(b"HTTP/1.1 500 ") == 1


@pytest.mark.parametrize(
    "start", [b"a\r\nb\r\n\r\n", b"a\r\nb\r\nc\r", b"a\nb\r\n", b"a\r\nb", b""]
)
def test_a_start_is_as_many_whole_lines_as_were_written(start: bytes) -> None:
    verify_lines(b"a\r\nb\r\n", 2)
    with pytest.raises(Internal):
        verify_lines(start, 2)
