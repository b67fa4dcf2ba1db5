"""What all events of a request say, remembered for as long as the same is asked by the same people.

Two thirds of an event are who asks, what is asked, the client, and what the policy says to that.
It is found in one look, by who was admitted: the gate keeps one value for each token that it has
seen, so that value is known by being the same one, and is not compared. That look comes before all
questions whether such a request may be remembered: 26 bytecodes in place of 62. Everything that is
remembered is bounded in number and in length, and none of it holds a token that came as one; of a
short target, the query is kept as it came, as it is with request lines (``http.known``).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final, NamedTuple

from proxy.audit.event import (
    AUTHENTICATED,
    User,
    asked,
    client,
    ending,
    members,
    users,
)
from proxy.audit.policy import Policy, Stages
from proxy.denial import Bearer
from proxy.forwarded import Chain, Networks, chain
from proxy.http.exchange import Exchange
from proxy.http.service import Admission
from proxy.impersonation import Impersonation
from proxy.observe.access_log import MAX_NAME
from proxy.requestinfo import RequestInfo, resolve
from proxy.rights import DOMAIN
from proxy.speaker import PassedThrough

MAX_REMEMBERED: Final = 256  # bytes of whatever a client may choose; see requestinfo.resolve
REMEMBERED: Final = 1024
REMEMBERED_SIZE: Final = 16 << 20  # characters of ASCII; 1024 times a user with 256 groups
REMEMBERED_USERS: Final = 256
_DIRECT: Final = Chain()
_UNREADABLE: Final = RequestInfo(is_resource_request=False, path="", verb="")


@dataclass(frozen=True, slots=True)
class Audited:
    """What is told of a request: at which stages, what its events have in common, encoded.

    ``facts`` are members: what the token says, and what is claimed and not believed;
    ``end`` is the end of an event that says that and nothing else.
    """

    stages: Stages
    common: str
    facts: str
    end: str


class _Who(NamedTuple):
    """Who asks, None for nobody known, with what events say of them and of their token."""

    username: str | None
    groups: tuple[str, ...]
    text: str
    facts: str


_NOBODY: Final = _Who(None, (), users(None), "")
# Who was admitted, method, target, address, user agent, and what the request says of its way.
_Asking = tuple[Admission | None, bytes, bytes, str, bytes, tuple[bytes, ...]]


class Memory:
    """Says of each request what one policy wants to be told of it."""

    def __init__(self, policy: Policy, forwarded_from: Networks) -> None:
        self._policy = policy
        self._forwarded_from = forwarded_from
        self._remembered: dict[_Asking, Audited | None] = {}
        self._size = 0  # characters of what is remembered
        self._decide = lru_cache(maxsize=REMEMBERED)(self._stages)

    def find(self, exchange: Exchange) -> Audited | None:
        """Return what is to be told of a request, None for nothing."""
        head, address = exchange.head, exchange.client.address
        asking = (
            exchange.admission,
            head.method,
            head.target,
            address,
            head.user_agent,
            head.forwarded_for,
        )
        try:  # what may not be remembered is not there, so that is asked of few
            return self._remembered[asking]
        except KeyError:
            audited = self._made(exchange, _who(exchange))
            if _may_be_remembered(exchange):
                self._remember(asking, audited)
            return audited

    def of_nobody(self, exchange: Exchange) -> Audited | None:
        """Return the same for a request of which it could not be found out who asks."""
        return self._made(exchange, _NOBODY)

    def of_unreadable(self, address: str) -> Audited | None:
        """Return the same for what could not be read as a request, at its one stage.

        It has no user, no verb and no path, so a rule that asks for one does not match it; but
        ``nonResourceURLs: ["*"]`` does, and so does a rule that asks for nothing.
        """
        if "ResponseComplete" not in self._policy.stages(None, (), _UNREADABLE):
            return None
        said = asked(b"", b"")[0], _NOBODY.text, client(_source_ips((), address), b"")
        return Audited(frozenset({"ResponseComplete"}), "".join(said), "", ending())

    def _remember(self, asking: _Asking, audited: Audited | None) -> None:
        """Remember what was made; what there was before is all forgotten where it is too much."""
        size = len(audited.common) + len(audited.facts) + len(audited.end) if audited else 0
        if size > REMEMBERED_SIZE:
            return
        if len(self._remembered) >= REMEMBERED or self._size + size > REMEMBERED_SIZE:
            self._remembered.clear()
            self._size = 0
        self._remembered[asking] = audited
        self._size += size

    def _made(self, exchange: Exchange, who: _Who) -> Audited | None:
        head, address = exchange.head, exchange.client.address
        method, target, agent = head.method, head.target, head.user_agent
        decide = self._decide if len(target) <= MAX_REMEMBERED else self._decide.__wrapped__
        stages = decide(who.username, who.groups, method, target)
        if not stages:
            return None
        wanted, reference = asked(method, target)
        came = _DIRECT
        if head.forwarded_for:
            came = chain(head.forwarded_for, address, self._forwarded_from)
        client = _client if len(agent) <= MAX_REMEMBERED else _client.__wrapped__
        common = f"{wanted}{who.text}{client(came.verified, address, agent)}{reference}"
        facts = _known_before(who, came)
        return Audited(stages, common, facts, ending(facts))

    def _stages(
        self, username: str | None, groups: tuple[str, ...], method: bytes, target: bytes
    ) -> Stages:
        return self._policy.stages(username, groups, resolve(method, target))


def _may_be_remembered(exchange: Exchange) -> bool:
    """Say whether the same can come again, is short, and nothing of it holds a token."""
    head, admission = exchange.head, exchange.admission
    return (
        admission is not None
        and not head.impersonation  # here, and for an upgrade, an admission is made for the request
        and exchange.kind != "upgrade"
        and not isinstance(admission.identity, PassedThrough)
        and len(head.target) + len(head.user_agent) <= MAX_REMEMBERED
        and sum(map(len, head.forwarded_for)) <= MAX_REMEMBERED
    )


def _known_before(who: _Who, came: Chain) -> str:
    """Return as members what annotations say whatever becomes of the request."""
    if not came.unverified:
        return who.facts
    claimed = members({f"{DOMAIN}/forwarded-for-unverified": came.unverified[:MAX_NAME]})
    return f"{who.facts},{claimed}" if who.facts else claimed


def _bearer(exchange: Exchange) -> Bearer | None:
    """Return whose token it was, if that is known."""
    if exchange.admission is not None:
        return exchange.admission.bearer
    return exchange.error.bearer if exchange.error is not None else None


def _who(exchange: Exchange) -> _Who:
    """Return who asks, as far as it is known."""
    bearer = _bearer(exchange)
    identity = exchange.admission.identity if exchange.admission is not None else None
    if isinstance(identity, PassedThrough):  # not itself: it holds a token, and would be remembered
        return _passed_through(identity.username, identity.groups, bearer)
    return _asserted(identity, bearer)


@lru_cache(maxsize=REMEMBERED_USERS)
def _passed_through(username: str, groups: tuple[str, ...], bearer: Bearer | None) -> _Who:
    return _Who(username, groups, users(User(username, groups)), _facts(bearer))


@lru_cache(maxsize=REMEMBERED_USERS)
def _asserted(identity: Impersonation | None, bearer: Bearer | None) -> _Who:
    person = User(bearer.username, (*bearer.groups, AUTHENTICATED)) if bearer else None
    impersonated = None
    if identity is not None:
        acting = User(
            identity.username, (*identity.groups, AUTHENTICATED), identity.uid, identity.extra
        )
        person, impersonated = (person, acting) if identity.original else (acting, None)
    text, facts = users(person, impersonated), _facts(bearer)
    if person is None:
        return _Who(None, (), text, facts)
    return _Who(person.username, person.groups, text, facts)


@lru_cache(maxsize=1024)
def _client(verified: tuple[str, ...], peer: str, user_agent: bytes) -> str:
    return client(_source_ips(verified, peer), user_agent)


def _source_ips(verified: tuple[str, ...], peer: str) -> tuple[str, ...]:
    """Return what is known of where a request came from, the peer last, as kube-apiserver does."""
    if peer == "unix" or verified[-1:] == (peer,):
        return verified
    return (*verified, peer)


def _facts(bearer: Bearer | None) -> str:
    if bearer is None:
        return ""
    return members({key: ", ".join(values) for key, values in bearer.facts.items()})
