"""What Kubernetes' CEL environment refuses at compile time, and the library does not.

Lists and maps are of one type (cel-go, HomogeneousAggregateLiterals and its validator); literals
that are regular expressions, timestamps and durations are read (cel/validator.go), and so are
format strings with their arguments (ext/formatting.go); there are no messages to build.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import re2

from proxy.authn.cel import ast
from proxy.authn.cel.lists import QUIET

_PRIMITIVES: Final = {1: "bool", 2: "int", 3: "uint", 4: "double", 5: "string", 6: "bytes"}
_WELL_KNOWN: Final = {1: "any", 2: "timestamp", 3: "duration"}
_ANYTHING: Final = "_"  # the element type of an empty literal fits whatever stands beside it
_EXEMPT: Final = ("format",)  # its arguments may be of any types
_CLAUSE: Final = re.compile(r"%(?!%)(?:\.[0-9]+)?(.)")
_CLAUSES: Final = {
    "s": (
        (
            "string clause can only be used on strings, bools, bytes, ints, doubles, maps, lists, "
            "types, durations, and timestamps"
        ),
        (
            *("list", "map", "int", "uint", "double", "bool", "string", "timestamp", "bytes"),
            *("duration", "type", "null"),
        ),
    ),
    "d": ("decimal clause can only be used on integers", ("int", "uint")),
    "f": ("fixed-point clause can only be used on doubles", ("double", "string")),
    "e": ("scientific clause can only be used on doubles", ("double", "string")),
    "b": ("only integers and bools can be formatted as binary", ("int", "uint", "bool")),
    "x": (
        "only integers, byte buffers, and strings can be formatted as hex",
        ("int", "uint", "string", "bytes"),
    ),
    "X": (
        "only integers, byte buffers, and strings can be formatted as hex",
        ("int", "uint", "string", "bytes"),
    ),
    "o": ("octal clause can only be used on integers", ("int", "uint")),
}
_DURATION: Final = re.compile(r"[-+]?(?:0|(?:(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:ns|us|µs|ms|s|m|h))+)")
_TIMESTAMP: Final = re.compile(
    r"[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"
    r"T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]+)?(Z|[+-][0-9]{2}:[0-9]{2})"
)


def problems(source: str, checked: Any) -> list[str]:
    """Return the compiler's complaints about an expression that the library has accepted."""
    places = {entry.key: entry.value for entry in checked.source_info.positions}
    types = {entry.key: entry.value for entry in checked.type_map}
    found = [
        *_messages(checked.expr),
        *_mixed(checked.expr, types),
        *_bad_literals(checked.expr),
        *_bad_formats(checked.expr, types),
    ]
    return [_complaint(source, places.get(node.id, 0), text) for node, text in found]


def type_of(checked: Any) -> str:
    """Return the type of an expression's value, as cel-go writes it."""
    types = {entry.key: entry.value for entry in checked.type_map}
    return _type_name(types.get(checked.expr.id))


def _messages(root: ast.Node) -> Iterator[tuple[ast.Node, str]]:
    for node in ast.walk(root):
        name = node.struct_expr.message_name
        if name and not name.startswith("google.protobuf."):
            yield node, f"undeclared reference to '{name}' (in container '')"


def _mixed(root: ast.Node, types: dict[int, Any]) -> Iterator[tuple[ast.Node, str]]:
    exempt = {
        argument.id
        for node in ast.walk(root)
        if (call := ast.call_to(node, *_EXEMPT))
        for argument in call.args
    }
    for node in ast.walk(root):
        if node.id in exempt:
            continue
        for items in _items_of_one_type(node):
            names = [(item, _type_name(types.get(item.id))) for item in items]
            first = names[0][1] if names else ""
            for item, name in names[1:]:
                if not _equivalent(first, name):
                    yield item, f"expected type '{first}' but found '{name}'"
                    break


