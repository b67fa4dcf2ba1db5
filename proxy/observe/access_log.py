"""One line for every request: who did what, with what outcome, and how long it took.

Never in it: the token, the query (it carries commands of exec and tokens of careless clients) and
cookies. A field that does not apply is absent; one that a client could fill at will is cut. This is
on the path of each request, so the line is built directly and not as a ``logging.LogRecord``,
which costs twice as much, from the exchange itself; and what others may have put a token into is
searched for one where it is encoded, which for most of it is once and not with every line. What is
remembered for that is what was asked, who acts and where it came from, each by itself: the three
come together in too many ways. Few, short, and never a token that came as one.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from functools import lru_cache
from http import HTTPStatus
from typing import Final

from proxy.forwarded import Networks, chain
from proxy.http.exchange import Exchange
from proxy.observe.log_writer import LogWriter
from proxy.observe.logs import Timestamps, encode
from proxy.observe.redaction import redact
from proxy.requestinfo import RequestInfo, resolve
from proxy.speaker import PassedThrough

MAX_PATH: Final = 1024
MAX_USER_AGENT: Final = 256
MAX_NAME: Final = 256  # characters of whatever else a client may choose
MAX_DETAIL: Final = 1024
MAX_GROUPS: Final = 32
_REMEMBERED_LENGTH: Final = 256  # bytes of whatever a client may choose; see requestinfo.resolve
# Naming an enum's member costs more than all else in ``outcome_of`` (0.2 us, Python 3.11).
_SWITCHING_PROTOCOLS: Final = HTTPStatus.SWITCHING_PROTOCOLS.value

_log = logging.getLogger(__name__)


class AccessLog:
    """Writes a JSON line for each exchange that has ended."""

    def __init__(self, writer: LogWriter, forwarded_from: Networks = ()) -> None:
        self._writer = writer
        self._forwarded_from = forwarded_from
        self._timestamps = Timestamps()
        self._client = lru_cache(256)(self._client_of)

    def write(self, exchanges: Iterable[Exchange]) -> None:
        """Write the lines of exchanges that have ended."""
        lines = []
        for exchange in exchanges:
            try:
                lines.append(self._line(exchange))
            except Exception:  # noqa: BLE001 - whatever it is, it is no affair of the others'
                _log.exception("[unexpected] a request could not be logged")
        if lines:
            self._writer.write(*lines)

    def _line(self, exchange: Exchange) -> str:
        """Return the line of one; what few of them have to say is looked for first."""
        head, admission = exchange.head, exchange.admission
        target, forwarded_for = head.target, head.forwarded_for
        answered_at, session = exchange.answered_at, exchange.session
        who = why = upstream = more = ""
        if len(target) <= _REMEMBERED_LENGTH:
            asked = _asked(head.method, target)
        else:  # to resolve it once more could take 10 ms
            asked = _asked_of(head.method, target, exchange.info)
        if admission is not None:
            acting = admission.identity
            passed_through = isinstance(acting, PassedThrough)
            who = _who(acting.username, acting.groups, acting.original, passed_through)
        if (
            exchange.error is not None  # and so it is where an answer was truncated
            or exchange.missing is not None
            or exchange.impersonation_forbidden
            or exchange.client_left
            or exchange.status == _SWITCHING_PROTOCOLS
        ):
            why = _why(exchange)
        if answered_at:
            upstream = f',"upstream_ms":{(answered_at - exchange.sent_at) * 1000:.3f}'
        short = not forwarded_for or sum(map(len, forwarded_for)) <= _REMEMBERED_LENGTH
        client = self._client if short else self._client.__wrapped__
        if session is not None:
            more = _members(session.fields())
        return (
            f'{{"ts":"{self._timestamps.format(exchange.completed_at)}","level":"info","event":"request"'
            f',"audit_id":"{exchange.audit_id}"{asked}{who}'
            f',"code":{exchange.status}{why},"kind":"{exchange.kind}"'
            f',"duration_ms":{(exchange.ended_at - exchange.began_at) * 1000:.3f}{upstream}'
            f',"bytes_in":{exchange.bytes_received},"bytes_out":{exchange.bytes_sent}'
            f"{client(exchange.client.address, head.user_agent[:MAX_USER_AGENT], *forwarded_for)}"
            f"{more}}}"
        )

    def _client_of(self, address: str, user_agent: bytes, *forwarded_for: bytes) -> str:
        """Say who sent it, whom it is said to come from, and how far that can be believed."""
        fields: dict[str, object] = {"client": address}
        if user_agent:
            fields["user_agent"] = user_agent.decode("utf-8", "replace")
        if forwarded_for:
            came = chain(forwarded_for, address, self._forwarded_from)
            if came.verified:
                fields["forwarded_for"] = came.verified
            if came.unverified:
                fields["forwarded_for_unverified"] = came.unverified[:MAX_NAME]
        return _members(fields)


def _members(fields: Mapping[str, object]) -> str:
    """Return ``fields`` as members that follow others in an object, tokens masked."""
    return f",{redact(encode(fields))[1:-1]}" if fields else ""


@lru_cache(1024)
def _asked(method: bytes, target: bytes) -> str:
    return _asked_of(method, target, resolve(method, target))


def _asked_of(method: bytes, target: bytes, info: RequestInfo) -> str:
    path = target.partition(b"?")[0][:MAX_PATH]
    fields: dict[str, object] = {
        "method": method.decode("ascii", "replace"),
        "path": path.decode("utf-8", "replace"),
        "verb": info.verb,
    }
    if info.resource:
        fields["resource"] = info.resource[:MAX_NAME]
    if info.subresource:
        fields["subresource"] = info.subresource[:MAX_NAME]
    if info.namespace:
        fields["namespace"] = info.namespace[:MAX_NAME]
    return _members(fields)


@lru_cache(256)
def _who(user: str, groups: tuple[str, ...], original: str, passed_through: bool) -> str:
    fields: dict[str, object] = {
        "user": user[:MAX_NAME],
        "groups": [group[:MAX_NAME] for group in groups[:MAX_GROUPS]],
    }
    if original:
        fields["original_user"] = original[:MAX_NAME]
    if passed_through:
        fields["passed_through"] = True
    return _members(fields)


def _why(exchange: Exchange) -> str:
    """Return what few requests have to say: nothing is remembered of it."""
    fields: dict[str, object] = {}
    error = exchange.error
    if outcome := outcome_of(exchange):
        fields["outcome"] = outcome
    if error is not None:
        fields["reason"] = error.label
        if error.detail:
            fields["detail"] = error.detail[:MAX_DETAIL]
    if exchange.missing is not None:
        fields["missing"] = exchange.missing.as_fields()
    return _members(fields)


def outcome_of(exchange: Exchange) -> str:
    """Say in a word what the status code does not."""
    if exchange.truncated:
        return "truncated"
    if exchange.impersonation_forbidden:
        return "impersonation_forbidden"
    if exchange.client_left:
        return "client_left"
    return "upstream_ended" if exchange.status == _SWITCHING_PROTOCOLS else ""
