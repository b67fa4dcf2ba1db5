"""What leaves, whatever came: requests drawn by hypothesis, and the bytes that the API server gets.

The two layers are tested apart. First the list: what a request says under any other name is lost
before a head is written. Then the look at the finished bytes, which must find what the list would
have let through.
"""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from proxy.errors import Internal
from proxy.headers import RequestHeaders, Role
from proxy.http.head import parse_request
from proxy.impersonation import impersonate, verify_outgoing
from proxy.userinfo import UserInfo
from tests.corpus import GROUP, POLICY
from tests.http.memory import World
from tests.wire import write_request

CREDENTIAL = b"Authorization: Bearer the-proxy-itself\r\n"
ALICE = impersonate(UserInfo("alice", groups=(GROUP,)), POLICY)
OURS = [CREDENTIAL[:-2], *ALICE.header.split(b"\r\n")[:-1]]
FRAMING = re.compile(rb"Content-Length: [0-9]+|Transfer-Encoding: chunked")
ASKING = [b"Connection: Upgrade", b"Upgrade: websocket"]

PASSING = (
    b"Accept", b"Accept-Encoding", b"Accept-Language", b"Cache-Control", b"Content-Type",
    b"Content-Encoding", b"Origin", b"Range", b"User-Agent", b"X-Stream-Protocol-Version",
    b"If-Match", b"If-Anything", b"Kubectl-Command", b"traceparent", b"tracestate",
    b"Sec-WebSocket-Key", b"Sec-WebSocket-Version", b"Sec-WebSocket-Extensions",
    b"Sec-WebSocket-Protocol",
)  # fmt: skip
OTHERS = (
    b"Impersonate-User", b"Impersonate-Group", b"Impersonate-Uid", b"Impersonate-Extra-a",
    b"Impersonate_User", b"Impersonate-New", b"Authorization", b"Proxy-Authorization", b"Cookie",
    b"X-Remote-User", b"X_Remote_Group", b"X-Forwarded-For", b"Forwarded", b"Host", b"Connection",
    b"Keep-Alive", b"TE", b"Trailer", b"Upgrade", b"Expect", b"Content-Length", b"Content_Length",
    b"Transfer-Encoding", b"Transfer_Encoding", b"HTTP2-Settings", b"Accept_Encoding", b"X-Other",
)  # fmt: skip


def _cases(name: bytes) -> st.SearchStrategy[bytes]:
    return st.sampled_from([name, name.lower(), name.upper(), name.replace(b"-", b"_")])


NAMES = st.one_of(
    st.sampled_from(PASSING + OTHERS).flatmap(_cases),
    st.from_regex(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,12}", fullmatch=True),
)
VALUES = st.one_of(
    st.sampled_from(
        (b"", b"x", b"0", b"5", b"chunked", b"close", b"upgrade", b"websocket", b"root")
    ),
    st.lists(NAMES, max_size=3).map(b", ".join),  # what a Connection header may name
    st.binary(max_size=12),
    st.from_regex(rb"[\t -~\x80-\xff]{0,20}", fullmatch=True),
)
FIELDS = st.lists(st.tuples(NAMES, VALUES), max_size=8)
ENDS = st.sampled_from((b"\r\n", b"\r\n", b"\r\n", b"\r\n", b"\n", b"\r", b"\r\n ", b"\0\r\n"))


def sent_upstream(data: bytes) -> tuple[bytes, list[bytes]]:
    """Have a client send ``data``; return what came upstream, and its head's lines if it is one."""
    world = World()
    try:
        received = bytearray()
        world.loop.on_dial = lambda dial: dial.succeed(
            lambda wire: setattr(wire, "received", received)
        )
        world.loop.do(world.client().feed, data)
        assert world.loop.unexpected == []
        head, end, _ = bytes(received).partition(b"\r\n\r\n")
        assert bool(end) is bool(received)
        return bytes(received), head.split(b"\r\n") if end else []
    finally:
        world.close()


