"""Sees each exchange at its stages and tells the sinks what the policy wants to be known.

The stages are kube-apiserver's. ``RequestReceived`` is when it is known who asks, for the policy
asks that first; ``ResponseStarted`` is for long-running requests alone; and of a request that
nobody could be found for, the one event is ``ResponseStarted``. What this proxy refuses is audited
like what it passes on, with its reason among the annotations.

All that is the same from request to request is remembered, bounded, under what it was made from:
who asks, what is asked, the client, and what the policy says to that (some 20 us less a request).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import lru_cache
from typing import Final, NamedTuple, Protocol

from proxy.audit.event import (
    AUTHENTICATED,
    User,
    asked,
    client,
    event,
    members,
    request_status,
    response_status,
    unauthenticated,
    users,
)
from proxy.audit.policy import Policy, Stage, Stages
from proxy.denial import Bearer
from proxy.errors import AuthenticationError, ProxyError
from proxy.forwarded import Chain, Networks, chain
from proxy.http.exchange import Exchange
from proxy.impersonation import Impersonation
from proxy.limits import Limit
from proxy.observe.access_log import MAX_DETAIL, MAX_NAME
from proxy.observe.requests import outcome_of
from proxy.requestinfo import resolve
from proxy.rights import DOMAIN
from proxy.speaker import PassedThrough

MAX_REMEMBERED: Final = 256  # bytes of a target or User-Agent; see requestinfo.resolve
REMEMBERED_USERS: Final = 256
_DIRECT: Final = Chain()


class Who(NamedTuple):
    """Who asks, None for nobody known, with what events say of them and of their token."""

    username: str | None
    groups: tuple[str, ...]
    text: str
    facts: str


_NOBODY: Final = Who(None, (), users(None), "")


class _Audited(NamedTuple):
    """What all events of one request have in common, encoded and masked."""

    stages: Stages
    common: str
    facts: str
    claimed: str  # where it is said to come from, not to be believed


class Sink(Protocol):
    """Where events go; must neither block nor raise."""

    def write(self, line: str) -> None:
        """Take one event, a line of JSON in ASCII without its end."""


class AuditObserver:
    """Audits exchanges; satisfies ``http.service.Observer``."""

    def __init__(
        self, policy: Policy, sinks: Sequence[Sink], forwarded_from: Networks = ()
    ) -> None:
        self._forwarded_from = forwarded_from
        self._sinks = tuple(sinks)
        self._audited: dict[Exchange, _Audited] = {}

        @lru_cache(maxsize=1024)
        def decide(
            username: str | None, groups: tuple[str, ...], method: bytes, target: bytes
        ) -> Stages:
            return policy.stages(username, groups, resolve(method, target))

        self._decide = decide

    def begun(self, exchange: Exchange) -> None:
        """Nothing is told yet: the policy asks who it is."""

    def admitted(self, exchange: Exchange) -> None:
        if audited := self._begin(exchange):
            self._audited[exchange] = audited

    def answered(self, exchange: Exchange) -> None:
        if exchange.kind == "unary":  # the most frequent by far, and never long-running
            return
        if exchange.info.long_running and (audited := self._audited.get(exchange)):
            self._tell(exchange, audited, "ResponseStarted", request_status(exchange.status, None))

    def ended(self, exchange: Exchange) -> None:
        audited = self._audited.pop(exchange, None)
        if exchange.admission is None:  # refused, or given up, before it was known who asks
            if isinstance(exchange.error, AuthenticationError):
                self._unauthenticated(exchange)
                return
            audited = self._begin(exchange)
        if audited is None:
            return
        status = request_status(exchange.status, exchange.error)
        if not exchange.answered_at and exchange.info.long_running:
            self._tell(exchange, audited, "ResponseStarted", status)
        if "ResponseComplete" in audited.stages:
            annotations = _annotations(exchange, audited)
            self._tell(exchange, audited, "ResponseComplete", status, annotations)

    def unreadable(self, error: ProxyError, client: str, audit_id: str) -> None:
        """What is no request has no event; kube-apiserver does not hear of it either."""

    def retried(self) -> None:
        """It is the same request."""

    def limited(self, limit: Limit) -> None:
        """It was no request yet."""

    def _begin(self, exchange: Exchange) -> _Audited | None:
        """Return what is to be told of a request, having told that it was received."""
        audited = self._find(exchange, _who(exchange))
        if audited is not None:
            self._tell(exchange, audited, "RequestReceived")
        return audited

    def _find(self, exchange: Exchange, who: Who) -> _Audited | None:
        head = exchange.head
        short = len(head.target) <= MAX_REMEMBERED
        decide = self._decide if short else self._decide.__wrapped__
        stages = decide(who.username, who.groups, head.method, head.target)
        if not stages:
            return None
        asking, reference = asked(head.method, head.target)
        address, agent = exchange.client.address, head.header(b"user-agent")
        values, came = head.forwarded_for, _DIRECT
        if values:
            came = chain(values, address, self._forwarded_from)
        client = _client if len(agent) <= MAX_REMEMBERED else _client.__wrapped__
        common = f"{asking}{who.text}{client(came.verified, address, agent)}{reference}"
        return _Audited(stages, common, who.facts, came.unverified[:MAX_NAME])

    def _unauthenticated(self, exchange: Exchange) -> None:
        if audited := self._find(exchange, _NOBODY):
            status = response_status(unauthenticated(exchange.head.authorization))
            annotations = _annotations(exchange, audited)
            self._tell(exchange, audited, "ResponseStarted", status, annotations)

    def _tell(
        self,
        exchange: Exchange,
        audited: _Audited,
        stage: Stage,
        status: str = "",
        annotations: str = "",
    ) -> None:
        if stage not in audited.stages:
            return
        line = event(
            stage,
            exchange.audit_id,
            audited.common,
            exchange.received_at,
            time.time(),
            status,
            annotations,
        )
        for sink in self._sinks:
            sink.write(line)


def _bearer(exchange: Exchange) -> Bearer | None:
    """Return whose token it was, if that is known."""
    if exchange.admission is not None:
        return exchange.admission.bearer
    return exchange.error.bearer if exchange.error is not None else None


def _who(exchange: Exchange) -> Who:
    """Return who asks, as far as it is known."""
    bearer = _bearer(exchange)
    identity = exchange.admission.identity if exchange.admission is not None else None
    if isinstance(identity, PassedThrough):  # not itself: it holds a token, and would be remembered
        return _passed_through(identity.username, identity.groups, bearer)
    return _asserted(identity, bearer)


@lru_cache(maxsize=REMEMBERED_USERS)
def _passed_through(username: str, groups: tuple[str, ...], bearer: Bearer | None) -> Who:
    return Who(username, groups, users(User(username, groups)), _facts(bearer))


@lru_cache(maxsize=REMEMBERED_USERS)
def _asserted(identity: Impersonation | None, bearer: Bearer | None) -> Who:
    person = User(bearer.username, (*bearer.groups, AUTHENTICATED)) if bearer else None
    impersonated = None
    if identity is not None:
        acting = User(
            identity.username, (*identity.groups, AUTHENTICATED), identity.uid, identity.extra
        )
        person, impersonated = (person, acting) if identity.original else (acting, None)
    text, facts = users(person, impersonated), _facts(bearer)
    if person is None:
        return Who(None, (), text, facts)
    return Who(person.username, person.groups, text, facts)


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


def _annotations(exchange: Exchange, audited: _Audited) -> str:
    """Return all annotations: what the token says, and what became of the request."""
    found = dict(exchange.annotations)
    if audited.claimed:
        found[f"{DOMAIN}/forwarded-for-unverified"] = audited.claimed
    if exchange.error is not None:
        found[f"{DOMAIN}/reason"] = exchange.error.label
        if exchange.error.detail:
            found[f"{DOMAIN}/detail"] = exchange.error.detail[:MAX_DETAIL]
    if outcome := outcome_of(exchange):
        found[f"{DOMAIN}/outcome"] = outcome
    parts = [audited.facts] if audited.facts else []
    if found:
        parts.append(members({key: value for key, value in found.items() if value}))
    return f',"annotations":{{{",".join(parts)}}}' if parts else ""
