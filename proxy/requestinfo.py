"""What a request means to Kubernetes: verb, resource, subresource, namespace, long-running.

Metrics, limits, the access log and the audit log all speak of a request by these names, so they
must be the ones that kube-apiserver itself resolves: this is its RequestInfoFactory with the
prefixes ``api`` and ``apis``, and its configured long-running check, rule for rule, quirks kept.

Nothing here decides whether a request passes: the target is forwarded as it came, and the API
server resolves and authorizes it anew. Hence nothing here raises. Three inputs that kube-apiserver
answers with an error still get an answer:

* a malformed percent escape in the path (400 there): a non-resource request with the raw path;
* ``/api/v1/watch`` without a resource (500 there): what was known by then, as there;
* a label selector that does not parse (400 there): it is not parsed here, so a name taken from the
  field selector beside it stands, where kube-apiserver would have dropped it.

Source: k8s.io/apiserver/pkg/endpoints/request/requestinfo.go (Kubernetes 1.36); decoding is that
of Go's net/url.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal
from urllib.parse import unquote_to_bytes

Kind = Literal["unary", "watch", "stream", "upgrade"]
KINDS: tuple[Kind, ...] = ("unary", "watch", "stream", "upgrade")

_VERBS = {
    b"POST": "create",
    b"GET": "get",
    b"HEAD": "get",
    b"PUT": "update",
    b"PATCH": "patch",
    b"DELETE": "delete",
}
_SPECIAL_VERBS = frozenset({"proxy", "watch"})
_NAMESPACE_SUBRESOURCES = frozenset({"status", "finalize"})

# pkg/controlplane/apiserver/config.go, LongRunningFunc
_LONG_RUNNING_VERBS = frozenset({"watch", "proxy"})
_LONG_RUNNING_SUBRESOURCES = frozenset({"attach", "exec", "proxy", "log", "portforward"})

_QUERY_FIELDS = frozenset(
    {b"fieldSelector", b"labelSelector", b"watch", b"limit", b"timeoutSeconds"}
)
_NO_QUERY: Mapping[bytes, str] = {}
_MAX_QUERY_FIELDS = 10_000  # Go's net/url reads none at all of a longer query

_REMEMBERED = 1024
_REMEMBERED_LENGTH = 256  # bytes

_BAD_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_SELECTOR_TERM = re.compile(r"(?:[^\\,]|\\.|\\\Z)+", re.DOTALL)
_SELECTOR_OPERATOR = re.compile(r"!=|==|=")
_SELECTOR_VALUE = re.compile(r"(?:[^\\,=]|\\[\\,=])*")
_DECIMAL = re.compile(r"([+-]?)0*([0-9]{1,19})")


@dataclass(frozen=True, slots=True)
class RequestInfo:
    """A request as kube-apiserver resolves it; what does not apply is empty.

    ``path`` is percent-decoded; bytes that are not UTF-8 appear as U+FFFD. ``verb`` is the
    Kubernetes verb of a resource request and the lower-case method of any other. ``parts`` begins
    with the resource.
    """

    is_resource_request: bool
    path: str
    verb: str
    api_prefix: str = ""
    api_group: str = ""
    api_version: str = ""
    namespace: str = ""
    resource: str = ""
    subresource: str = ""
    name: str = ""
    parts: tuple[str, ...] = ()
    field_selector: str = ""
    label_selector: str = ""

    @property
    def long_running(self) -> bool:
        """Whether kube-apiserver exempts it from its time limit.

        Source: k8s.io/apiserver/pkg/server/filters/longrunning.go.
        """
        if self.verb in _LONG_RUNNING_VERBS:
            return True
        if self.is_resource_request:
            return self.subresource in _LONG_RUNNING_SUBRESOURCES
        return self.path.startswith("/debug/pprof/")


def kind(info: RequestInfo, upgrade: bool) -> Kind:
    """Return the closed-set label under which metrics count a request.

    ``upgrade``: the connection is to become a tunnel (exec, port-forward, a watch over WebSocket).
    ``watch``: any other watch. ``stream``: any other long-running request (logs, the API server's
    proxy). ``unary``: all the rest, one answer each.
    """
    if upgrade:
        return "upgrade"
    if info.verb == "watch":
        return "watch"
    return "stream" if info.long_running else "unary"


def resolve(method: bytes, target: bytes) -> RequestInfo:
    """Resolve a request from its method and its target in origin-form, both as they came.

    Clients ask for the same again and again, so answers are remembered (0.3 us instead of 9). Not
    those for long targets: memory stays bounded, and no token that somebody puts into a query, and
    is longer than that, outlives its request.
    """
    return (_remembered if len(target) <= _REMEMBERED_LENGTH else _resolve)(method, target)


def _resolve(method: bytes, target: bytes) -> RequestInfo:
    raw_path, _, raw_query = target.partition(b"?")
    path = _decode_path(raw_path)
    if path is None:
        raw = raw_path.decode("utf-8", "replace")
        return RequestInfo(is_resource_request=False, path=raw, verb=_lower(method))
    segments = path.strip("/").split("/")
    prefix = segments[0]
    if prefix == "api" and len(segments) >= 3:
        return _resolve_resource(method, raw_query, path, prefix, "", segments[1:])
    if prefix == "apis" and len(segments) >= 3:
        if len(segments) >= 4:
            return _resolve_resource(method, raw_query, path, prefix, segments[1], segments[2:])
        return RequestInfo(False, path, _lower(method), prefix)
    return RequestInfo(is_resource_request=False, path=path, verb=_lower(method))


_remembered = lru_cache(_REMEMBERED)(_resolve)


def _resolve_resource(
    method: bytes, raw_query: bytes, path: str, prefix: str, group: str, segments: list[str]
) -> RequestInfo:
    """Resolve what follows the API group: ``{version}[/{special verb}]/...``."""
    version, *parts = segments
    special = parts[0] in _SPECIAL_VERBS
    if special:
        if len(parts) < 2:
            return RequestInfo(True, path, _lower(method), prefix, group, version)
        verb, *parts = parts
    else:
        verb = _VERBS.get(method, "")

    namespace = ""
    if parts[0] == "namespaces" and len(parts) > 1:
        namespace = parts[1]
        if len(parts) > 2 and parts[2] not in _NAMESPACE_SUBRESOURCES:
            parts = parts[2:]
    subresource = parts[2] if len(parts) > 2 and verb != "proxy" else ""
    name = parts[1] if len(parts) > 1 else ""

    field_selector = label_selector = ""
    if not name and verb in ("get", "delete"):
        query = _parse_query(raw_query) if raw_query else _NO_QUERY
        if verb == "get":
            verb, name = _list_or_watch(query) if query else ("list", "")
        else:
            verb = "deletecollection"
        field_selector = query.get(b"fieldSelector", "")
        label_selector = query.get(b"labelSelector", "")
    return RequestInfo(
        True,
        path,
        verb,
        prefix,
        group,
        version,
        namespace,
        parts[0],
        subresource,
        name,
        tuple(parts),
        field_selector,
        label_selector,
    )


def _list_or_watch(query: Mapping[bytes, str]) -> tuple[str, str]:
    """Return the verb of a GET without a name, and the name that its field selector pins.

    If any option does not decode, all are dropped but ``watch``.
    Source: autoConvert_url_Values_To_v1_ListOptions, Convert_Slice_string_To_bool.
    """
    watch = query.get(b"watch", "0")
    verb = "list" if watch == "0" or watch.casefold() == "false" else "watch"
    selector = query.get(b"fieldSelector")
    if not selector:
        return verb, ""
    if not _is_int64(query.get(b"limit", "0")) or not _is_int64(query.get(b"timeoutSeconds", "0")):
        return verb, ""
    name = _pinned_name(selector)
    if name in (".", "..") or "/" in name or "%" in name:  # content.IsPathSegmentName
        return verb, ""
    return verb, name


def _pinned_name(field_selector: str) -> str:
    """Return the value that ``metadata.name`` must equal; empty if none, or if it does not parse.

    Source: k8s.io/apimachinery/pkg/fields/selector.go, parseSelector and RequiresExactMatch.
    """
    pinned = []
    for term in _SELECTOR_TERM.findall(field_selector):
        operator = _SELECTOR_OPERATOR.search(term)
        if operator is None or not _SELECTOR_VALUE.fullmatch(term, operator.end()):
            return ""
        if term[: operator.start()] == "metadata.name" and operator.group() != "!=":
            pinned.append(term)
    if not pinned:
        return ""
    value = min(pinned)[len("metadata.name") :].removeprefix("=").removeprefix("=")
    return re.sub(r"\\(.)", r"\1", value)


def _is_int64(text: str) -> bool:
    decimal = _DECIMAL.fullmatch(text)
    return decimal is not None and -(2**63) <= int(decimal[1] + decimal[2]) < 2**63


def query_values(target: bytes, names: Iterable[str]) -> dict[str, list[str]]:
    """Return all values of each of these fields of the query, as ``url.Values`` would hold them."""
    found: dict[str, list[str]] = {name: [] for name in names}
    wanted = {name.encode(): values for name, values in found.items()}
    for name, value in _query_fields(target.partition(b"?")[2], wanted):
        wanted[name].append(value)
    return found


def _parse_query(raw: bytes) -> dict[bytes, str]:
    """Return the first value of each field that matters here."""
    found: dict[bytes, str] = {}
    for name, value in _query_fields(raw, _QUERY_FIELDS):
        found.setdefault(name, value)
    return found


def _query_fields(raw: bytes, names: Container[bytes]) -> Iterator[tuple[bytes, str]]:
    """Yield the fields with these names that Go's net/url would read."""
    pairs = raw.split(b"&")
    if len(pairs) > _MAX_QUERY_FIELDS:
        return
    for pair in pairs:
        raw_name, _, raw_value = pair.partition(b"=")
        name = _unescape_field(raw_name)
        if name is not None and name in names and b";" not in pair:
            value = _unescape_field(raw_value)
            if value is not None:
                yield name, value.decode("utf-8", "replace")


def _decode_path(raw: bytes) -> str | None:
    path = _unescape(raw)
    return None if path is None else path.decode("utf-8", "replace")


def _unescape_field(raw: bytes) -> bytes | None:
    return _unescape(raw.replace(b"+", b" ") if b"+" in raw else raw)


def _unescape(raw: bytes) -> bytes | None:
    """Percent-decode; None if an escape is malformed."""
    if b"%" not in raw:
        return raw
    return None if _BAD_ESCAPE.search(raw) else unquote_to_bytes(raw)


def _lower(method: bytes) -> str:
    return method.decode("ascii", "replace").lower()
