"""The TLS layer: against OpenSSL in memory, in any pieces and any order, and over real sockets.

In memory, several connections share one set of buffers, as they do in the proxy, and whatever the
one does must not be felt by the others. The peer is an ``ssl.SSLObject`` of its own; only the TCP
transport between the two is a fake.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.http.tls_transport import (
    AT_ONCE,
    FEW,
    TOGETHER,
    Buffers,
    TLSTransport,
    accept,
    connect,
)
from proxy.tls import client_context
from tests.conftest import Tls
from tests.wire import PATIENCE, Upstream

OPERATIONS = (
    "carry", "carry", "carry", "carry", "say", "say", "write", "write", "turn", "take", "pause",
    "resume", "goodbye", "close", "cut", "garbage",
)  # fmt: skip


class Tcp(asyncio.Transport):
    """What was written to it waits in ``sent`` until the peer takes it."""

    def __init__(self) -> None:
        super().__init__()
        self.sent = bytearray()
        self.reading = True
        self.ended: str = ""
        self.unsent = 0
        self.aborted = asyncio.Event()
        self.full: Callable[[], None] = lambda: None  # called with each write

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert not self.ended
        self.sent += data
        self.full()

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def is_reading(self) -> bool:
        return self.reading

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def close(self) -> None:
        self.ended = self.ended or "closed"

    def abort(self) -> None:
        self.ended = "aborted"
        self.aborted.set()


class App(asyncio.Protocol):
    """Whose protocol and transport they are; ``wish`` is done as soon as something comes."""

    def __init__(self) -> None:
        self.transport: Any = None
        self.received = bytearray()
        self.events: list[str] = []
        self.wish = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.events.append("made")

    def data_received(self, data: bytes) -> None:
        assert data
        assert "eof" not in self.events
        assert self.transport.is_reading()
        self.received += data
        if self.wish:
            getattr(self.transport, self.wish)()

    def eof_received(self) -> None:
        self.events.append("eof")

    def connection_lost(self, exc: Exception | None) -> None:
        self.events.append("lost")


class Conversation:
    """A transport, its protocol and its TCP on one side, OpenSSL on the other."""

    def __init__(self, tls: Tls, buffers: Buffers, *, we_serve: bool) -> None:
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        peer, ours = (tls.client, tls.server) if we_serve else (tls.server, tls.client)
        self.peer = peer.wrap_bio(
            self.incoming,
            self.outgoing,
            server_side=not we_serve,
            server_hostname="localhost" if we_serve else None,
        )
        self.app, self.tcp = App(), Tcp()
        self.made: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        name = None if we_serve else "localhost"
        self.transport = TLSTransport(self.app, ours, buffers, self.made, server_name=name)
        self.said, self.written, self.taken = bytearray(), bytearray(), bytearray()
        self.on_the_way = bytearray()  # from the peer
        self.shaken = self.goodbye = self.spoilt = self.gone = False
        self.transport.connection_made(self.tcp)
        self.take()

    @property
    def open(self) -> bool:
        return self.app.transport is not None and not self.transport.is_closing()

    def do(self, operation: str, size: int) -> None:
        getattr(self, operation)(size)

    def carry(self, size: int = 1 << 30) -> None:
        """Have up to ``size`` bytes of what the peer has sent arrive."""
        while size and self.on_the_way and self.tcp.reading and not (self.tcp.ended or self.gone):
            buffer = self.transport.get_buffer(-1)
            piece = self.on_the_way[: min(size, len(buffer))]
            del self.on_the_way[: len(piece)]
            size -= len(piece)
            buffer[: len(piece)] = piece
            self.transport.buffer_updated(len(piece))

    def take(self, _: int = 0) -> None:
        """Have the peer read all that was sent to it, and answer what there is to answer."""
        self.incoming.write(bytes(self.tcp.sent))
        self.tcp.sent.clear()
        with contextlib.suppress(ssl.SSLError):
            if not self.shaken:
                self.peer.do_handshake()
                self.shaken = True
            while part := self.peer.read(1 << 16):
                self.taken += part
        self.on_the_way += self.outgoing.read()

    def say(self, size: int) -> None:
        if self.shaken and not self.goodbye:
            data = len(self.said).to_bytes(4, "big") * (size + 1)
            self.peer.write(data)
            self.said += data
            self.on_the_way += self.outgoing.read()

    def goodbye_(self) -> None:
        self.goodbye = True
        with contextlib.suppress(ssl.SSLError):
            self.peer.unwrap()
        self.on_the_way += self.outgoing.read()

    def write(self, size: int) -> None:
        data = len(self.written).to_bytes(4, "little") * (size * 20 + 1)
        if self.open:
            self.written += data
            self.transport.write(data)

    def pause(self, _: int) -> None:
        if self.open:
            self.transport.pause_reading()

    def resume(self, _: int = 0) -> None:
        if self.open:
            self.transport.resume_reading()

    def close(self, _: int) -> None:
        if self.app.transport is not None:
            self.transport.close()

    def cut(self, _: int) -> None:
        """The connection ends as if the peer's machine had forgotten TLS."""
        if not self.tcp.ended and not self.gone and self.tcp.reading:
            self.gone = self.spoilt = True
            self.transport.eof_received()
            self.tcp.close()

    def garbage(self, size: int) -> None:
        self.spoilt = True
        self.on_the_way += bytes([size % 256]) * (size % 64 + 1)

    def check(self) -> None:
        assert self.said.startswith(self.app.received)
        assert self.written.startswith(self.taken)
        assert "eof" not in self.app.events or self.goodbye

    def settle(self) -> None:
        for _ in range(6):
            if self.open:
                self.resume()
            self.carry()
            self.take()
        self.check()


