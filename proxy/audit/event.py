"""A request at one stage, as kube-apiserver writes it: an ``Event`` of ``audit.k8s.io/v1``.

The user is the person whose token it was. What the API server's own event of the same request says
stands under the same ``auditID``; there, that person is the ``impersonatedUser``. The values are
the ones that it writes itself, so that the two can be compared field by field; only what it reads
from bodies (the name of what is created) is not known here.

An event is put together from pieces, each encoded and masked once and then remembered for as long
as the same is asked, by the same user, from the same client; and from few, for each costs as much
as a bytecode or two.

Sources: k8s.io/apiserver, pkg/audit/request.go and pkg/endpoints/filters/{audit,authn_audit}.go
(Kubernetes 1.36).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from json import JSONEncoder
from json.encoder import encode_basestring_ascii as _text
from typing import Final
from urllib.parse import quote

from proxy.errors import ProxyError
from proxy.observe.redaction import redact
from proxy.requestinfo import RequestInfo, resolve

API_VERSION: Final = "audit.k8s.io/v1"
MAX_USER_AGENT: Final = 1024  # bytes
_REMEMBERED_LENGTH: Final = 256  # bytes of a target; see requestinfo.resolve
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
_HEAD: Final = f'{{"kind":"Event","apiVersion":"{API_VERSION}","level":"Metadata","auditID":"'
RECEIVED: Final = '","stage":"RequestReceived"'
STARTED: Final = '","stage":"ResponseStarted"'
COMPLETE: Final = '","stage":"ResponseComplete"'

_encode: Final = JSONEncoder(separators=(",", ":"), check_circular=False).encode

Status = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class User:
    """A user as the API server would see them; ``extra`` has each value with its key."""

    username: str
    groups: tuple[str, ...] = ()
    uid: str = ""
    extra: tuple[tuple[str, str], ...] = ()


def event(
    stage: str, audit_id: str, common: str, times: str, status: str = "", end: str = "}"
) -> str:
    """Return an event in one line of ASCII.

    ``stage`` is one of the three above; ``common`` is the first that ``asked`` returns, then
    ``users``, ``client``, and the second of ``asked``; ``times`` are ``Timestamps.members``; and
    the others what the functions below return. Tokens are masked in all of these.
    """
    return f"{_HEAD}{audit_id}{stage}{common}{status}{times}{end}"


def asked(method: bytes, target: bytes) -> tuple[str, str]:
    """Return ``requestURI`` and ``verb``, and ``objectRef``, which an event has further behind."""
    return (_asked if len(target) <= _REMEMBERED_LENGTH else _asked.__wrapped__)(method, target)


@lru_cache(maxsize=1024)
def _asked(method: bytes, target: bytes) -> tuple[str, str]:
    info = resolve(method, target)
    uri = redact(_text(request_uri(target)))
    reference = f',"objectRef":{_object(_reference(info))}' if info.is_resource_request else ""
    return f',"requestURI":{uri},"verb":{_text(info.verb)}', redact(reference)


def users(user: User | None, impersonated: User | None = None) -> str:
    """Return ``user``, empty where nobody could be authenticated, and whom they asked to be."""
    text = f',"user":{_user(user) if user else "{}"}'
    if impersonated is not None:
        text += f',"impersonatedUser":{_user(impersonated)}'
    return redact(text)


def client(source_ips: tuple[str, ...], user_agent: bytes) -> str:
    """Return ``sourceIPs`` and ``userAgent``, of which MAX_USER_AGENT bytes are kept."""
    text = f',"sourceIPs":[{",".join(map(_text, source_ips))}]' if source_ips else ""
    if user_agent:
        agent = user_agent[:MAX_USER_AGENT].decode("utf-8", "replace")
        agent += _TRUNCATED if len(user_agent) > MAX_USER_AGENT else ""
        text += f',"userAgent":{_text(agent)}'
    return redact(text)


def members(annotations: Mapping[str, str]) -> str:
    """Return annotations as the inside of an object; empty for none."""
    return redact(_object(annotations)[1:-1])


def ending(*found: str) -> str:
    """Return the end of an event, from ``annotations`` on, of what ``members`` returned."""
    inside = ",".join(filter(None, found))
    return f',"annotations":{{{inside}}}}}' if inside else "}"


def request_status(code: int, error: ProxyError | None) -> str:
    """Return ``responseStatus``; see ``status_of``."""
    return response_status(status_of(code, error)) if error or not code else ANSWERED[code]


class _Answered(dict[int, str]):
    """``responseStatus`` of what the API server has answered, by its code of three digits."""

    def __missing__(self, code: int) -> str:
        text = self[code] = response_status({"metadata": {}, "code": code})
        return text


ANSWERED: Final = _Answered()


def response_status(status: Status) -> str:
    return f',"responseStatus":{_encode(status)}'


def request_uri(target: bytes) -> str:
    """Return a target as it came, less what its query says is a secret."""
    try:
        text = target.decode("ascii")
    except UnicodeDecodeError:
        text = quote(target, safe="/?&=%+:;,@!$'()*~-._[]{}|\\^`\"<>")
    if "?" not in text or not _MAY_BE_SECRET.search(text):
        return text
    return _SECRET.sub(_MASK, text)


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
