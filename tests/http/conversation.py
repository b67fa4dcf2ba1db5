"""Both ends of a proxy in memory, each with what it said, to be held against the other.

Every request has a number, and says it in its target and in its user's name; every answer says the
number of the request that caused it, and of the attempt. Whatever becomes mixed up shows.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import count

import h11

from tests.differential import Answer, Answers, Observation, identity_fields
from tests.http.memory import Wire, World

BODY = b"0123456789" * 3
EVENT = b"the API server's own words;"


@dataclass
class Request:
    """What a client asks; ``user`` is None where the proxy must not pass it on."""

    number: int
    method: bytes
    data: bytes
    body: bytes = b""
    user: bytes | None = None
    attempts: list[Attempt] = field(default_factory=list)


@dataclass
class Attempt:
    """A request at the API server, and what was answered; ``whole`` once all of it was sent."""

    request: Request
    key: bytes
    status: int = 0
    body: bytes = b""
    script: list[tuple[bytes, bytes]] = field(default_factory=list)  # wire bytes, content in them
    until_close: bool = False
    begun: bool = False
    whole: bool = False


KINDS = (
    "get", "get", "head", "watch", "post", "post", "chunked", "chunked", "expect", "old", "last",
    "upgrade", "upgrade", "slow", "slow", "nobody", "garbage", "bad chunk",
)  # fmt: skip


def request(number: int, kind: str) -> Request:
    """Write request ``number``, of one of ``KINDS``."""
    user = b"slow%d" % number if kind in ("slow", "bad chunk") else b"user%d" % number
    target = b"/api/v1/pods?watch=1&n=%d" % number if kind == "watch" else b"/n/%d" % number
    method, version, body, fields = b"GET", b"1.1", b"", b""
    if kind == "head":
        method = b"HEAD"
    elif kind in ("post", "expect"):
        method, body, fields = b"POST", BODY, b"Content-Length: 30\r\n"
    elif kind in ("chunked", "bad chunk"):
        method, body, fields = b"POST", BODY, b"Transfer-Encoding: chunked\r\n"
    elif kind == "old":
        version = b"1.0"
    elif kind == "last":
        fields = b"Connection: close\r\n"
    elif kind == "upgrade":
        fields = b"Connection: Upgrade\r\nUpgrade: websocket\r\n"
    elif kind == "nobody":
        user = b"nobody"
    if kind == "expect":
        fields += b"Expect: 100-continue\r\n"
    data = b"%s %s HTTP/%s\r\nHost: x\r\nAuthorization: Bearer %s\r\n%s\r\n" % (
        method, target, version, user, fields,
    )  # fmt: skip
    if kind == "garbage":
        data = b"garbage %d\r\n\r\n" % number
    data += _framed(kind, body)
    passes = kind not in ("nobody", "garbage")
    return Request(number, method, data, body, user if passes else None)


def _framed(kind: str, body: bytes) -> bytes:
    if kind == "chunked":
        return b"a;x\r\n%s\r\n14\r\n%s\r\n0\r\nA: b\r\n\r\n" % (body[:10], body[10:])
    if kind == "bad chunk":
        return b"a\r\n%s\r\n-1\r\n" % body[:10]
    return body


class ClientEnd:
    """A client: what it asks, what of that it has sent, what it has received."""

    def __init__(self, world: World) -> None:
        self.wire: Wire = world.client()
        self.requests: list[Request] = []
        self.unsent = b""
        self.observed = Observation()
        self._methods: list[bytes] = []
        self._answers = Answers(self.observed, self._methods)
        self._read = 0
        self._told = False

    def ask(self, asked: Request) -> None:
        self.requests.append(asked)
        self._methods.append(asked.method)
        self.unsent += asked.data

    def send(self, size: int) -> None:
        piece, self.unsent = self.unsent[:size], self.unsent[size:]
        self.wire.feed(piece)

    def read(self) -> None:
        """Take in what has come; the connection's end only where it came in order."""
        data = bytes(self.wire.received[self._read :])
        self._read += len(data)
        if data:
            self._answers.receive(data)
        if self.wire.ended == "closed" and not self._told and not self.wire.get_write_buffer_size():
            self._told = True
            if self._answers.partial is not None:
                self._answers.receive(b"")

    def check(self) -> None:
        """Hold each answer against the request that it must be the answer to."""
        self.read()
        assert self.observed.unreadable == []  # nor does an answer that was cut end in order
        assert len(self.observed.answers) <= len(self.requests)
        for answer, asked in zip(self.observed.answers, self.requests, strict=False):
            _check_answer(answer, asked, whole=True)
        if self._answers.partial is not None:
            _check_answer(
                self._answers.partial, self.requests[len(self.observed.answers)], whole=False
            )
        if self._answers.tunnel is not None:
            attempt = self.requests[len(self.observed.answers) - 1].attempts[-1]
            assert attempt.body.startswith(self._answers.tunnel)