@contextlib.contextmanager
def running() -> Iterator[asyncio.Runner]:
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        yield runner


STEPS = st.lists(
    st.tuples(st.integers(0, 2), st.sampled_from(OPERATIONS), st.integers(0, 5000)), max_size=60
)


@given(STEPS, st.booleans())
@settings(max_examples=150, deadline=None)
def test_what_is_said_arrives_whole_in_order_and_to_nobody_else(
    tls: Tls, steps: list[tuple[int, str, int]], shaken: bool
) -> None:
    async def run() -> None:
        buffers = Buffers()
        all_ = [Conversation(tls, buffers, we_serve=n != 1) for n in range(3)]
        closed = set()
        for conversation in all_ if shaken else ():
            conversation.settle()
        for which, operation, size in steps:
            conversation = all_[which]
            if operation == "turn":
                await asyncio.sleep(0)
            elif operation == "goodbye":
                if conversation.shaken and not conversation.goodbye:
                    conversation.goodbye_()
            else:
                conversation.do(operation, size)
            if operation == "close":
                closed.add(which)
            conversation.check()
            assert not buffers.incoming.pending
            assert not buffers.outgoing.pending
        await asyncio.sleep(0)
        for conversation in all_:
            conversation.settle()
        for which, conversation in enumerate(all_):
            if conversation.spoilt:
                continue
            assert conversation.shaken
            assert conversation.taken == conversation.written or conversation.goodbye
            if which not in closed:
                assert conversation.app.received == conversation.said
                assert ("eof" in conversation.app.events) == conversation.goodbye
            conversation.transport.connection_lost(None)
        for conversation in all_:
            if conversation.made.done():
                conversation.made.exception()  # seen, which a loop would else complain of
            conversation.transport.abort()
            assert conversation.app.events.count("lost") <= 1

    with running() as runner:
        runner.run(run())


async def conversation(tls: Tls, *, we_serve: bool = True) -> Conversation:
    talk = Conversation(tls, Buffers(), we_serve=we_serve)
    talk.settle()
    assert talk.open
    return talk


