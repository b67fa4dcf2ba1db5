"""Whether both ends understood the same: one corpus, and a parser that has nothing of the proxy's.

What the proxy sends up is read by h11 as a server, what it sends down by h11 as a client. h11
refuses what it cannot read in one way, so bytes that the proxy should not have let through either
fail here as such, or show as a request more, a request fewer, or another request than the corpus
expects. Every answer carries the number of the request that caused it, so an answer that reaches
the wrong request shows as well.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field

import h11

from tests.corpus import AUTHORITY, CREDENTIAL, GROUP, POLICY, USER, Case, Field, Outcome, Seen

MAX_HEAD = 256 * 1024  # h11's own limit would be in the way of the largest that pass
AUDIT_ID = re.compile(rb"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
SWITCHING = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"


@dataclass
class Message:
    """A whole request as h11 read it; ``number`` counts those of one observation from 0."""

    number: int
    method: bytes
    target: bytes
    fields: list[Field]
    body: bytes = b""
    tunnel: bytes | None = None


@dataclass
class Answer:
    """A whole answer as h11 read it."""

    status: int
    body: bytes
    fields: list[Field]


@dataclass
class Observation:
    """All that both ends saw; ``ended`` if the proxy closed the client's connection."""

    seen: list[Message] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    ended: bool = False
    # what a parser could not read, each said in its own words
    unreadable: list[str] = field(default_factory=list)


class Server:
    """The end of one upstream connection: bytes in, answers out; a tunnel is an echo."""

    def __init__(self, observation: Observation) -> None:
        self._observation = observation
        self._parser = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD)
        self._request: Message | None = None

    def receive(self, data: bytes) -> bytes:
        """Read what came, and return what is answered to it."""
        if self._request is not None and self._request.tunnel is not None:
            self._request.tunnel += data
            return data
        try:
            self._parser.receive_data(data)
            return b"".join(self._answers())
        except h11.RemoteProtocolError as error:
            self._observation.unreadable.append(f"upstream: {error}: {data[:200]!r}")
            return b""

    def _answers(self) -> list[bytes]:
        answers = []
        while True:
            event = self._parser.next_event()
            if isinstance(event, h11.Request):
                self._request = Message(0, event.method, event.target, list(event.headers))
            elif isinstance(event, h11.Data):
                assert self._request is not None
                self._request.body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                answers.append(self._answer())
                if self._parser.our_state is h11.DONE and self._request_is_whole():
                    self._parser.start_next_cycle()
            else:
                return answers

    def _request_is_whole(self) -> bool:
        return self._parser.their_state is h11.DONE

    def _answer(self) -> bytes:
        request, observed = self._request, self._observation
        assert request is not None
        request.number = len(observed.seen)
        observed.seen.append(request)
        if request.target == b"/switch" and (b"upgrade", b"websocket") in request.fields:
            request.tunnel = self._parser.trailing_data[0]
            return SWITCHING + request.tunnel
        body = b"%d" % request.number
        head = h11.Response(status_code=200, headers=[("content-length", str(len(body)))])
        data = self._parser.send(head)
        if request.method != b"HEAD":
            data = (data or b"") + (self._parser.send(h11.Data(data=body)) or b"")
        return (data or b"") + (self._parser.send(h11.EndOfMessage()) or b"")


