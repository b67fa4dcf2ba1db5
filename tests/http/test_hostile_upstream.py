"""An API server that is broken, or is none: what of its answers reaches a client, and whose.

Two requests of different people go out one after the other over one client connection. Whatever
is answered to the first, the second gets an answer of its own or none, and no bytes of the first
answer become another one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from proxy.http.head import MAX_RESPONSE_HEAD_BYTES
from tests.differential import Answers, Observation
from tests.http.memory import Dial, Wire, World

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
SMUGGLED = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"
UPGRADE = b"Connection: Upgrade\r\nUpgrade: websocket\r\n"
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\n" + UPGRADE


def asking(who: bytes, line: bytes = b"GET / HTTP/1.1", fields: bytes = b"") -> bytes:
    return line + b"\r\nHost: x\r\nAuthorization: Bearer " + who + b"\r\n" + fields + b"\r\n"


@dataclass
class Stage:
    world: World
    answer: bytes = b""  # to the first request; the second is answered with OK
    ends: str = ""  # how the connection ends behind it
    requests: list[bytes] = field(default_factory=list)

    def ask(self, first: bytes, *, method: bytes = b"GET") -> tuple[Observation, Wire]:
        """Send ``first`` and then a GET of bob's; return what the client has, and its wire."""
        self.world.loop.on_dial = self._dialled
        client = self.world.client()
        self.world.loop.do(client.feed, first)
        self.world.loop.do(client.feed, asking(b"bob"))
        observed = Observation()
        answers = Answers(observed, [method, b"GET"])
        answers.receive(bytes(client.received))
        if client.ended == "closed":
            answers.receive(b"")
        assert self.world.loop.unexpected == []
        return observed, client

    def _dialled(self, dial: Dial) -> None:
        def stand(wire: Wire) -> None:
            def receive() -> None:
                if b"\r\n\r\n" in wire.received:
                    self.requests.append(bytes(wire.received))
                    wire.received.clear()
                    self._answer(wire, self.answer if len(self.requests) == 1 else OK)

            wire.on_receive = receive

        dial.succeed(stand)

    def _answer(self, wire: Wire, answer: bytes) -> None:
        wire.feed(answer)
        if self.ends and answer is self.answer:
            wire.finish(clean=self.ends == "closes")


@pytest.fixture
def stage() -> Iterator[Stage]:
    world = World()
    yield Stage(world)
    world.close()
    assert not world.seen.under_way


def head(*lines: bytes, status: bytes = b"HTTP/1.1 200 OK") -> bytes:
    return b"\r\n".join((status, *lines)) + b"\r\n\r\n"


MALFORMED = {
    "a length and chunks": head(b"Content-Length: 2", b"Transfer-Encoding: chunked") + b"ok",
    "chunks and a length": head(b"Transfer-Encoding: chunked", b"Content-Length: 2") + b"0\r\n\r\n",
    "two lengths": head(b"Content-Length: 2", b"Content-Length: 46") + b"ok" + SMUGGLED,
    "two of the same length": head(b"Content-Length: 2", b"Content-Length: 2") + b"ok",
    "a list of lengths": head(b"Content-Length: 2, 2") + b"ok",
    "a length with a sign": head(b"Content-Length: +2") + b"ok",
    "a negative length": head(b"Content-Length: -2") + b"ok",
    "a hexadecimal length": head(b"Content-Length: 0x2") + b"ok",
    "an empty length": head(b"Content-Length:") + b"ok",
    "a huge length": head(b"Content-Length: " + b"9" * 30) + b"ok",
    "another coding": head(b"Transfer-Encoding: gzip") + b"ok",
    "two codings": head(b"Transfer-Encoding: gzip, chunked") + b"0\r\n\r\n",
    "chunked twice": head(b"Transfer-Encoding: chunked, chunked") + b"0\r\n\r\n",
    "two lines of codings": head(b"Transfer-Encoding: chunked", b"Transfer-Encoding: x")
    + b"0\r\n\r\n",
    "almost chunked": head(b"Transfer-Encoding: xchunked") + b"0\r\n\r\n",
    "a blank before a colon": head(b"Content-Length : 2") + b"ok",
    "a folded line": head(b"X: a", b" b", b"Content-Length: 2") + b"ok",
    "a folded length": head(b"Content-Length:", b" 2") + b"ok",
    "a bare LF": head(b"X: a\nY: b", b"Content-Length: 2") + b"ok",
    "a bare CR": head(b"X: a\rY: b", b"Content-Length: 2") + b"ok",
    "a NUL in a value": head(b"X: a\0b", b"Content-Length: 2") + b"ok",
    "a NUL in a name": head(b"X\0: a", b"Content-Length: 2") + b"ok",
    "a line without a colon": head(b"nonsense", b"Content-Length: 2") + b"ok",
    "no status": head(b"Content-Length: 2", status=b"HTTP/1.1") + b"ok",
    "a status of two digits": head(b"Content-Length: 2", status=b"HTTP/1.1 20 OK") + b"ok",
    "a status of four digits": head(b"Content-Length: 2", status=b"HTTP/1.1 2000 OK") + b"ok",
    "a status below 100": head(b"Content-Length: 2", status=b"HTTP/1.1 099 Odd") + b"ok",
    "HTTP/2": head(b"Content-Length: 2", status=b"HTTP/2 200 OK") + b"ok",
    "HTTP/0.9": b"<html>hello</html>\r\n\r\n",
    "another protocol": b"SSH-2.0-OpenSSH_9.9\r\n\r\n",
    "a request": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "an empty line first": b"\r\n" + OK,
    "a head without an end": b"HTTP/1.1 200 OK\r\nX: " + b"a" * (MAX_RESPONSE_HEAD_BYTES + 1),
    "interim answers without an end": head(status=b"HTTP/1.1 103 Early Hints") * 12_000,
    "a switch that nobody asked for": SWITCH + b"\r\n" + SMUGGLED,
    "chunks that are none from the first": head(b"Transfer-Encoding: chunked") + b"-1\r\n",
}