def conversations(tls: Tls, count: int) -> list[Conversation]:
    """So many that share their buffers, all of which stand."""
    buffers = Buffers()
    talks = [Conversation(tls, buffers, we_serve=True) for _ in range(count)]
    for talk in talks:
        talk.settle()
        assert talk.open
    return talks


async def test_the_last_octet_of_a_record_brings_all_of_it(tls: Tls) -> None:
    talk = await conversation(tls)
    talk.say(4000)
    talk.carry(len(talk.on_the_way) - 1)
    assert not talk.app.received
    talk.carry(1)
    assert talk.app.received == talk.said


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("size", [1 << 14, 1 << 17, 16_383, 16_385, 100_000])
@pytest.mark.parametrize("piece", [1 << 30, 16_384, 16_406, 5_000])
async def test_records_of_any_size_arrive_whole_in_any_pieces(
    tls: Tls, version: ssl.TLSVersion, size: int, piece: int
) -> None:
    asking = client_context(tls.ca_file.read_bytes())
    asking.maximum_version = version
    talk = await conversation(Tls(tls.ca_file, tls.cert_file, tls.key_file, tls.server, asking))
    assert talk.peer.version() == version.name.replace("_", ".")
    talk.peer.write(bytes(size))
    talk.on_the_way += talk.outgoing.read()
    while talk.on_the_way:
        talk.carry(piece)
    assert talk.app.received == bytes(size)


async def test_nothing_is_no_end(tls: Tls) -> None:
    talk = await conversation(tls)
    talk.transport.buffer_updated(0)
    assert talk.app.events == ["made"]
    assert talk.open


async def test_what_an_ssl_object_itself_calls_is_called(tls: Tls) -> None:
    transport = (await conversation(tls)).transport
    assert transport._inner is transport._tls._sslobj  # type: ignore[attr-defined]  # private


class Hiding:
    """A context, or an object of its, that keeps to itself what is private."""

    def __init__(self, whole: Any) -> None:
        self._whole = whole

    def wrap_bio(self, *given: Any, **named: Any) -> Hiding:
        return Hiding(self._whole.wrap_bio(*given, **named))

    def __getattr__(self, name: str) -> Any:
        assert not name.startswith("__")
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._whole, name)


async def test_an_ssl_object_that_hides_what_it_calls_is_called_itself(tls: Tls) -> None:
    hiding = Tls(
        tls.ca_file, tls.cert_file, tls.key_file, cast("Any", Hiding(tls.server)), tls.client
    )
    talk = await conversation(hiding)
    talk.say(3)
    talk.carry()
    assert talk.app.received == talk.said
    talk.write(3)
    await asyncio.sleep(0)
    talk.take()
    assert talk.taken == talk.written


@pytest.mark.parametrize("wish", ["close", "abort", "pause_reading"])
async def test_nothing_is_delivered_behind_a_wish_to_stop(tls: Tls, wish: str) -> None:
    talk = await conversation(tls)
    talk.app.wish = wish
    talk.say(10)
    talk.carry()
    got = bytes(talk.app.received)
    assert got
    talk.say(10)
    talk.carry()
    assert talk.app.received == got


@pytest.mark.parametrize("we_serve", [True, False])
async def test_a_connection_that_merely_ends_does_not_end_in_order(
    tls: Tls, we_serve: bool
) -> None:
    talk = await conversation(tls, we_serve=we_serve)
    talk.cut(0)
    talk.transport.connection_lost(None)
    assert talk.app.events == ["made", "lost"]


async def test_what_comes_behind_a_goodbye_means_nothing(tls: Tls) -> None:
    talk = await conversation(tls)
    talk.say(3)
    talk.goodbye_()
    talk.on_the_way += b"\x17\x03\x03\x00\x05hello"
    talk.carry()
    assert talk.app.received == talk.said
    assert talk.app.events == ["made", "eof"]
    assert talk.tcp.ended == "closed"
    assert not talk.transport._buffers.incoming.pending