def _items_of_one_type(node: ast.Node) -> Iterator[list[ast.Node]]:
    if node.HasField("list_expr"):
        optional = set(node.list_expr.optional_indices)
        yield [e for i, e in enumerate(node.list_expr.elements) if i not in optional]
    elif node.HasField("struct_expr") and not node.struct_expr.message_name:
        entries = node.struct_expr.entries
        yield [entry.map_key for entry in entries]
        yield [entry.value for entry in entries if not entry.optional_entry]


def _equivalent(one: str, other: str) -> bool:
    """Compare types by name, an empty literal's element type with everything."""
    if _ANYTHING in one or _ANYTHING in other:
        return one.partition("(")[0] == other.partition("(")[0]
    return one == other


def _type_name(kind: Any) -> str:
    """Return a type as cel-go writes it (FormatCELType)."""
    if kind is None:
        return "dyn"
    if kind.HasField("list_type"):
        element = kind.list_type.elem_type
        return f"list({_ANYTHING if not element.ByteSize() else _type_name(element)})"
    if kind.HasField("map_type"):
        key, value = kind.map_type.key_type, kind.map_type.value_type
        if not key.ByteSize():
            return f"map({_ANYTHING})"
        return f"map({_type_name(key)}, {_type_name(value)})"
    if kind.primitive:
        return _PRIMITIVES[kind.primitive]
    if kind.well_known:
        return _WELL_KNOWN[kind.well_known]
    return "dyn" if kind.HasField("dyn") or not kind.ByteSize() else "null"


def _bad_literals(root: ast.Node) -> Iterator[tuple[ast.Node, str]]:
    for node in ast.walk(root):
        call = ast.call_to(node, *_READERS)
        if call is None or not call.args:
            continue
        argument = call.args[0 if call.HasField("target") else -1]
        text = ast.const_string(argument)
        if text is not None and not _READERS[call.function](text):
            yield argument, f"invalid {call.function} argument"


def _is_regex(text: str) -> bool:
    try:
        re2.compile(text, QUIET)
    except re2.error:
        return False
    return True


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return "_" not in text


# Functions that read a text, and whether a literal can be read; a call on a text has it first.
_READERS: Final[Mapping[str, Callable[[str], bool]]] = {
    "matches": _is_regex,
    "find": _is_regex,
    "findAll": _is_regex,
    "timestamp": lambda text: _TIMESTAMP.fullmatch(text) is not None,
    "duration": lambda text: _DURATION.fullmatch(text) is not None,
    "double": _is_number,
    "int": lambda text: re.fullmatch("[+-]?[0-9]+", text) is not None,
    "uint": str.isdecimal,
}


def _bad_formats(root: ast.Node, types: dict[int, Any]) -> Iterator[tuple[ast.Node, str]]:
    """Read ``'...'.format([...])``, where both are literals."""
    for node in ast.walk(root):
        call = ast.call_to(node, "format")
        if call is None or (text := ast.const_string(call.target)) is None:
            continue
        if not call.args[0].HasField("list_expr"):
            continue
        arguments = list(call.args[0].list_expr.elements)
        clauses = _CLAUSE.findall(text)
        if len(arguments) > len(clauses):
            expected = f"(expected {len(clauses)}, got {len(arguments)})"
            yield node, f"too many arguments supplied to string.format {expected}"
        for argument, clause in zip(arguments, clauses, strict=False):
            name = _type_name(types.get(argument.id)).partition("(")[0]
            if clause in _CLAUSES and name not in {"dyn", *_CLAUSES[clause][1]}:
                given = "google.protobuf.Any" if name == "any" else name
                yield argument, f"error during formatting: {_CLAUSES[clause][0]}, was given {given}"
                break


def _complaint(source: str, offset: int, text: str) -> str:
    """Return a complaint in the form of the library's own, pointing at a code point."""
    before = source[:offset]
    line, column = before.count("\n"), offset - (before.rfind("\n") + 1)
    shown = source.split("\n")[line]
    return f"ERROR: <input>:{line + 1}:{column + 1}: {text}\n | {shown}\n | {'.' * column}^"