def _check_answer(answer: Answer, asked: Request, *, whole: bool) -> None:
    keys = [value for name, value in answer.fields if name == b"x-attempt"]
    if not keys:  # the proxy's own
        assert answer.status >= 400, answer
        assert (b"content-type", b"application/json") in answer.fields
        return
    (attempt,) = [attempt for attempt in asked.attempts if attempt.key == keys[0]]
    assert answer.status == attempt.status
    if answer.status == 101:
        return  # what comes behind it has no end, and no body
    if whole:
        assert attempt.whole, f"{answer} looks whole, and is not"
        assert answer.body == attempt.body or asked.method == b"HEAD"
    else:
        assert attempt.body.startswith(answer.body)


class ApiEnd:
    """A connection as the API server has it: what was asked on it, what is answered."""

    def __init__(self, wire: Wire, asked: dict[int, Request], numbers: count[int]) -> None:
        self.wire = wire
        self.attempt: Attempt | None = None
        self.unreadable: list[str] = []
        self._asked = asked
        self._numbers = numbers
        self._parser = h11.Connection(h11.SERVER)
        self._read = 0
        self._reading: Request | None = None  # may be answered before it is whole
        self._body = b""
        self._tunnel = False

    def check(self) -> None:
        """Read what has come: each request whole in its identity, and never one too many."""
        data = bytes(self.wire.received[self._read :])
        self._read += len(data)
        if self._tunnel or not data:
            return
        self._parser.receive_data(data)
        while True:
            event = self._parser.next_event()
            if isinstance(event, h11.Request):
                self._begin(event)
            elif isinstance(event, h11.Data):
                self._body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                assert self._reading is not None
                assert self._body == self._reading.body
            else:
                assert event is h11.NEED_DATA or event is h11.PAUSED
                return

    def _begin(self, event: h11.Request) -> None:
        number = int(event.target.rpartition(b"/n/")[2].rpartition(b"n=")[2])
        asked = self._asked[number]
        assert asked.user is not None, "it was not to be passed on"
        assert [f for f in event.headers if f[0].startswith(b"impersonate")] == identity_fields(
            asked.user
        )
        assert [v for n, v in event.headers if n == b"authorization"] == [
            b"Bearer the-proxy-itself"
        ]
        assert not asked.attempts or (len(asked.attempts) == 1 and asked.method != b"POST")
        self.attempt = Attempt(asked, b"%d.%d" % (number, next(self._numbers)))
        asked.attempts.append(self.attempt)
        self._reading, self._body = asked, b""

    # answering

    def begin_answer(self, kind: str) -> None:
        """Write the script of an answer to the request at hand; it is sent by ``push``."""
        attempt = self.attempt
        assert attempt is not None
        attempt.status = {"no content": 204, "unauthorized": 401, "switch": 101}.get(kind, 200)
        fields = b"X-Attempt: %s\r\n" % attempt.key
        parts = [(EVENT[:9], EVENT[:9]), (EVENT[9:], EVENT[9:])]
        if kind == "sized" or kind == "unauthorized":
            fields += b"Content-Length: %d\r\n" % len(EVENT)
        elif kind == "chunked":
            fields += b"Transfer-Encoding: chunked\r\n"
            parts = [(b"%x\r\n%s\r\n" % (len(d), d), d) for d, _ in parts] + [(b"0\r\n\r\n", b"")]
        elif kind == "until close":
            attempt.until_close = True
        elif kind == "switch":
            fields += b"Connection: Upgrade\r\nUpgrade: websocket\r\n"
        else:
            parts = []
            fields += b"Content-Length: 0\r\n" if kind == "empty" else b""
        if attempt.request.method == b"HEAD":
            parts, attempt.until_close = [], False
        head = b"HTTP/1.1 %d Fine\r\n%s\r\n" % (attempt.status, fields)
        attempt.script = [(head[:20], b""), (head[20:], b""), *parts]

    def interim(self) -> None:
        if self.attempt is None or self.attempt.begun or self.wire.ended:
            return
        self.wire.feed(b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n")

    def push(self, parts: int = 1) -> None:
        """Send the next parts of the answer, together."""
        attempt = self.attempt
        if attempt is None or not attempt.script or self.wire.ended:
            return
        attempt.begun = True
        self._tunnel = attempt.status == 101
        pushed, attempt.script = attempt.script[:parts], attempt.script[parts:]
        attempt.body += b"".join(content for _, content in pushed)
        if not attempt.script and not attempt.until_close:
            attempt.whole = True
            self.attempt = None
            if self._parser.their_state is h11.DONE:
                self._parser = h11.Connection(h11.SERVER)
        self.wire.feed(b"".join(data for data, _ in pushed))

    def finish(self, *, clean: bool) -> None:
        """End the connection; an answer that lasts until then is whole once its head was sent."""
        if self.wire.ended:
            return
        attempt = self.attempt
        if attempt is not None and attempt.until_close and len(attempt.script) <= 2:
            attempt.whole = clean
        self.wire.finish(clean=clean)