async def test_a_forged_record_ends_the_connection_with_an_alert_and_spares_the_others(
    tls: Tls,
) -> None:
    first, second = conversations(tls, 2)
    first.say(3)
    first.on_the_way[-1] ^= 1
    first.on_the_way += bytes(100)
    first.carry()
    assert first.tcp.ended == "closed"
    assert first.tcp.sent  # the alert
    assert not first.app.received
    second.say(3)
    second.settle()
    assert second.app.received == second.said


async def test_what_is_said_with_a_closed_ear_is_sent_no_more(tls: Tls) -> None:
    """A peer that has TLS answer it, and takes nothing, is cut."""
    talk = await conversation(tls)
    talk.tcp.unsent = 2 << 20
    talk.transport._buffers.outgoing.write(b"as if TLS had something to answer")
    talk.say(1)
    talk.carry()
    assert talk.tcp.ended == "aborted"
    assert not talk.app.received


async def test_what_is_written_leaves_when_the_loop_has_told_of_all_that_came(tls: Tls) -> None:
    talks = conversations(tls, FEW + 1)
    for talk in talks:
        talk.transport.write(b"one, ")
        talk.transport.write(b"two")
        assert not talk.tcp.sent
        assert talk.transport.get_write_buffer_size() > len(b"one, two")
    await asyncio.sleep(0)
    for talk in talks:
        assert talk.transport.get_write_buffer_size() == 0
        talk.take()
        assert talk.taken == b"one, two"


async def test_what_few_write_leaves_at_once_until_it_is_tried_again(tls: Tls) -> None:
    talk = await conversation(tls)
    talk.transport.write(b"x")
    await asyncio.sleep(0)
    for _ in range(AT_ONCE):
        talk.tcp.sent.clear()
        talk.transport.write(b"x")
        assert talk.tcp.sent
    talk.tcp.sent.clear()
    talk.transport.write(b"x")
    assert not talk.tcp.sent


async def test_where_something_waits_what_is_written_goes_behind_it_at_once(tls: Tls) -> None:
    """So that whoever fills it is told so in the midst of writing, and writes no more."""
    talk = await conversation(tls)
    talk.tcp.unsent = 1
    talk.transport.write(b"x")
    assert talk.tcp.sent


async def test_what_many_have_written_does_not_wait_for_all_of_them(tls: Tls) -> None:
    talks = conversations(tls, TOGETHER + 1)
    for talk in talks:
        talk.transport.write(b"x")
    assert [bool(talk.tcp.sent) for talk in talks] == [True] * TOGETHER + [False]
    await asyncio.sleep(0)
    assert talks[-1].tcp.sent
    assert not talks[0].transport._buffers.at_once


@pytest.mark.parametrize("size", [1, 100_000])
async def test_much_that_is_written_leaves_at_once_behind_what_waited(tls: Tls, size: int) -> None:
    talk = await conversation(tls)
    said = [b"first", *([b"x" * 60_000] * 3), b"y" * size]
    for data in said:
        talk.transport.write(data)
    assert talk.tcp.sent
    await asyncio.sleep(0)
    talk.take()
    assert talk.taken == b"".join(said)


async def test_what_has_not_left_when_a_connection_is_cut_never_does(tls: Tls) -> None:
    talk = await conversation(tls)
    talk.transport.write(b"x")
    talk.transport.abort()
    talk.transport.send()
    assert not talk.tcp.sent
    assert talk.transport.get_write_buffer_size() == 0


async def test_what_is_written_when_another_is_full_is_nobody_elses(tls: Tls) -> None:
    """Whoever is told to pause may write elsewhere, in the midst of the write that told it."""
    first, second = conversations(tls, 2)
    first.tcp.full = lambda: second.transport.write(b"second's")
    first.transport.write(b"little")
    first.transport.write(b"x" * 100_000)
    await asyncio.sleep(0)
    for talk in (first, second):
        talk.take()
    assert first.taken == b"little" + b"x" * 100_000
    assert second.taken.startswith(b"second's")