@pytest.mark.parametrize("answer", MALFORMED.values(), ids=MALFORMED)
def test_what_could_be_read_in_two_ways_is_a_502_and_its_connection_ends(
    stage: Stage, answer: bytes
) -> None:
    stage.answer = answer
    observed, _ = stage.ask(asking(b"alice"))
    assert observed.unreadable == []
    assert [(a.status, a.body if a.status == 200 else b"") for a in observed.answers] == [
        (502, b""),
        (200, b"ok"),
    ]
    assert [b"Impersonate-User: bob\r\n" in request for request in stage.requests] == [False, True]
    assert stage.world.pool.active == 0


# what is answered, and what the client has of it; a second answer behind it is nobody's
PASSING = {
    "an answer and a second one": (OK + SMUGGLED, 200, b"ok"),
    "a 204 with a length and a body": (
        head(b"Content-Length: 4", status=b"HTTP/1.1 204 No") + b"evil",
        204,
        b"",
    ),
    "a 204 with chunks": (
        head(b"Transfer-Encoding: chunked", status=b"HTTP/1.1 204 No") + b"4\r\nevil\r\n0\r\n\r\n",
        204,
        b"",
    ),
    "a 204 and a second answer": (head(status=b"HTTP/1.1 204 No") + SMUGGLED, 204, b""),
    "a 304 with a length and a body": (
        head(b"Content-Length: 4", status=b"HTTP/1.1 304 No") + b"evil",
        304,
        b"",
    ),
    "a 304 and a second answer": (head(status=b"HTTP/1.1 304 No") + SMUGGLED, 304, b""),
    "chunks and a second answer": (
        head(b"Transfer-Encoding: chunked") + b"2\r\nok\r\n0\r\n\r\n" + SMUGGLED,
        200,
        b"ok",
    ),
    "trailers": (
        head(b"Transfer-Encoding: chunked", b"Trailer: X") + b"2\r\nok\r\n0\r\nX: y\r\n\r\n",
        200,
        b"ok",
    ),
    "an interim answer with a length": (
        head(b"Content-Length: 46", status=b"HTTP/1.1 103 Hints") + OK,
        200,
        b"ok",
    ),
    "an interim answer with chunks": (
        head(b"Transfer-Encoding: chunked", status=b"HTTP/1.1 103 Hints") + OK,
        200,
        b"ok",
    ),
    "a late continue": (head(status=b"HTTP/1.1 100 Continue") * 3 + OK, 200, b"ok"),
    "HTTP/1.0 with a length": (
        head(b"Content-Length: 2", status=b"HTTP/1.0 200 OK") + b"ok" + SMUGGLED,
        200,
        b"ok",
    ),
    "a length that Connection names": (
        head(b"Connection: Content-Length", b"Content-Length: 2") + b"ok",
        200,
        b"ok",
    ),
    "a status that nobody knows": (
        head(b"Content-Length: 2", status=b"HTTP/1.1 799 ?") + b"ok",
        799,
        b"ok",
    ),
    "no reason": (head(b"Content-Length: 2", status=b"HTTP/1.1 200") + b"ok", 200, b"ok"),
}


