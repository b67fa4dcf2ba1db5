"""The few messages that kubectl sends as protobuf, read into what they would be as JSON.

An envelope (four magic bytes and runtime.Unknown) says what kind it holds. Only fields that
somebody here looks at are known; all others are skipped.
Source: k8s.io/apimachinery/pkg/runtime/serializer/protobuf and the generated.proto of each group.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

MEDIA_TYPE: Final = "application/vnd.kubernetes.protobuf"
MAGIC: Final = b"k8s\x00"
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_FIXED: Final = {_FIXED64: 8, _FIXED32: 4}

Read = Callable[[bytes], Any]
Schema = Mapping[int, tuple[str, Read]]  # field number -> name, and how to read it


def decode(body: bytes) -> dict[str, Any]:
    """Return the object in an envelope. Raises ValueError."""
    if not body.startswith(MAGIC):
        raise ValueError("does not begin with the magic bytes")
    envelope = _message(_ENVELOPE)(body[len(MAGIC) :])
    meta = envelope.get("typeMeta", {})
    schema = _KINDS.get(meta.get("kind", ""))
    if schema is None:
        raise ValueError("holds a kind that the sample cluster does not know")
    return {**meta, **_message(schema)(envelope.get("raw", b""))}


def _message(schema: Schema) -> Read:
    def read(data: bytes) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for number, content in _fields(data):
            if number not in schema:
                continue
            name, read_field = schema[number]
            value = read_field(content)
            if read_field is _entry:  # a map is a list of entries
                found.setdefault(name, {}).update(value)
            elif value:  # proto2 as Kubernetes writes it: what is empty is not set
                found[name] = value
        return found

    return read


def _text(data: bytes) -> str:
    return data.decode()


def _entry(data: bytes) -> dict[str, str]:
    pair = dict(_fields(data))
    return {pair.get(1, b"").decode(): pair.get(2, b"").decode()}


def _fields(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield number and content of each field that has bytes; numbers are skipped."""
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        kind = tag & 7
        if kind == _VARINT:
            _, at = _varint(data, at)
        elif kind in _FIXED:
            at += _FIXED[kind]
        elif kind == _BYTES:
            size, at = _varint(data, at)
            if at + size > len(data):
                raise ValueError("ends in the middle of a field")
            yield tag >> 3, data[at : at + size]
            at += size
        else:
            raise ValueError("holds a field of an unknown type")


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(data):
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
    raise ValueError("ends in the middle of a number")


_ENVELOPE: Final[Schema] = {
    1: ("typeMeta", _message({1: ("apiVersion", _text), 2: ("kind", _text)})),
    2: ("raw", bytes),
}
_METADATA: Final = _message(
    {
        1: ("name", _text),
        3: ("namespace", _text),
        11: ("labels", _entry),
        12: ("annotations", _entry),
    }
)
_RESOURCE_ATTRIBUTES: Final = _message(
    {
        1: ("namespace", _text),
        2: ("verb", _text),
        3: ("group", _text),
        5: ("resource", _text),
        6: ("subresource", _text),
        7: ("name", _text),
    }
)
_NON_RESOURCE_ATTRIBUTES: Final = _message({1: ("path", _text), 2: ("verb", _text)})
_ACCESS_SPEC: Final = _message(
    {
        1: ("resourceAttributes", _RESOURCE_ATTRIBUTES),
        2: ("nonResourceAttributes", _NON_RESOURCE_ATTRIBUTES),
    }
)
_KINDS: Final[Mapping[str, Schema]] = {
    "ConfigMap": {1: ("metadata", _METADATA), 2: ("data", _entry)},
    "SelfSubjectReview": {1: ("metadata", _METADATA)},
    "SelfSubjectAccessReview": {1: ("metadata", _METADATA), 2: ("spec", _ACCESS_SPEC)},
    "SelfSubjectRulesReview": {
        1: ("metadata", _METADATA),
        2: ("spec", _message({1: ("namespace", _text)})),
    },
}
