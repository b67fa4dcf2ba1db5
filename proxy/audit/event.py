"""A request at one stage, as kube-apiserver writes it: an ``Event`` of ``audit.k8s.io/v1``.

The user is the person whose token it was. What the API server's own event of the same request says
stands under the same ``auditID``; there, that person is the ``impersonatedUser``. The values are
the ones that it writes itself, so that the two can be compared field by field; only what it reads
from bodies (the name of what is created) is not known here. Sources: k8s.io/apiserver,
pkg/audit/request.go and pkg/endpoints/filters/{audit,authn_audit}.go (Kubernetes 1.36).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from json import JSONEncoder
from json.encoder import encode_basestring_ascii as _text
from typing import Final
from urllib.parse import quote

from proxy.audit.policy import Stage
from proxy.errors import ProxyError
from proxy.observe.redaction import redact
from proxy.requestinfo import RequestInfo

API_VERSION: Final = "audit.k8s.io/v1"
MAX_USER_AGENT: Final = 1024  # bytes
_TRUNCATED: Final = "...TRUNCATED"
# Every user whom the API server has authenticated is in this group, and policies speak of it.
AUTHENTICATED: Final = "system:authenticated"

# Fields of a query that hold a secret by their name; the API server takes access_token for one.
_SECRET: Final = re.compile(
    r"([?&](?:[\w.-]*(?:token|password|passwd|secret|signature)|api_?key|sig|code)=)[^&#]*",
    re.IGNORECASE,
)
_MAY_BE_SECRET: Final = re.compile(  # looked for first, far quicker
    "token|passw|secret|signature|key=|sig=|code=", re.IGNORECASE
)
_MASK: Final = r"\1[redacted]"

_encode: Final = JSONEncoder(separators=(",", ":"), check_circular=False).encode

Status = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class User:
    """A user as the API server would see them; ``extra`` has each value with its key."""

    username: str
    groups: tuple[str, ...] = ()
    uid: str = ""
    extra: tuple[tuple[str, str], ...] = ()


@dataclass(slots=True, kw_only=True)  # not frozen: one is made for each request
class Request:
    """What all events of a request have in common; ``received_at`` in unix seconds.

    ``user`` is None where nobody could be authenticated, ``impersonated`` is whom they asked to be.
    """

    audit_id: str
    target: bytes
    info: RequestInfo
    user: User | None
    impersonated: User | None = None
    source_ips: tuple[str, ...] = ()
    user_agent: bytes = b""
    received_at: float = 0.0


class Record:
    """The events of one request, as JSON; what they have in common is encoded once."""

    __slots__ = ("_ends", "_received", "_starts")

    def __init__(self, request: Request) -> None:
        self._starts = (
            f'{{"kind":"Event","apiVersion":"{API_VERSION}","level":"Metadata","auditID":'
        )
        self._starts += f'"{request.audit_id}","stage":'
        self._ends = redact(_common(request))
        self._received = _timestamp(request.received_at)

    def event(
        self, stage: Stage, at: float, status: Status | None, annotations: Mapping[str, str]
    ) -> str:
        """Return the event of ``stage``, reached ``at`` (unix seconds), in one line of ASCII."""
        parts = [f'{self._starts}"{stage}",{self._ends}']
        if status is not None:
            parts.append(f'"responseStatus":{_status(status)}')
        parts.append(f'"requestReceivedTimestamp":"{self._received}"')
        parts.append(f'"stageTimestamp":"{_timestamp(at)}"')
        if annotations:
            parts.append(f'"annotations":{redact(_object(annotations))}')
        return ",".join(parts) + "}"


def _common(request: Request) -> str:
    info, agent = request.info, request.user_agent
    fields = [
        f'"requestURI":{_text(request_uri(request.target))},"verb":{_text(info.verb)}',
        f'"user":{_user(request.user) if request.user else "{}"}',
    ]
    if request.impersonated is not None:
        fields.append(f'"impersonatedUser":{_user(request.impersonated)}')
    if request.source_ips:
        fields.append(f'"sourceIPs":[{",".join(map(_text, request.source_ips))}]')
    if agent:
        text = agent[:MAX_USER_AGENT].decode("utf-8", "replace")
        text += _TRUNCATED if len(agent) > MAX_USER_AGENT else ""
        fields.append(f'"userAgent":{_text(text)}')
    if info.is_resource_request:
        fields.append(f'"objectRef":{_object(_reference(info))}')
    return ",".join(fields)


def request_uri(target: bytes) -> str:
    """Return a target as it came, less what its query says is a secret."""
    try:
        text = target.decode("ascii")
    except UnicodeDecodeError:
        text = quote(target, safe="/?&=%+:;,@!$'()*~-._[]{}|\\^`\"<>")
    if "?" not in text or not _MAY_BE_SECRET.search(text):
        return text
    return _SECRET.sub(_MASK, text)


@lru_cache(maxsize=1024)
def _user(user: User) -> str:
    extra: dict[str, list[str]] = {}
    for key, value in user.extra:
        extra.setdefault(key, []).append(value)
    fields = {
        "username": user.username,
        "uid": user.uid,
        "groups": user.groups,
        "extra": extra,
    }
    return _encode({name: value for name, value in fields.items() if value})


def _object(fields: Mapping[str, str]) -> str:
    """Encode texts by name; in less than the encoder needs for a mapping."""
    return f"{{{','.join([f'{_text(name)}:{_text(value)}' for name, value in fields.items()])}}}"


def _status(status: Status) -> str:
    if len(status) == 2:  # as for every answer of the API server's own
        return f'{{"metadata":{{}},"code":{status["code"]}}}'
    return _encode(status)


def _reference(info: RequestInfo) -> dict[str, str]:
    fields = {
        "resource": info.resource,
        "namespace": info.namespace,
        "name": info.name,
        "apiGroup": info.api_group,
        "apiVersion": info.api_version,
        "subresource": info.subresource,
    }
    return {name: value for name, value in fields.items() if value}


def status_of(code: int, error: ProxyError | None) -> Status:
    """Return the status of a request that was answered with ``code``, for 0 not at all.

    ``error`` is set where this proxy itself refused it.
    """
    if not code:
        message = "Connection closed early"  # and the code that kube-apiserver makes up for it
        return {"metadata": {}, "status": "Success", "message": message, "code": 200}
    if error is None or error.code != code:
        return {"metadata": {}, "code": code}
    return {
        "metadata": {},
        "status": "Failure",
        "message": error.message,
        "reason": error.reason,
        "code": code,
    }


def unauthenticated(authorization: Iterable[bytes]) -> Status:
    """Return the status of a request of which nobody knows who sent it, in the usual words."""
    schemes = {value.split(b" ")[0].lower() for value in authorization if b" " in value.strip()}
    tried = [scheme for scheme in ("basic", "bearer") if scheme.encode() in schemes]
    how = f", attempted: {', '.join(tried)}" if tried else ", no credentials provided"
    return {"metadata": {}, "message": f"Authentication failed{how}", "code": 401}


@lru_cache(maxsize=8)
def _second(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def _timestamp(moment: float) -> str:
    """Return unix seconds in RFC 3339 with microseconds, as ``metav1.MicroTime``."""
    microseconds = int(moment * 1_000_000)
    return f"{_second(microseconds // 1_000_000)}.{microseconds % 1_000_000:06d}Z"
