"""Raw requests, and what must become of each.

Every case is bytes that a client sends on a fresh connection and what has to follow, in order:
``Seen`` (the API server sees exactly this request) or ``Refused``. ``PROBE`` is sent behind every
case on the same connection. Where the proxy may still believe in the connection, the probe is the
next request that the API server sees, whole and under its own identity; where it may not, it is
never seen. So a case cannot pass that moves the border between two requests.

The cases are data: nothing here knows how they are sent or to whom. The user's token is the word
``alice``, to be replaced where a real one is needed; it is in no body, so no length changes. The
folder is in the order of a request: ``lines``, ``targets``, ``fields``, ``framing``, ``upgrades``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from proxy.impersonation import Policy

Field = tuple[bytes, bytes]

AUTHORITY = b"cluster.example"
POLICY = Policy("headlamp-auth-proxy:authenticated")
GROUP = "developers"
CREDENTIAL = (b"authorization", b"Bearer the-proxy-itself")
USER = b"alice"

# What a real API server answers to everybody: it gives the cases their ordinary requests.
VERSION = b"/version"
REVIEWS = b"/apis/authentication.k8s.io/v1/selfsubjectreviews"
REVIEW = b'{"kind": "SelfSubjectReview", "apiVersion": "authentication.k8s.io/v1"}'  # 71 bytes

HOST = b"Host: x"
AUTHORIZATION = b"Authorization: Bearer alice"
JSON = b"Content-Type: application/json"
JSON_FIELD = (b"content-type", b"application/json")
CHUNKED = (b"transfer-encoding", b"chunked")
END = b"\r\n\r\n"

PROBE_TARGET = b"/version?probe"
PROBE = b"GET /version?probe HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer alice\r\n\r\n"


@dataclass(frozen=True)
class Seen:
    """A request that the API server sees: these fields besides the proxy's own, in this order.

    ``last``: the connection ends with its answer. ``tunnel``: it became one, and these bytes, the
    probe's among them, came through. ``rejected``: why a real API server does not take it for a
    request; it answers then, and its audit log knows nothing of it.
    """

    method: bytes = b"GET"
    target: bytes = VERSION
    fields: tuple[Field, ...] = ()
    body: bytes = b""
    last: bool = False
    tunnel: bytes | None = None
    rejected: str = ""


@dataclass(frozen=True)
class Refused:
    """An answer of the proxy's own.

    ``closed``: nothing behind it is read any more. None: that depends on whether the whole body
    had come by then, in which case the next request is where it should be.
    """

    status: int = 400
    closed: bool | None = True


Outcome = Seen | Refused


@dataclass(frozen=True)
class Case:
    """What a client sends, and what has to follow."""

    name: str
    data: bytes
    outcome: tuple[Outcome, ...]

    @property
    def closes(self) -> bool | None:
        """Whether the proxy ends the connection; None where either is right."""
        end = self.outcome[-1]
        if isinstance(end, Refused):
            return end.closed
        return end.last if end.tunnel is None else None

    @property
    def stream(self) -> bytes:
        return self.data + PROBE

    def expected(self, *, ended: bool) -> tuple[Outcome, ...]:
        """What follows from the whole stream, the probe included, if the connection ``ended``."""
        end = self.outcome[-1]
        tunnel = isinstance(end, Seen) and end.tunnel is not None
        if tunnel or self.closes or (self.closes is None and ended):
            return self.outcome
        return (*self.outcome, Seen(target=PROBE_TARGET))


def head(*fields: bytes, line: bytes = b"GET /version HTTP/1.1") -> bytes:
    """Return a head with a host and a token, and then ``fields``."""
    return b"\r\n".join((line, HOST, AUTHORIZATION, *fields)) + END


def post(*fields: bytes, line: bytes = b"POST %s HTTP/1.1" % REVIEWS) -> bytes:
    """Return the head of a request that wants a body; how long it is, is in ``fields``."""
    return head(JSON, *fields, line=line)


def sized(body: bytes = REVIEW) -> Seen:
    """A POST that has arrived with its length."""
    return Seen(b"POST", REVIEWS, (JSON_FIELD, (b"content-length", b"%d" % len(body))), body)


def chunked(body: bytes = REVIEW) -> Seen:
    """A POST that has arrived in chunks."""
    return Seen(b"POST", REVIEWS, (JSON_FIELD, CHUNKED), body)


def bare() -> Seen:
    """A POST that has arrived without a body."""
    return Seen(b"POST", REVIEWS, (JSON_FIELD,))


def refused(name: str, data: bytes, status: int = 400, *, closed: bool | None = True) -> Case:
    return Case(name, data, (Refused(status, closed),))


def passes(name: str, data: bytes, *outcome: Outcome) -> Case:
    return Case(name, data, outcome or (Seen(),))


def last(seen: Seen) -> Seen:
    return replace(seen, last=True)
