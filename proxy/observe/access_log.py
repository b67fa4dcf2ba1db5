"""One line for every request: who did what, with what outcome, and how long it took.

Never in it: the token, the query (it carries commands of exec and tokens of careless clients) and
cookies. A field that does not apply is absent; one that a client could fill at will is cut. This is
on the path of each request, so the line is built directly and not as a ``logging.LogRecord``,
which costs twice as much; and what others may have put a token into is searched for one where it
is encoded, which for most of it is once and not with every line.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from proxy.errors import ProxyError
from proxy.forwarded import Networks, chain
from proxy.missing_rule import MissingRule
from proxy.observe.log_writer import LogWriter
from proxy.observe.logs import Timestamps, encode
from proxy.observe.redaction import redact
from proxy.requestinfo import Kind, RequestInfo

MAX_PATH: Final = 1024
MAX_USER_AGENT: Final = 256
MAX_NAME: Final = 256  # characters of whatever else a client may choose
MAX_DETAIL: Final = 1024
MAX_GROUPS: Final = 32
_REMEMBERED_LENGTH: Final = 256  # bytes of a path; see requestinfo.resolve


@dataclass(slots=True)
class Identity:
    """Who a request acts as upstream.

    ``original`` is who asked to act as them, empty for themselves; ``passed_through`` says that
    they were not asserted, but came with a token of the API server's own.
    """

    user: str
    groups: tuple[str, ...]
    original: str = ""
    passed_through: bool = False


@dataclass(slots=True)
class Entry:
    """A request that has ended. Durations in seconds; ``upstream`` None if it was not reached.

    ``code`` is the status that the client was sent, 0 for none; ``outcome`` says in a word what
    the status does not. ``identity`` is None if it did not come to one. ``error`` is set where the
    proxy itself refused or cut the request, ``missing`` where RBAC refused it for want of a rule.
    ``session`` is what is known of an exec, attach or port-forward, as fields of their own.
    """

    audit_id: str
    method: bytes
    target: bytes
    info: RequestInfo
    kind: Kind
    code: int
    client: str
    user_agent: bytes
    duration: float
    upstream: float | None
    bytes_in: int
    bytes_out: int
    outcome: str = ""
    identity: Identity | None = None
    error: ProxyError | None = None
    forwarded_for: Sequence[bytes] = ()  # as it came
    session: Mapping[str, object] = field(default_factory=dict)
    missing: MissingRule | None = None


class AccessLog:
    """Writes entries as JSON lines."""

    def __init__(self, writer: LogWriter, forwarded_from: Networks = ()) -> None:
        self._writer = writer
        self._forwarded_from = forwarded_from
        self._timestamps = Timestamps()

    def write(self, entry: Entry) -> None:
        self._writer.write(self._line(entry, time.time()))

    def _line(self, entry: Entry, now: float) -> str:
        info, path = entry.info, entry.target.partition(b"?")[0][:MAX_PATH]
        asked = _asked if len(path) <= _REMEMBERED_LENGTH else _asked.__wrapped__
        who, upstream = entry.identity, entry.upstream
        return "".join(
            (
                f'{{"ts":"{self._timestamps.format(now)}","level":"info","event":"request"',
                f',"audit_id":"{entry.audit_id}"',
                asked(
                    entry.method, path, info.verb, info.resource, info.subresource, info.namespace
                ),
                "" if who is None else _who(who.user, who.groups, who.original, who.passed_through),
                f',"code":{entry.code}',
                _why(entry),
                f',"kind":"{entry.kind}","duration_ms":{entry.duration * 1000:.3f}',
                "" if upstream is None else f',"upstream_ms":{upstream * 1000:.3f}',
                f',"bytes_in":{entry.bytes_in},"bytes_out":{entry.bytes_out}',
                _client(entry.client, entry.user_agent[:MAX_USER_AGENT]),
                self._forwarded(entry) if entry.forwarded_for else "",
                _members(entry.session),
                "}",
            )
        )

    def _forwarded(self, entry: Entry) -> str:
        """Return whom the request is said to have come from, and how far that can be believed."""
        came = chain(entry.forwarded_for, entry.client, self._forwarded_from)
        fields: dict[str, object] = {}
        if came.verified:
            fields["forwarded_for"] = came.verified
        if came.unverified:
            fields["forwarded_for_unverified"] = came.unverified[:MAX_NAME]
        return _members(fields)


def _members(fields: Mapping[str, object]) -> str:
    """Return ``fields`` as members that follow others in an object, tokens masked."""
    return f",{redact(encode(fields))[1:-1]}" if fields else ""


@lru_cache(1024)
def _asked(
    method: bytes, path: bytes, verb: str, resource: str, subresource: str, namespace: str
) -> str:
    fields: dict[str, object] = {
        "method": method.decode("ascii", "replace"),
        "path": path.decode("utf-8", "replace"),
        "verb": verb,
    }
    if resource:
        fields["resource"] = resource[:MAX_NAME]
    if subresource:
        fields["subresource"] = subresource[:MAX_NAME]
    if namespace:
        fields["namespace"] = namespace[:MAX_NAME]
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


@lru_cache(256)
def _client(address: str, user_agent: bytes) -> str:
    fields = {"client": address}
    if user_agent:
        fields["user_agent"] = user_agent.decode("utf-8", "replace")
    return _members(fields)


def _why(entry: Entry) -> str:
    """Return what few requests have to say: nothing is remembered of it."""
    fields: dict[str, object] = {}
    if entry.outcome:
        fields["outcome"] = entry.outcome
    if entry.error is not None:
        fields["reason"] = entry.error.label
        if entry.error.detail:
            fields["detail"] = entry.error.detail[:MAX_DETAIL]
    if entry.missing is not None:
        fields["missing"] = entry.missing.as_fields()
    return _members(fields)
