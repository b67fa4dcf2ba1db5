"""One line for every request: who did what, with what outcome, and how long it took.

Never in it: the token, the query (it carries commands of exec and tokens of careless clients) and
cookies. A field that does not apply is absent; one that a client could fill at will is cut. This is
on the path of each request, so the line is built directly and not as a ``logging.LogRecord``,
which costs twice as much.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from proxy.errors import ProxyError
from proxy.missing_rule import MissingRule
from proxy.observe.log_writer import LogWriter
from proxy.observe.logs import Timestamps, encode_line
from proxy.requestinfo import Kind, RequestInfo

MAX_PATH: Final = 1024
MAX_USER_AGENT: Final = 256
MAX_NAME: Final = 256  # characters of whatever else a client may choose
MAX_DETAIL: Final = 1024
MAX_GROUPS: Final = 32


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a request acts as upstream.

    ``original`` is who asked to act as them, empty for themselves; ``passed_through`` says that
    they were not asserted, but came with a token of the API server's own.
    """

    user: str
    groups: Sequence[str]
    original: str = ""
    passed_through: bool = False


@dataclass(slots=True)
class Entry:
    """A request that has ended. Durations in seconds; ``upstream`` None if it was not reached.

    ``code`` is the status that the client was sent, 0 for none; ``outcome`` says in a word what
    the status does not. ``identity`` is None if it did not come to one. ``error`` is set where the
    proxy itself refused or cut the request, ``missing`` where RBAC refused it for want of a rule.
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
    missing: MissingRule | None = None


class AccessLog:
    """Writes entries as JSON lines."""

    def __init__(self, writer: LogWriter) -> None:
        self._writer = writer
        self._timestamps = Timestamps()

    def write(self, entry: Entry) -> None:
        self._writer.write(encode_line(self._fields(entry, time.time())))

    def _fields(self, entry: Entry, now: float) -> dict[str, object]:
        info = entry.info
        path = entry.target.partition(b"?")[0][:MAX_PATH]
        fields: dict[str, object] = {
            "ts": self._timestamps.format(now),
            "level": "info",
            "event": "request",
            "audit_id": entry.audit_id,
            "method": entry.method.decode("ascii", "replace"),
            "path": path.decode("utf-8", "replace"),
            "verb": info.verb,
        }
        if info.resource:
            fields["resource"] = info.resource[:MAX_NAME]
        if info.subresource:
            fields["subresource"] = info.subresource[:MAX_NAME]
        if info.namespace:
            fields["namespace"] = info.namespace[:MAX_NAME]
        if entry.identity is not None:
            fields["user"] = entry.identity.user[:MAX_NAME]
            fields["groups"] = [g[:MAX_NAME] for g in entry.identity.groups[:MAX_GROUPS]]
            if entry.identity.original:
                fields["original_user"] = entry.identity.original[:MAX_NAME]
            if entry.identity.passed_through:
                fields["passed_through"] = True
        fields["code"] = entry.code
        if entry.outcome:
            fields["outcome"] = entry.outcome
        if entry.error is not None:
            fields["reason"] = entry.error.label
            if entry.error.detail:
                fields["detail"] = entry.error.detail[:MAX_DETAIL]
        if entry.missing is not None:
            fields["missing"] = entry.missing.as_fields()
        fields["kind"] = entry.kind
        fields["duration_ms"] = round(entry.duration * 1000, 3)
        if entry.upstream is not None:
            fields["upstream_ms"] = round(entry.upstream * 1000, 3)
        fields["bytes_in"] = entry.bytes_in
        fields["bytes_out"] = entry.bytes_out
        fields["client"] = entry.client
        if entry.user_agent:
            fields["user_agent"] = entry.user_agent[:MAX_USER_AGENT].decode("utf-8", "replace")
        return fields
