"""The connection state machine under whatever clients, API servers and time may do to it.

Hypothesis plays all of them: in any order, in any pieces, several things in one turn of the loop.
What must stay true is in ``tests.http.conversation``: answers in the order of their requests and
each to the request that caused it, nothing upstream without its own identity, no cut answer that
looks whole; and at the end nothing is left of what was begun.

``make test`` plays the same hundred games each time; more of them, never the same:
``pytest --hypothesis-profile=long tests/http/test_machine.py``.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import count

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from proxy.http.upstream import GOODBYE
from tests.http.conversation import KINDS, ApiEnd, ClientEnd, Request, request
from tests.http.memory import Dial, World

ANSWERS = ("sized", "chunked", "until close", "empty", "no content", "unauthorized")
SWITCHES = ("sized", "chunked", "empty")  # instead of which an upgrade comes about
SIZES = st.one_of(st.just(100_000), st.integers(1, 60))
MOSTLY = st.sampled_from((True, True, True, False))
MISFORTUNES = (
    "client, comes", "client, closes", "client, resets", "client, stalls", "client, takes",
    "api, closes", "api, closes", "api, resets", "api, resets", "api, stalls", "api, takes",
    "time, 0.5", "time, 2", "time, 11", "time, 80", "time, 130",
)  # fmt: skip
SOME = st.integers(0, 7)  # which of those there are, counted round


class Conversations(RuleBasedStateMachine):
    """Up to three clients, each with as many requests as it likes."""

    @initialize()
    def begin(self) -> None:
        self.world = World()
        self.gone: list[ClientEnd] = []
        self.clients = [ClientEnd(self.world)]
        self.apis: list[ApiEnd] = []
        self.asked: dict[int, Request] = {}
        self.numbers = count()
        self.attempts = count()
        self.dialling_succeeds(at_once=True)

    # what goes on

    @rule(which=SOME, kind=st.sampled_from(KINDS), size=SIZES, settle=MOSTLY)
    def ask(self, which: int, kind: str, size: int, settle: bool) -> None:
        client = self.clients[which % len(self.clients)]
        asked = request(next(self.numbers), kind)
        self.asked[asked.number] = asked
        client.ask(asked)
        self._act(lambda: client.send(size), settle=settle)

    @precondition(lambda self: any(client.unsent for client in self.clients))
    @rule(which=SOME, size=SIZES, settle=MOSTLY)
    def send_more(self, which: int, size: int, settle: bool) -> None:
        waiting = [client for client in self.clients if client.unsent]
        client = waiting[which % len(waiting)]
        self._act(lambda: client.send(size), settle=settle)

    @precondition(lambda self: self._answering())
    @rule(which=SOME, kind=st.sampled_from(ANSWERS), interim=st.booleans(), settle=MOSTLY)
    def begin_an_answer(self, which: int, kind: str, interim: bool, settle: bool) -> None:
        apis = self._answering()
        api = apis[which % len(apis)]
        assert api.attempt is not None
        if not api.attempt.status:
            asked = b"Upgrade:" in api.attempt.request.data
            api.begin_answer("switch" if asked and kind in SWITCHES else kind)
        self._act(api.interim if interim else api.push, settle=settle)

    @precondition(lambda self: self._answering())
    @rule(which=SOME, parts=st.integers(1, 5), settle=MOSTLY)
    def go_on_answering(self, which: int, parts: int, settle: bool) -> None:
        apis = [api for api in self._answering() if api.attempt and api.attempt.script]
        if apis:
            api = apis[which % len(apis)]
            self._act(lambda: api.push(parts), settle=settle)

    @precondition(lambda self: self._answering())
    @rule()
    def answer_all_that_wait(self) -> None:
        for api in self._answering():
            assert api.attempt is not None
            if not api.attempt.status:
                api.begin_answer("sized")
            self._act(partial(api.push, 9), settle=True)

    @precondition(lambda self: self.world.loop.dials)
    @rule(which=SOME, succeed=MOSTLY, settle=MOSTLY)
    def connect_upstream(self, which: int, succeed: bool, settle: bool) -> None:
        dial = self.world.loop.dials[which % len(self.world.loop.dials)]
        self._act(lambda: self._stand(dial) if succeed else dial.fail(), settle=settle)

    @precondition(lambda self: self.world.users.waiting)
    @rule(which=SOME, found=MOSTLY, settle=MOSTLY)
    def fetch_keys(self, which: int, found: bool, settle: bool) -> None:
        fetched = self.world.users.waiting[which % len(self.world.users.waiting)]

        def fetch() -> None:
            if not fetched.done():
                fetched.set_result(found)

        self._act(fetch, settle=settle)

    @rule(at_once=MOSTLY)
    def dialling_succeeds(self, at_once: bool) -> None:
        self.world.loop.on_dial = self._stand if at_once else None

    # what goes wrong

    @rule(misfortune=st.sampled_from(MISFORTUNES), which=SOME, settle=MOSTLY)
    def something_goes_wrong(self, misfortune: str, which: int, settle: bool) -> None:
        what, _, how = misfortune.partition(", ")
        if what == "time":
            self.world.loop.advance(float(how))
        elif what == "client":
            self._happens_to_client(self.clients[which % len(self.clients)], how, settle)
        elif apis := self._answering() or self.apis:
            self._happens_to_api(apis[which % len(apis)], how, settle)

    def _happens_to_client(self, client: ClientEnd, how: str, settle: bool) -> None:
        if how in ("closes", "resets"):
            self._act(lambda: client.wire.finish(clean=how == "closes"), settle=settle)
            self.gone.append(client)
            self.clients.remove(client)
        if (how == "comes" and len(self.clients) < 3) or not self.clients:
            self.clients.append(ClientEnd(self.world))
        elif how == "stalls":
            client.wire.stalled = True
        elif how == "takes":
            self._act(client.wire.take, settle=settle)

    def _happens_to_api(self, api: ApiEnd, how: str, settle: bool) -> None:
        if how in ("closes", "resets"):
            self._act(lambda: api.finish(clean=how == "closes"), settle=settle)
        elif how == "stalls":
            api.wire.stalled = True
        else:
            self._act(api.wire.take, settle=settle)

    # how

    def _act(self, action: Callable[[], object], *, settle: bool) -> None:
        """Do something in the next turn of the loop, alone or together with what comes next."""
        self.world.loop.call_soon(action)
        if settle:
            self.world.loop.settle()

    def _stand(self, dial: Dial) -> None:
        dial.succeed(lambda wire: self.apis.append(ApiEnd(wire, self.asked, self.attempts)))

    def _answering(self) -> list[ApiEnd]:
        return [api for api in self.apis if api.attempt is not None and not api.wire.ended]

    @invariant()
    def what_was_said_holds(self) -> None:
        for api in self.apis:
            api.check()
        for client in self.clients + self.gone:
            client.check()
        assert self.world.loop.unexpected == []

    def teardown(self) -> None:
        """Let everybody go: then nothing is left."""
        if not hasattr(self, "world"):
            return
        world = self.world
        world.loop.settle()
        self.what_was_said_holds()
        for client in self.clients:
            self._act(partial(client.wire.finish, clean=True), settle=True)
        assert world.listener.places.taken == 0
        assert not world.seen.under_way
        assert world.loop.dials == []
        assert world.users.waiting == []
        world.loop.advance(GOODBYE)  # for what an API server did not take
        assert world.pool.active == 0
        world.loop.do(world.pool.close_idle)
        assert world.loop.unexpected == []
        world.loop.close()


Conversations.TestCase.settings = settings(stateful_step_count=40)
TestConversations = Conversations.TestCase
