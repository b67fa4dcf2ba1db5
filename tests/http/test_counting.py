"""Whatever way an exchange ends, it is counted out exactly once.

A state machine makes connections, requests of every kind and answers of every kind, and lets both
sides leave, the gate fail and the operator deny, in any order. The listener, the exchanges, the
tunnel and the counting are real; the two transports, the pool and the gate are not.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable
from typing import Any, cast

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from proxy.denial import Bearer
from proxy.errors import KeyUnknown, TokenExpired, UpstreamUnreachable
from proxy.headers import RequestHeaders
from proxy.http.head import RequestHead, parse_response
from proxy.http.listener import ClientConnection, Listener
from proxy.http.pool import Pool
from proxy.http.service import Admission, Service
from proxy.http.upstream import UpstreamConnection
from proxy.limits import Tally
from tests.http.conftest import Doorkeeper, FixedCredential, Recorder, identity

USERS = st.sampled_from(["alice", "bob"])
PATHS = st.sampled_from(["/api/v1/pods", "/api/v1/pods?watch=1"])
ANSWERS = st.sampled_from(
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n",
        b"nonsense\r\n\r\n",
        b"0\r\n\r\n",
    ]
)


class Transport:
    """A transport that takes everything and tells of its end a moment later, as a loop does."""

    def __init__(self, protocol: Any) -> None:
        self.protocol = protocol
        self.closing = False
        protocol.connection_made(self)

    def close(self) -> None:
        if not self.closing:
            self.closing = True
            asyncio.get_running_loop().call_soon(self.protocol.connection_lost, None)

    abort = close

    def is_closing(self) -> bool:
        return self.closing

    def get_write_buffer_size(self) -> int:
        return 0

    def get_extra_info(self, _: str) -> None:
        return None

    def write(self, _: bytes) -> None: ...

    def set_write_buffer_limits(self, high: int) -> None: ...

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


class Gate:
    """Believes the token; ``pending`` are the requests that wait for a key."""

    def __init__(self) -> None:
        self.slow = False
        self.pending: list[asyncio.Future[None]] = []

    def admit(self, head: RequestHead, now: float) -> Admission | Awaitable[Admission]:
        name = head.authorization[0].removeprefix(b"Bearer ").decode()
        if name == "expired":
            raise TokenExpired
        admission = Admission(identity(name), Bearer(name))
        return self._later(admission) if self.slow else admission

    async def _later(self, admission: Admission) -> Admission:
        future = asyncio.get_running_loop().create_future()
        self.pending.append(future)
        await future
        return admission


class FakePool(Pool):
    """Makes connections at once, or fails to."""

    def __init__(self) -> None:
        self.broken = False
        self.made: list[UpstreamConnection] = []

    def take(self) -> None:
        return None

    async def connect(self) -> UpstreamConnection:
        await asyncio.sleep(0)
        if self.broken:
            raise UpstreamUnreachable
        connection = UpstreamConnection(self.made.remove, parse_response)
        Transport(connection)
        self.made.append(connection)
        return connection

    def give_back(self, connection: UpstreamConnection) -> None:
        connection.release()
        connection.transport.close()

    def close_idle(self) -> None:
        """None is ever idle."""


class Counting(RuleBasedStateMachine):
    """Two users, few connections, small limits."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.run(self._set_up())

    async def _set_up(self) -> None:
        self.gate, self.pool, self.denial = Gate(), FakePool(), Doorkeeper()
        self.seen, self.credential = Recorder(), FixedCredential()
        self.service = Service(
            self.gate,
            self.credential,
            cast("Pool", self.pool),
            b"cluster.example",
            RequestHeaders(),
            self.seen,
            Tally(2),
            Tally(2),
            denial=self.denial,
        )
        self.listener = Listener(self.service)
        self.clients: list[ClientConnection] = []

    def run(self, step: Awaitable[Any]) -> None:
        async def stepped() -> None:
            await step
            for _ in range(self.turns):
                await asyncio.sleep(0)

        self.runner.run(stepped())

    turns = 10

    @rule()
    @precondition(lambda self: len(self.clients) < 5)
    def connect(self) -> None:
        async def step() -> None:
            connection = self.listener.arrive("127.0.0.1")
            assert connection is not None
            Transport(connection)
            self.clients.append(connection)

        self.run(step())

    @rule(data=st.data(), user=USERS | st.just("expired"), path=PATHS,
          extra=st.sampled_from(["", "Connection: Upgrade\r\nUpgrade: websocket\r\n",
                                 "Content-Length: 3\r\n", "Connection: close\r\n"]))  # fmt: skip
    @precondition(lambda self: self.clients)
    def ask(self, data: st.DataObject, user: str, path: str, extra: str) -> None:
        head = f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {user}\r\n{extra}\r\n"
        self._receive(data, head.encode())

    @rule(data=st.data(), sent=st.sampled_from([b"abc", b"x", b"GET"]))
    @precondition(lambda self: self.clients)
    def send_something(self, data: st.DataObject, sent: bytes) -> None:
        self._receive(data, sent)

    def _receive(self, data: st.DataObject, sent: bytes) -> None:
        client = data.draw(st.sampled_from(self.clients))

        async def step() -> None:
            if not client.transport.is_closing():
                client.data_received(sent)

        self.run(step())

    @rule(data=st.data(), also=st.sampled_from(["", "key", "deny"]))
    @precondition(lambda self: self.clients)
    def leave(self, data: st.DataObject, also: str) -> None:
        """A client leaves, perhaps in the very turn in which something else happens."""
        client = data.draw(st.sampled_from(self.clients))
        self.clients.remove(client)

        async def step() -> None:
            client.transport.close()
            if also == "key":
                self._resolve(None)
            elif also == "deny":
                self.listener.end_denied()

        self.run(step())

    @rule(slow=st.booleans())
    def keys_are_fetched_or_known(self, slow: bool) -> None:
        self.gate.slow = slow

    @rule(error=st.sampled_from([None, KeyUnknown()]))
    def keys_come(self, error: Exception | None) -> None:
        async def step() -> None:
            self._resolve(error)

        self.run(step())

    def _resolve(self, error: Exception | None) -> None:
        for future in self.gate.pending:
            if future.done():
                continue
            if error is None:
                future.set_result(None)
            else:
                future.set_exception(error)
        self.gate.pending.clear()

    @rule(broken=st.booleans())
    def the_api_server_goes_or_comes(self, broken: bool) -> None:
        self.pool.broken = broken

    @rule(error=st.sampled_from([None, UpstreamUnreachable()]))
    def our_credential_is_there_or_not(self, error: UpstreamUnreachable | None) -> None:
        self.credential.error = error
        self.credential.line = None  # to be renewed

    @rule(data=st.data(), answer=ANSWERS)
    @precondition(lambda self: self.pool.made)
    def answer(self, data: st.DataObject, answer: bytes) -> None:
        connection = data.draw(st.sampled_from(range(len(self.pool.made))))

        async def step() -> None:
            self.pool.made[connection].data_received(answer)

        self.run(step())

    @rule(data=st.data())
    @precondition(lambda self: self.pool.made)
    def the_api_server_hangs_up(self, data: st.DataObject) -> None:
        connection = data.draw(st.sampled_from(range(len(self.pool.made))))

        async def step() -> None:
            self.pool.made[connection].transport.close()

        self.run(step())

    @rule(data=st.data())
    @precondition(lambda self: self.clients)
    def time_is_up(self, data: st.DataObject) -> None:
        client = data.draw(st.sampled_from(self.clients))

        async def step() -> None:
            if not client.transport.is_closing():
                client._timed_out()

        self.run(step())

    @rule(user=USERS, denied=st.booleans())
    def somebody_is_denied_or_no_longer(self, user: str, denied: bool) -> None:
        (self.denial.denied.add if denied else self.denial.denied.discard)(user)

        async def step() -> None:
            self.listener.end_denied()

        self.run(step())

    @invariant()
    def what_is_counted_is_what_is_under_way(self) -> None:
        under_way = [e for e in self.seen.under_way if e.admission is not None]
        for tally, unary in ((self.service.requests, True), (self.service.streams, False)):
            expected = Counter(
                e.admission.identity.username
                for e in under_way
                if e.admission is not None and (e.kind == "unary") is unary
            )
            assert tally._counts == expected
            assert tally.highest <= tally.limit

    @invariant()
    def nobody_who_is_denied_has_anything_under_way(self) -> None:
        for exchange in self.seen.under_way:
            if exchange.admission is not None:
                assert exchange.admission.bearer.username not in self.denial.denied

    def teardown(self) -> None:
        async def step() -> None:
            for client in self.clients:
                client.transport.close()

        self.run(step())
        self._last_look()
        self.runner.close()

    def _last_look(self) -> None:
        assert self.seen.under_way == set()
        assert (self.service.streams.active, self.service.requests.active) == (0, 0)
        assert self.listener.places.taken == 0
        assert self.pool.made == []


TestCounting = Counting.TestCase
TestCounting.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


@pytest.mark.parametrize("error", [None, KeyUnknown()])
def test_a_client_that_leaves_in_the_turn_in_which_its_key_comes(error: Exception | None) -> None:
    """Its task is awake before it is cancelled: it must neither go on nor end twice."""
    machine = Counting()
    machine.gate.slow = True
    machine.connect()
    (client,) = machine.clients

    async def ask() -> None:
        client.data_received(b"GET / HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer alice\r\n\r\n")

    async def leave() -> None:
        client.transport.close()
        machine._resolve(error)

    machine.run(ask())
    machine.run(leave())
    assert len(machine.seen.exchanges) == 1
    assert machine.pool.made == []
    machine.what_is_counted_is_what_is_under_way()
    machine.teardown()