async def test_who_cannot_be_written_to_keeps_no_others_from_it(
    tls: Tls, caplog: pytest.LogCaptureFixture
) -> None:
    talks = conversations(tls, 3)
    for talk in talks:
        talk.transport.write(b"x")
    talks[0].tcp.close()  # unheard, so that the fake raises when it is written to
    await asyncio.sleep(0)
    assert [bool(talk.tcp.sent) for talk in talks] == [False, True, True]
    assert talks[0].tcp.ended == "aborted"
    assert "could not be written to" in caplog.text


async def test_what_has_not_left_when_a_connection_is_lost_never_does(tls: Tls) -> None:
    talk = await conversation(tls)
    talk.transport.write(b"x")
    talk.tcp.close()
    talk.transport.connection_lost(None)
    talk.transport.send()
    assert not talk.tcp.sent


async def test_what_was_written_leaves_where_the_peer_ends_it_with_an_alert(tls: Tls) -> None:
    talk = await conversation(tls)
    talk.transport.write(b"before")
    talk.incoming.write(b"\x17\x03\x03\x00\x20" + bytes(32))
    talk.take()
    assert talk.on_the_way
    talk.carry()
    assert talk.tcp.sent
    assert talk.tcp.ended == "closed"


async def test_an_alert_leaves_behind_what_was_written(tls: Tls) -> None:
    talk = await conversation(tls)
    talk.transport.write(b"before")
    talk.on_the_way += b"\x17\x03\x03\x00\x20" + bytes(32)
    talk.carry()
    talk.take()
    assert talk.taken == b"before"
    assert talk.tcp.ended == "closed"


async def test_closing_awaits_the_peers_end_and_swallows_what_comes_before_it(tls: Tls) -> None:
    talk = await conversation(tls)
    talk.transport.write(b"the last")
    talk.transport.close()
    talk.transport.write(b"too late")
    talk.say(2000)
    talk.carry()
    assert talk.tcp.ended == ""
    talk.take()
    assert talk.taken == b"the last"
    talk.goodbye_()
    talk.carry()
    assert talk.tcp.ended == "closed"
    assert not talk.app.received


async def test_closing_does_not_wait_for_ever(tls: Tls, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.http.tls_transport.GOODBYE", 0.01)
    talk = await conversation(tls)
    talk.transport.close()
    async with asyncio.timeout(PATIENCE):
        await talk.tcp.aborted.wait()


# Over real sockets


@pytest.mark.parametrize(
    "said", [b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b""]
)
async def test_a_handshake_that_does_not_come_about_is_an_error_and_no_connection(
    tls: Tls, said: bytes
) -> None:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    app = App()
    with theirs:
        theirs.sendall(said)
        theirs.shutdown(socket.SHUT_WR)
        with pytest.raises((ConnectionError, ssl.SSLError)):
            await accept(app, ours, tls.server, Buffers(), timeout=PATIENCE)
    assert app.events == []


async def test_a_handshake_has_a_time_limit(tls: Tls) -> None:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    app = App()
    with theirs, pytest.raises(TimeoutError):
        await accept(app, ours, tls.server, Buffers(), timeout=0.01)
    assert app.events == []


async def test_a_server_that_is_not_the_one_is_not_connected_to(tls: Tls) -> None:
    async with Upstream.run(tls.server) as upstream:
        made: list[App] = []

        def app() -> App:
            made.append(App())
            return made[-1]

        for context, name in ((client_context(None), "localhost"), (tls.client, "elsewhere")):
            with pytest.raises(ssl.SSLCertVerificationError):
                await connect(app, "127.0.0.1", upstream.port, context, Buffers(), server_name=name)
        assert [x.events for x in made] == [[], []]
