"""The corpus through the proxy: in every case both ends see the same requests, or none.

In memory, so that every case can come in every way that a network may cut it; over real sockets
it goes in ``test_differential``, and to a real API server in ``tests/real``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.corpus import REVIEW, Case
from tests.corpus.every import BY_PART, CASES
from tests.differential import Answers, Observation, Server, differences, methods
from tests.http.memory import Dial, Wire, World

LONG = 2_000  # bytes of a case that is not worth sending in single bytes


def test_the_corpus_is_what_it_says() -> None:
    assert len(REVIEW) == 71  # as the lengths in it say
    names = [case.name for case in CASES]
    assert len(set(names)) == len(names)


def whole(data: bytes) -> list[bytes]:
    return [data]


def single_bytes(data: bytes) -> list[bytes]:
    return [data[n : n + 1] for n in range(len(data))]


@pytest.fixture
def world() -> Iterator[World]:
    world = World()
    yield world
    world.close()


@pytest.mark.parametrize("part", BY_PART)
@pytest.mark.parametrize("cut", [whole, single_bytes])
def test_every_case_has_one_meaning(
    world: World, part: str, cut: Callable[[bytes], list[bytes]]
) -> None:
    found = {}
    for case in BY_PART[part]:
        if cut is not whole and len(case.stream) > LONG:
            continue
        if problems := differences(case, observe(world, case, cut(case.stream))):
            found[case.name] = problems
    assert found == {}


@pytest.mark.parametrize(
    "name",
    [
        "one empty line first",
        "chunked with two chunks",
        "chunked with extensions",
        "trailer 'A: b'",
        "body: a length",
        "second chunk's size '-5'",
        "the preface of HTTP/2 behind an upgrade that comes about",
        "upgrade to 'h2c'",
    ],
)
def test_it_does_not_matter_where_a_case_is_cut(world: World, name: str) -> None:
    (case,) = [case for case in CASES if case.name == name]
    for position in range(1, len(case.stream)):
        pieces = [case.stream[:position], case.stream[position:]]
        assert differences(case, observe(world, case, pieces)) == [], position


def observe(world: World, case: Case, pieces: list[bytes]) -> Observation:
    """Send ``pieces`` over a connection in memory, an h11 server answering above."""
    observed = Observation()
    answers = Answers(observed, methods(case))

    def stand(wire: Wire) -> None:
        server = Server(observed)

        def receive() -> None:
            data = bytes(wire.received)
            wire.received.clear()
            if data and (answer := server.receive(data)):
                wire.feed(answer)

        wire.on_receive = receive

    def dialled(dial: Dial) -> None:
        dial.succeed(stand)

    world.loop.on_dial = dialled
    client = world.client()
    for piece in pieces:
        world.loop.call_soon(client.feed, piece)
    world.loop.settle()
    answers.receive(bytes(client.received))
    world.loop.advance(1.5)  # the lingering that lets an early answer be seen is over
    observed.ended = bool(client.ended)
    if not observed.ended:
        world.loop.do(lambda: client.finish(clean=True))
    world.loop.do(world.pool.close_idle)
    assert world.loop.unexpected == []
    assert not world.seen.under_way
    return observed
