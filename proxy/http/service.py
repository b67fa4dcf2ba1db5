"""What the exchanges share, and what they ask of the world outside ``http``.

These are the seams at which ``server`` joins the data plane to authentication, credentials and
observation; none of those is known here by more than these few methods.
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from proxy.denial import Bearer
from proxy.errors import ProxyError
from proxy.headers import RequestHeaders
from proxy.http.answer import Document
from proxy.http.head import RequestHead, ResponseHead
from proxy.impersonation import Impersonation
from proxy.limits import DEFAULTS, Limit, Limits, Tally
from proxy.speaker import PassedThrough

if TYPE_CHECKING:
    from proxy.http.exchange import Exchange
    from proxy.http.pool import Pool


@dataclass(frozen=True, slots=True, eq=False)  # known by being the same; see audit.memory
class Admission:
    """What the gate found: who is asking, as whom, and the subprotocols that may pass on.

    ``websocket_protocols`` is None where the client's own pass unchanged.
    """

    identity: Impersonation | PassedThrough
    bearer: Bearer
    websocket_protocols: bytes | None = None

    def with_protocols(self, protocols: bytes | None) -> Admission:
        """Return the same for a request of which only ``protocols`` may pass on, if any."""
        return self if protocols is None else Admission(self.identity, self.bearer, protocols)


class Gate(Protocol):
    """Decides who a request is from. Raises a ``ProxyError`` to refuse it."""

    def admit(self, head: RequestHead, now: float) -> Admission | Awaitable[Admission]:
        """Return at once where everything needed is known, else something to await.

        ``now`` in unix seconds.
        """
        ...


class Denial(Protocol):
    """Decides who is kept out whatever their token says."""

    def check(self, bearer: Bearer) -> None:
        """Raise ``Denied`` for somebody who is kept out now."""


class Page(Protocol):
    """A page of our own, before all that decides who is asking; it is never forwarded."""

    @property
    def path(self) -> bytes:
        """What the target of every request for it begins with: so ``is_at`` is seldom asked."""
        ...

    def is_at(self, target: bytes) -> bool: ...

    async def show(self, head: RequestHead, now: float) -> Document:
        """Return the page for this request; ``now`` in unix seconds. May raise a ProxyError."""
        ...


class Credential(Protocol):
    """Who this proxy itself is towards the API server."""

    def header(self, now: float) -> bytes | None:
        """Return whole header lines, or None if ``renew`` must be awaited first.

        Raises ``CredentialUnavailable``; ``now`` in unix seconds.
        """
        ...

    async def renew(self) -> None: ...

    def reread(self) -> None:
        """Forget what is held, so that the next request looks again."""


class Witness:
    """Sees what is told without an exchange."""

    def unreadable(self, error: ProxyError, client: str, audit_id: str) -> None:
        """A request was refused before it could be read as one."""

    def retried(self) -> None:
        """A request is sent upstream a second time."""

    def limited(self, limit: Limit) -> None:
        """A limit has refused or ended a connection."""


class Observer(Witness):
    """Sees each exchange from outside, at the moments that it has a method of its own for.

    These are called on the path, so they must be quick.
    """

    def begun(self, exchange: Exchange) -> None:
        """A request's head is whole; who asks is not known yet."""

    def admitted(self, exchange: Exchange) -> None:
        """It is known who asks; limits and the list of those who are kept out come after."""

    def answered(self, exchange: Exchange) -> None:
        """A stream's head is about to be passed on, or the tunnel stands.

        Of a unary request nobody is told that: it ends so soon that they may as well look then.
        """

    def ended(self, exchange: Exchange) -> None:
        """Its answer has ended, either way; told once of each exchange that has begun."""


class Session(Protocol):
    """One exec, attach or port-forward; it is shown a copy of what passes, and never raises then.

    ``opening`` must be awaited, where it is not None, before anything is sent upstream; it may
    raise a ``ProxyError``.
    """

    opening: Awaitable[None] | None

    def joined(self, head: ResponseHead) -> None:
        """The API server has agreed. Raises a ``ProxyError`` to refuse what it agreed to."""

    def client_data(self, data: bytes) -> None: ...

    def upstream_data(self, data: bytes) -> None: ...

    def ended(self) -> Mapping[str, str]:
        """The exchange is over, whether or not a session came of it; return audit annotations."""
        ...

    def fields(self) -> Mapping[str, object]:
        """Return what the access log says of it."""
        ...


class Sessions(Protocol):
    """Looks at sessions as they pass."""

    def open(self, exchange: Exchange) -> Session | None:
        """Return None for what is no session. Raises a ``ProxyError`` to refuse one."""
        ...


@dataclass(frozen=True, slots=True)
class Service:
    """What all exchanges share; ``authority`` is the Host of every upstream request.

    ``streams`` and ``requests`` count what each user has under way. The connections of ``pool`` may
    show a client certificate of ours. A request that is passed through must not travel on one:
    ``bare_pool`` is for those, None where there are none.
    """

    gate: Gate
    credential: Credential
    pool: Pool
    authority: bytes
    headers: RequestHeaders
    observer: Observer
    streams: Tally
    requests: Tally
    limits: Limits = DEFAULTS
    denial: Denial | None = None
    bare_pool: Pool | None = None
    sessions: Sessions | None = None
    page: Page | None = None