class Answers:
    """What a client received, read answer by answer; ``methods`` are those it asks with.

    ``partial`` is the answer that has begun and not ended, ``tunnel`` what came behind a 101.
    """

    def __init__(self, observation: Observation, methods: list[bytes]) -> None:
        self.partial: Answer | None = None
        self.tunnel: bytes | None = None
        self._observation = observation
        self._methods = methods
        self._parser: h11.Connection | None = None

    def receive(self, data: bytes) -> None:
        """Read what came, as far as it goes; empty for the end of the connection."""
        if self.tunnel is not None:
            self.tunnel += data
            return
        try:
            rest = self._read(data)
            while rest:
                rest = self._read(rest)
        except h11.RemoteProtocolError as error:
            self._observation.unreadable.append(f"client: {error}: {data[:200]!r}")

    def _read(self, data: bytes) -> bytes:
        """Read up to the end of one answer; return what follows it."""
        if self._parser is None:
            if not data:
                return b""
            self._parser = self._asking()
        parser = self._parser
        parser.receive_data(data)
        while (event := parser.next_event()) is not h11.NEED_DATA:
            if isinstance(event, h11.InformationalResponse):
                if event.status_code == 101:
                    self._observation.answers.append(Answer(101, b"", list(event.headers)))
                    self.tunnel = parser.trailing_data[0]
                    return b""
            elif isinstance(event, h11.Response):
                self.partial = Answer(event.status_code, b"", list(event.headers))
            elif isinstance(event, h11.Data):
                assert self.partial is not None
                self.partial.body += bytes(event.data)
            else:
                assert isinstance(event, h11.EndOfMessage)
                assert self.partial is not None
                self._observation.answers.append(self.partial)
                self.partial = self._parser = None
                return parser.trailing_data[0]
        return b""

    def _asking(self) -> h11.Connection:
        number = len(self._observation.answers)
        method = self._methods[number] if number < len(self._methods) else b"GET"
        parser = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD)
        asking = [("host", "x"), ("connection", "upgrade"), ("upgrade", "websocket")]
        parser.send(h11.Request(method=method, target="/", headers=asking))
        parser.send(h11.EndOfMessage())
        return parser


def methods(case: Case) -> list[bytes]:
    """The methods that a case asks with, for whoever must read the answers."""
    return [o.method if isinstance(o, Seen) else b"GET" for o in case.expected(ended=False)]


def identity_fields(user: bytes) -> list[Field]:
    """The fields of an identity that reach the API server."""
    groups = (GROUP, POLICY.authenticated_group)
    return [
        (b"impersonate-user", user),
        *((b"impersonate-group", group.encode()) for group in groups),
    ]


def expected_fields(seen: Seen) -> list[Field]:
    """Every field that reaches the API server, in order: the proxy's own and then the client's."""
    return [(b"host", AUTHORITY), CREDENTIAL, *identity_fields(USER), *seen.fields]


def differences(case: Case, observed: Observation) -> list[str]:
    """Say where the two ends did not see what the corpus says; empty if they did."""
    found = list(observed.unreadable)
    expected = case.expected(ended=observed.ended)
    seen = [outcome for outcome in expected if isinstance(outcome, Seen)]
    if len(observed.seen) != len(seen):
        targets = [message.target for message in observed.seen]
        found.append(f"{len(seen)} requests were to be seen upstream, not {targets}")
    if len(observed.answers) != len(expected):
        found.append(f"{len(expected)} answers were to come, not {observed.answers}")
    for message, one in zip(observed.seen, seen, strict=False):
        found += _request_differences(message, one)
    number = 0
    for answer, outcome in zip(observed.answers, expected, strict=False):
        if problem := _answer_difference(answer, outcome, number):
            found.append(problem)
        number += isinstance(outcome, Seen)
    if case.closes not in (observed.ended, None):
        found.append("the connection " + ("ended" if observed.ended else "did not end"))
    return found


def _request_differences(message: Message, seen: Seen) -> list[str]:
    found = []
    if (message.method, message.target) != (seen.method, seen.target):
        found.append(f"{message.method!r} {message.target!r} was not to be seen")
    # The proxy's own audit ID is another each time; a client's that came through would not be one.
    fields = [f for f in message.fields if not (f[0] == b"audit-id" and AUDIT_ID.fullmatch(f[1]))]
    if fields != expected_fields(seen):
        found.append(f"fields {fields}, not {expected_fields(seen)}")
    if message.body != seen.body:
        found.append(f"body {message.body!r}, not {seen.body!r}")
    if message.tunnel != seen.tunnel:
        found.append(f"through the tunnel {message.tunnel!r}, not {seen.tunnel!r}")
    return found


def _answer_difference(answer: Answer, outcome: Outcome, number: int) -> str | None:
    if isinstance(outcome, Seen):
        if outcome.tunnel is not None:
            return None if answer.status == 101 else f"no tunnel: {answer}"
        body = b"" if outcome.method == b"HEAD" else b"%d" % number
        if (answer.status, answer.body) == (200, body):
            return None
        return f"{answer} is not the answer to request {number}"
    if answer.status != outcome.status or json.loads(answer.body)["code"] != outcome.status:
        return f"{answer} is not a {outcome.status}"
    return None