@given(FIELDS, st.booleans(), ENDS)
@example([(b"Connection", b"Accept"), (b"Accept", b"x")], False, b"\r\n")
@example([(b"Accept", b"x\r\nImpersonate-User: root")], False, b"\r\n")
@example([(b"Sec-WebSocket-Protocol", b"v5.channel.k8s.io")], True, b"\r\n")
def test_what_leaves_is_ours_and_what_is_on_the_list(
    fields: list[tuple[bytes, bytes]], upgrade: bool, end: bytes
) -> None:
    lines = [b"%s: %s" % field for field in fields]
    head = b"\r\n".join(
        [b"GET /version HTTP/1.1", b"Host: x", b"Authorization: Bearer alice", *lines]
        + (ASKING if upgrade else [])
    )
    received, sent = sent_upstream(head + end + b"\r\n")
    if not sent:
        return
    assert sent[0] == b"GET /version HTTP/1.1"
    assert sent[1] == b"Host: cluster.example"
    assert sent[2].startswith(b"Audit-Id: ")
    assert sent[3 : 3 + len(OURS)] == OURS
    theirs = sent[3 + len(OURS) :]
    assert not re.search(rb"(?<!\r)\n|\r(?!\n)|\0", received)
    framing = [line for line in theirs if FRAMING.fullmatch(line)]
    assert len(framing) <= 1
    rest = [line for line in theirs if line not in framing]
    if rest[-2:-1] == ASKING[:1]:
        assert rest[-1] in (b"Upgrade: websocket", b"Upgrade: SPDY/3.1")
        rest = rest[:-2]
    came = [_spelt(line) for line in b"\r\n".join(lines).split(b"\r\n")]
    for line in rest:
        name = line.partition(b":")[0].lower()
        assert name in {known.lower() for known in PASSING} or name.startswith(
            (b"if-", b"kubectl-")
        )
        assert _spelt(line) in came


def _spelt(line: bytes) -> bytes:
    """A field less the blanks around its value; one name is written in a spelling of our own."""
    name, _, value = line.partition(b":")
    name = name.lower() if name.lower() == b"sec-websocket-protocol" else name
    return name + b":" + value.strip(b" \t")


@given(st.lists(st.tuples(NAMES, st.sampled_from((b"x", b"alice"))), max_size=8))
def test_the_list_alone_lets_nothing_else_pass(fields: list[tuple[bytes, bytes]]) -> None:
    """Without the gate's refusals and without the look at the bytes."""
    headers = RequestHeaders()
    text = b"".join(b"%s: %s\r\n" % field for field in fields if headers[field[0]] in SAFE)
    head = parse_request(b"GET / HTTP/1.1\r\nHost: x\r\n" + text + b"\r\n", headers)
    written = write_request(
        head, authority=b"x", credential=CREDENTIAL, identity=ALICE.header, audit_id="1-2"
    )
    verify_outgoing(written, ALICE)
    assert written.lower().count(b"impersonate-user") == 1


SAFE = (Role.DROP, Role.PASS, Role.IMPERSONATION, Role.AUTHORIZATION)  # that no value can spoil

GOOD = (
    b"POST / HTTP/1.1\r\nHost: x\r\n" + CREDENTIAL + ALICE.header + b"Accept: a\r\n"
    b"Content-Length: 5\r\n\r\n"
)


@pytest.mark.parametrize(
    "slipped",
    [
        b"Impersonate-User: root", b"impersonate-user: root", b"IMPERSONATE_USER: root",
        b"Impersonate-Group: system:masters", b"Impersonate-Uid: 0", b"Impersonate-Extra-a: b",
        b"ImpersonateX: y", b"Authorization: Bearer x", b"authorization: x", b"Content-Length: 5",
        b"content-length: 6", b"Transfer-Encoding: chunked", b"transfer-encoding: x",
        b"X: y\nImpersonate-User: root", b"X: y\rImpersonate-User: root", b"X: y\n", b"X: y\r",
        b"X: y\n\nGET / HTTP/1.1", b"X: y\r\n\r\nGET / HTTP/1.1\r\nHost: x", b"\nX: y",
    ],
)  # fmt: skip
def test_the_look_at_the_finished_bytes_alone_finds_what_slipped_through(slipped: bytes) -> None:
    """As if the list had let it pass: each place where a line may be."""
    verify_outgoing(GOOD, ALICE)
    places = [match.end() for match in re.finditer(rb"\r\n(?!\r\n|$)", GOOD)]
    for place in places:
        with pytest.raises(Internal):
            verify_outgoing(GOOD[:place] + slipped + b"\r\n" + GOOD[place:], ALICE)


@pytest.mark.parametrize("lost", [*ALICE.header.splitlines(keepends=True), ALICE.header])
def test_the_look_at_the_finished_bytes_alone_finds_what_was_lost(lost: bytes) -> None:
    with pytest.raises(Internal):
        verify_outgoing(GOOD.replace(lost, b""), ALICE)


@given(st.binary(max_size=40), st.integers(0, 300))
def test_no_bytes_put_into_a_finished_head_make_another_identity_of_it(
    inserted: bytes, place: int
) -> None:
    """Either they are found, or whoever ends a line at any LF or CR still reads only ours."""
    head = GOOD[:place] + inserted + GOOD[place:]
    try:
        verify_outgoing(head, ALICE)
    except Internal:
        return
    names = [line.strip().lower() for line in re.split(rb"\r\n|\n|\r", head)]
    assert [n for n in names if n.startswith(b"impersonate")] == [
        line.lower() for line in ALICE.header.split(b"\r\n")[:-1]
    ]
    assert len([n for n in names if n.startswith(b"authorization:")]) <= 1
