"""Kubernetes' named formats (library/format.go; the patterns are apimachinery's and strfmt's)."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from datetime import date
from typing import Final

from proxy.authn.cel.functions import Function, free, member, readable
from proxy.authn.cel.network import parsed_url

FORMAT: Final = "kubernetes.NamedFormat"

Value = dict[str, str]

_LABEL: Final = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_LABEL_1035: Final = "[a-z]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN: Final = rf"{_LABEL}(\.{_LABEL})*"
_QUALIFIED: Final = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_UUID: Final = r"(?i)[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}"
_TIME: Final = (
    r"([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]+)?([zZ]|[+-]([01][0-9]|2[0-3]):[0-5][0-9])"
)


def _matches(pattern: str, longest: int) -> Callable[[str], bool]:
    return lambda text: len(text) <= longest and re.fullmatch(pattern, text) is not None


def _prefix_of(is_valid: Callable[[str], bool]) -> Callable[[str], bool]:
    """Let a trailing dash stand for what will follow it (maskTrailingDash)."""
    return lambda text: is_valid(f"{text[:-1]}a" if len(text) > 1 and text[-1] == "-" else text)


def _is_qualified_name(text: str) -> bool:
    domain, slash, name = text.rpartition("/")
    if slash and (len(domain) > 253 or not re.fullmatch(_SUBDOMAIN, domain)):
        return False
    return len(name) <= 63 and re.fullmatch(_QUALIFIED, name) is not None


def _is_base64(text: str) -> bool:
    try:
        return bool(text) and bool(base64.b64decode(text, validate=True))
    except ValueError:
        return False


def _is_date(text: str) -> bool:
    try:
        return re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text) is not None and bool(
            date.fromisoformat(text)
        )
    except ValueError:
        return False


def _is_datetime(text: str) -> bool:
    day, separator, time = text[:10], text[10:11], text[11:]
    return separator in {"t", "T"} and _is_date(day) and re.fullmatch(_TIME, time) is not None


_label: Final = _matches(_LABEL, 63)
_subdomain: Final = _matches(_SUBDOMAIN, 253)
_label_1035: Final = _matches(_LABEL_1035, 63)
_FORMATS: Final[dict[str, tuple[Callable[[str], bool], str]]] = {
    "dns1123Label": (_label, "is no lowercase RFC 1123 label"),
    "dns1123LabelPrefix": (_prefix_of(_label), "is no start of a lowercase RFC 1123 label"),
    "dns1123Subdomain": (_subdomain, "is no lowercase RFC 1123 subdomain"),
    "dns1123SubdomainPrefix": (_prefix_of(_subdomain), "is no start of an RFC 1123 subdomain"),
    "dns1035Label": (_label_1035, "is no DNS-1035 label"),
    "dns1035LabelPrefix": (_prefix_of(_label_1035), "is no start of a DNS-1035 label"),
    "qualifiedName": (_is_qualified_name, "is no qualified name"),
    "labelValue": (_matches(f"({_QUALIFIED})?", 63), "is no valid label"),
    "uri": (readable(parsed_url), "invalid URI for request"),
    "uuid": (_matches(_UUID, 36), "does not match the UUID format"),
    "byte": (_is_base64, "invalid base64"),
    "date": (_is_date, "invalid date"),
    "datetime": (_is_datetime, "invalid datetime"),
}


def _validate(value: Value, text: str) -> list[str]:
    is_valid, complaint = _FORMATS[value[FORMAT]]
    return [] if is_valid(text) else [complaint]


def _named(name: str) -> Value:
    return {FORMAT: name} if name in _FORMATS else {}


def _constant(name: str) -> Callable[[], Value]:
    return lambda: {FORMAT: name}


FORMAT_FUNCTIONS: Final[tuple[Function, ...]] = (
    member("validate", _validate, format_validate=((FORMAT, "string"), "optional<list<string>>")),
    free("format.named", _named, format_named=(("string",), f"optional<{FORMAT}>")),
    *(
        free(f"format.{name}", _constant(name), **{f"format_{name}": ((), FORMAT)})
        for name in _FORMATS
    ),
)