@pytest.mark.parametrize(("answer", "status", "body"), PASSING.values(), ids=PASSING)
def test_what_follows_an_answer_is_nobodys(
    stage: Stage, answer: bytes, status: int, body: bytes
) -> None:
    stage.answer = answer
    observed, _ = stage.ask(asking(b"alice"))
    assert observed.unreadable == []
    assert [(a.status, a.body) for a in observed.answers] == [(status, body), (200, b"ok")]
    assert len(stage.requests) == 2


def test_an_interim_or_empty_answer_has_no_length_for_a_client_to_wait_for(stage: Stage) -> None:
    interim = head(b"Content-Length: 4", status=b"HTTP/1.1 103 Hints")
    stage.answer = interim + head(b"Content-Length: 4", status=b"HTTP/1.1 204 No")
    _, client = stage.ask(asking(b"alice"))
    assert bytes(client.received).count(b"Content-Length") == 1  # bob's


def test_interim_answers_are_bounded_however_they_come(stage: Stage) -> None:
    """Together they are no larger than one head may be."""
    wires: list[Wire] = []
    stage.world.loop.on_dial = lambda dial: dial.succeed(wires.append)
    client = stage.world.client()
    stage.world.loop.do(client.feed, asking(b"alice", b"GET /?watch=1 HTTP/1.1"))
    interim = head(b"Link: " + b"x" * 1000, status=b"HTTP/1.1 103 Early Hints")
    sent = 0
    while not wires[0].ended:
        assert sent <= MAX_RESPONSE_HEAD_BYTES
        stage.world.loop.do(wires[0].feed, interim)
        sent += len(interim)
    assert b"HTTP/1.1 502 " in bytes(client.received)


def test_a_switch_has_no_length_either(stage: Stage) -> None:
    stage.answer = SWITCH + b"Content-Length: 4\r\n\r\n"
    _, client = stage.ask(asking(b"alice", fields=UPGRADE))
    assert bytes(client.received).startswith(SWITCH.splitlines()[0])
    assert b"ontent-" not in bytes(client.received).partition(b"\r\n\r\n")[0]


@pytest.mark.parametrize("answer", [OK, head(b"Transfer-Encoding: chunked"), SMUGGLED[:-4]])
def test_a_head_has_no_body_whatever_comes(stage: Stage, answer: bytes) -> None:
    stage.answer = answer + SMUGGLED
    observed, _ = stage.ask(asking(b"alice", b"HEAD / HTTP/1.1"), method=b"HEAD")
    assert observed.unreadable == []
    assert [(a.status, a.body) for a in observed.answers] == [(200, b""), (200, b"ok")]


CUT = {
    "a length": head(b"Content-Length: 10") + b"12345",
    "chunks": head(b"Transfer-Encoding: chunked") + b"5\r\n12345\r\n",
    "half a chunk": head(b"Transfer-Encoding: chunked") + b"a\r\n12345",
    "a last chunk without its end": head(b"Transfer-Encoding: chunked") + b"5\r\n12345\r\n0\r\n",
    "a chunk longer than its size": head(b"Transfer-Encoding: chunked") + b"5\r\n12345evil\r\n",
    "a chunk size that is none": head(b"Transfer-Encoding: chunked") + b"5\r\n12345\r\n-1\r\n",
}


@pytest.mark.parametrize("http", [b"1.1", b"1.0"])
@pytest.mark.parametrize("ends", ["closes", "resets"])
@pytest.mark.parametrize("answer", CUT.values(), ids=CUT)
def test_what_is_cut_never_looks_whole(stage: Stage, answer: bytes, ends: str, http: bytes) -> None:
    stage.answer, stage.ends = answer, ends
    observed, client = stage.ask(asking(b"alice", b"GET / HTTP/" + http))
    if observed.answers:  # what was wrong came with the head, so there was time to say so
        assert observed.answers[0].status == 502
    else:
        assert client.ended == "aborted"
    assert stage.world.pool.active == 0


@pytest.mark.parametrize(
    "switch",
    [
        SWITCH.replace(b"websocket", b"h2c"),
        SWITCH.replace(b"websocket", b"SPDY/3.1"),
        SWITCH.replace(b"Connection: Upgrade\r\n", b""),
        SWITCH.replace(b"Upgrade: websocket\r\n", b""),
        SWITCH + b"Upgrade: h2c\r\n",
    ],
)
def test_a_switch_to_what_was_not_asked_for_makes_no_tunnel(stage: Stage, switch: bytes) -> None:
    stage.answer = switch + b"\r\nevil"
    observed, client = stage.ask(asking(b"alice", fields=UPGRADE))
    assert [a.status for a in observed.answers] == [502]
    assert b"evil" not in bytes(client.received)
    assert len(stage.requests) == 1  # what was behind the upgrade is no request
