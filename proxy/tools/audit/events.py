"""Audit events, of this proxy or of kube-apiserver: one for each request, and the ones asked for.

A request is in the log once for each of its stages. The last one says the most, so the earlier are
held until it comes, and shown at the end of the log if it does not: those are still under way, or
the log ends before they do.

Source: k8s.io/apiserver/pkg/apis/audit/v1, types.go.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

DOMAIN: Final = "headlamp-auth-proxy.dev/"
_UNAUTHENTICATED: Final = 401
_FORBIDDEN: Final = 403
_DENIALS: Final = frozenset({_UNAUTHENTICATED, _FORBIDDEN})
_LAST: Final = frozenset({"ResponseComplete", "Panic"})


class NoEvent(Exception):
    """The line is no audit event; the message says why."""


class IsRecording(NoEvent):
    """The line begins a recorded session (asciicast v2)."""


@dataclass(frozen=True, slots=True)
class Event:
    """What a reader wants to know of an event; what it does not say is empty.

    ``at`` in unix seconds, when the request came. ``users`` and ``groups`` are of whoever asked
    and of whom they acted as, who is ``user``. ``denied_by`` is empty for what was not denied.
    """

    document: Mapping[str, Any]
    audit_id: str
    stage: str
    at: float
    user: str
    users: frozenset[str]
    groups: frozenset[str]
    verb: str
    resource: str
    namespace: str
    name: str
    uri: str
    code: int
    denied_by: str
    annotations: Mapping[str, str]

    @property
    def is_last(self) -> bool:
        """Whether nothing more will be said of this request."""
        nobody = self.code == _UNAUTHENTICATED and not self.user
        return self.stage in _LAST or (self.stage == "ResponseStarted" and nobody)


def parse(line: bytes | None) -> Event:
    """Read a line, None being one that is too long. Raises ``NoEvent``."""
    if line is None:
        raise NoEvent("it is too long")
    try:
        document = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise NoEvent("it is no JSON") from error
    if isinstance(document, dict) and document.get("version") == 2 and "width" in document:
        raise IsRecording
    if not isinstance(document, dict) or document.get("kind") != "Event":
        raise NoEvent("its kind is not Event")
    if not str(document.get("apiVersion", "")).startswith("audit.k8s.io/"):
        raise NoEvent("its apiVersion is not of audit.k8s.io")
    asking = _table(document, "user")
    acting = _table(document, "impersonatedUser")
    target = _table(document, "objectRef")
    annotations = {k: str(v) for k, v in _table(document, "annotations").items()}
    code = _table(document, "responseStatus").get("code", 0)
    code = code if type(code) is int else 0
    subresource = _text(target, "subresource")
    resource = _text(target, "resource") + (f"/{subresource}" if subresource else "")
    users = (_text(asking, "username"), _text(acting, "username"))
    return Event(
        document=document,
        audit_id=_text(document, "auditID"),
        stage=_text(document, "stage"),
        at=_moment(_text(document, "requestReceivedTimestamp")),
        user=users[1] or users[0],
        users=frozenset(filter(None, users)),
        groups=frozenset((*_texts(asking, "groups"), *_texts(acting, "groups"))),
        verb=_text(document, "verb"),
        resource=resource,
        namespace=_text(target, "namespace"),
        name=_text(target, "name"),
        uri=_text(document, "requestURI"),
        code=code,
        denied_by=_denied_by(code, annotations),
        annotations=annotations,
    )


def _denied_by(code: int, annotations: Mapping[str, str]) -> str:
    if reason := annotations.get(f"{DOMAIN}reason", ""):
        return f"proxy ({reason})" if code in _DENIALS else ""
    missing = code == _FORBIDDEN and f"{DOMAIN}missing-rule" in annotations
    if missing or annotations.get("authorization.k8s.io/decision") == "forbid":
        return "RBAC"
    if annotations.get(f"{DOMAIN}outcome") == "impersonation_forbidden":
        return "RBAC (of the proxy's own account)"
    return {401: "nobody known", 403: "API server"}.get(code, "")


def _table(document: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = document.get(name)
    return found if isinstance(found, dict) else {}


def _text(document: Mapping[str, Any], name: str) -> str:
    found = document.get(name)
    return found if isinstance(found, str) else ""


def _texts(document: Mapping[str, Any], name: str) -> list[str]:
    found = document.get(name)
    return [text for text in found if isinstance(text, str)] if isinstance(found, list) else []


def _moment(text: str) -> float:
    try:
        return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()
    except ValueError:
        raise NoEvent("its requestReceivedTimestamp is no time") from None


@dataclass(frozen=True, slots=True)
class Filter:
    """What is asked for: of each list one, of each single value just that; what is empty is any."""

    since: float = 0.0  # unix seconds
    users: frozenset[str] = frozenset()
    groups: frozenset[str] = frozenset()
    verbs: frozenset[str] = frozenset()
    resources: frozenset[str] = frozenset()  # "pods" means its subresources too
    namespaces: frozenset[str] = frozenset()
    denied: bool = False

    def takes(self, event: Event) -> bool:
        resource = {event.resource, event.resource.partition("/")[0]}
        return (
            event.at >= self.since
            and not (self.users and self.users.isdisjoint(event.users))
            and not (self.groups and self.groups.isdisjoint(event.groups))
            and (not self.verbs or event.verb in self.verbs)
            and not (self.resources and self.resources.isdisjoint(resource))
            and (not self.namespaces or event.namespace in self.namespaces)
            and (not self.denied or bool(event.denied_by))
        )


@dataclass(slots=True)
class Requests:
    """Makes one event of the several of a request."""

    _held: dict[str, Event] = field(default_factory=dict)

    def add(self, event: Event) -> Event | None:
        """Return the event if its request is over."""
        if event.is_last or not event.audit_id:
            self._held.pop(event.audit_id, None)
            return event
        self._held[event.audit_id] = event
        return None

    def under_way(self) -> Iterator[Event]:
        """Yield the last that is known of requests whose end was not seen."""
        yield from self._held.values()
