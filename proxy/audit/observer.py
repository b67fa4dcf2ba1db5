"""Sees each exchange at its stages and tells the sinks what the policy wants to be known.

The stages are kube-apiserver's. ``RequestReceived`` is when it is known who asks, for the policy
asks that first; ``ResponseStarted`` is for long-running requests alone; and of a request that
nobody could be found for, the one event is ``ResponseStarted``. What this proxy refuses is audited
like what it passes on, with its reason among the annotations.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Final, Protocol

from proxy.audit.event import (
    AUTHENTICATED,
    Record,
    Request,
    Status,
    User,
    status_of,
    unauthenticated,
)
from proxy.audit.policy import Policy, Stage, Stages
from proxy.denial import Bearer
from proxy.errors import AuthenticationError, ProxyError
from proxy.forwarded import Chain, Networks, chain
from proxy.http.exchange import Exchange
from proxy.http.service import Admission
from proxy.limits import Limit
from proxy.observe.access_log import MAX_DETAIL, MAX_NAME
from proxy.observe.requests import outcome_of
from proxy.rights import DOMAIN
from proxy.speaker import PassedThrough

_DIRECT: Final = Chain()
_NOTHING: Final[Mapping[str, str]] = {}


class Sink(Protocol):
    """Where events go; must neither block nor raise."""

    def write(self, line: str) -> None:
        """Take one event, a line of JSON in ASCII without its end."""


class AuditObserver:
    """Audits exchanges; satisfies ``http.service.Observer``."""

    def __init__(
        self, policy: Policy, sinks: Sequence[Sink], forwarded_from: Networks = ()
    ) -> None:
        self._policy = policy
        self._forwarded_from = forwarded_from
        self._sinks = tuple(sinks)
        self._audited: dict[Exchange, tuple[Record, Stages]] = {}

    def begun(self, exchange: Exchange) -> None:
        """Nothing is told yet: the policy asks who it is."""

    def admitted(self, exchange: Exchange) -> None:
        if audited := self._begin(exchange):
            self._audited[exchange] = audited

    def answered(self, exchange: Exchange) -> None:
        if exchange.info.long_running and (audited := self._audited.get(exchange)):
            self._tell(audited, "ResponseStarted", status_of(exchange.status, None))

    def ended(self, exchange: Exchange) -> None:
        audited = self._audited.pop(exchange, None)
        if exchange.admission is None and isinstance(exchange.error, AuthenticationError):
            self._unauthenticated(exchange)
            return
        if exchange.admission is None:  # refused, or given up, before it was known who asks
            audited = self._begin(exchange)
        if audited is None:
            return
        status = status_of(exchange.status, exchange.error)
        if exchange.info.long_running and not exchange.answered_at:
            self._tell(audited, "ResponseStarted", status)
        self._tell(audited, "ResponseComplete", status, self._annotations(exchange))

    def unreadable(self, error: ProxyError, client: str, audit_id: str) -> None:
        """What is no request has no event; kube-apiserver does not hear of it either."""

    def retried(self) -> None:
        """It is the same request."""

    def limited(self, limit: Limit) -> None:
        """It was no request yet."""

    def _begin(self, exchange: Exchange) -> tuple[Record, Stages] | None:
        """Return what is to be told of a request, having told that it was received."""
        user, impersonated = _users(exchange.admission, _bearer(exchange))
        stages = self._stages(exchange, user)
        if not stages:
            return None
        audited = Record(self._request(exchange, user, impersonated)), stages
        self._tell(audited, "RequestReceived")
        return audited

    def _request(
        self, exchange: Exchange, user: User | None, impersonated: User | None = None
    ) -> Request:
        return Request(
            audit_id=exchange.audit_id,
            target=exchange.head.target,
            info=exchange.info,
            user=user,
            impersonated=impersonated,
            source_ips=_source_ips(self._chain(exchange), exchange.client.address),
            user_agent=exchange.head.header(b"user-agent"),
            received_at=exchange.received_at,
        )

    def _chain(self, exchange: Exchange) -> Chain:
        values = exchange.head.forwarded_for
        if not values:
            return _DIRECT
        return chain(values, exchange.client.address, self._forwarded_from)

    def _annotations(self, exchange: Exchange) -> Mapping[str, str]:
        claimed = self._chain(exchange).unverified[:MAX_NAME]
        return _annotations(exchange, claimed)

    def _unauthenticated(self, exchange: Exchange) -> None:
        stages = self._stages(exchange, None)
        if stages:
            status = unauthenticated(exchange.head.authorization)
            record = Record(self._request(exchange, None))
            self._tell((record, stages), "ResponseStarted", status, self._annotations(exchange))

    def _stages(self, exchange: Exchange, user: User | None) -> Stages:
        if user is None:
            return self._policy.stages(None, (), exchange.info)
        return self._policy.stages(user.username, user.groups, exchange.info)

    def _tell(
        self,
        audited: tuple[Record, Stages],
        stage: Stage,
        status: Status | None = None,
        annotations: Mapping[str, str] = _NOTHING,
    ) -> None:
        record, stages = audited
        if stage in stages:
            line = record.event(stage, time.time(), status, annotations)
            for sink in self._sinks:
                sink.write(line)


def _bearer(exchange: Exchange) -> Bearer | None:
    """Return whose token it was, if that is known."""
    if exchange.admission is not None:
        return exchange.admission.bearer
    return exchange.error.bearer if exchange.error is not None else None


def _users(admission: Admission | None, bearer: Bearer | None) -> tuple[User | None, User | None]:
    """Return who asks, and whom they asked to be."""
    person = User(bearer.username, (*bearer.groups, AUTHENTICATED)) if bearer else None
    if admission is None:
        return person, None
    identity = admission.identity
    if isinstance(identity, PassedThrough):
        return User(identity.username, identity.groups), None
    acting = User(
        identity.username, (*identity.groups, AUTHENTICATED), identity.uid, identity.extra
    )
    return (person, acting) if identity.original else (acting, None)


def _source_ips(came: Chain, peer: str) -> tuple[str, ...]:
    """Return what is known of where a request came from, the peer last, as kube-apiserver does."""
    if peer == "unix" or came.verified[-1:] == (peer,):
        return came.verified
    return (*came.verified, peer)


@lru_cache(maxsize=1024)
def _facts(bearer: Bearer) -> Mapping[str, str]:
    return {key: ", ".join(values) for key, values in bearer.facts.items()}


def _annotations(exchange: Exchange, claimed: str) -> Mapping[str, str]:
    annotations = dict(exchange.annotations)
    annotations[f"{DOMAIN}/forwarded-for-unverified"] = claimed
    if (bearer := _bearer(exchange)) is not None:
        annotations |= _facts(bearer)
    if exchange.error is not None:
        annotations[f"{DOMAIN}/reason"] = exchange.error.label
        if exchange.error.detail:
            annotations[f"{DOMAIN}/detail"] = exchange.error.detail[:MAX_DETAIL]
    if outcome := outcome_of(exchange):
        annotations[f"{DOMAIN}/outcome"] = outcome
    return {key: value for key, value in annotations.items() if value}
