"""A checked expression as data: as much of cel.expr.CheckedExpr as is looked at here.

The library hands expressions out, and takes them back, as serialized protocol buffers of that
schema (github.com/google/cel-spec, proto/cel/expr/checked.proto and syntax.proto). What is not
declared here is kept by protobuf as unknown fields and so goes back as it came.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from google.protobuf import any_pb2, descriptor_pb2, descriptor_pool, message_factory

_PACKAGE: Final = "headlamp_auth_proxy.cel"
_TYPE_URL: Final = "type.googleapis.com/cel.expr.CheckedExpr"
_Field = tuple[str, int, str]  # name, number, type; a type in brackets is repeated

# message -> fields. A type with a capital letter is a message of this table.
_SCHEMA: Final[dict[str, tuple[_Field, ...]]] = {
    "CheckedExpr": (
        ("reference_map", 2, "[ReferenceEntry]"),
        ("type_map", 3, "[TypeEntry]"),
        ("expr", 4, "Expr"),
        ("source_info", 5, "SourceInfo"),
    ),
    "ReferenceEntry": (("key", 1, "int64"), ("value", 2, "Reference")),
    "Reference": (("name", 1, "string"), ("overload_id", 3, "[string]")),
    "TypeEntry": (("key", 1, "int64"), ("value", 2, "Type")),
    "Type": (
        ("dyn", 1, "Empty"),
        ("primitive", 3, "int32"),
        ("well_known", 5, "int32"),
        ("list_type", 6, "ElemType"),
        ("map_type", 7, "MapType"),
    ),
    "ElemType": (("elem_type", 1, "Type"),),
    "MapType": (("key_type", 1, "Type"), ("value_type", 2, "Type")),
    "SourceInfo": (("positions", 4, "[Position]"),),
    "Position": (("key", 1, "int64"), ("value", 2, "int32")),
    "Empty": (),
    "Expr": (
        ("id", 2, "int64"),
        ("const_expr", 3, "Constant"),
        ("ident_expr", 4, "Ident"),
        ("select_expr", 5, "Select"),
        ("call_expr", 6, "Call"),
        ("list_expr", 7, "CreateList"),
        ("struct_expr", 8, "CreateStruct"),
        ("comprehension_expr", 9, "Comprehension"),
    ),
    "Constant": (("int64_value", 3, "?int64"), ("string_value", 6, "?string")),
    "Ident": (("name", 1, "string"),),
    "Select": (("operand", 1, "Expr"), ("field", 2, "string"), ("test_only", 3, "bool")),
    "Call": (("target", 1, "Expr"), ("function", 2, "string"), ("args", 3, "[Expr]")),
    "CreateList": (("elements", 1, "[Expr]"), ("optional_indices", 2, "[int32]")),
    "CreateStruct": (("message_name", 1, "string"), ("entries", 2, "[Entry]")),
    "Entry": (
        ("id", 1, "int64"),
        ("field_key", 2, "?string"),
        ("map_key", 3, "Expr"),
        ("value", 4, "Expr"),
        ("optional_entry", 5, "bool"),
    ),
    "Comprehension": (
        ("iter_var", 1, "string"),
        ("iter_range", 2, "Expr"),
        ("accu_var", 3, "string"),
        ("accu_init", 4, "Expr"),
        ("loop_condition", 5, "Expr"),
        ("loop_step", 6, "Expr"),
        ("result", 7, "Expr"),
    ),
}
_COMPREHENSION_PARTS: Final = ("iter_range", "accu_init", "loop_condition", "loop_step", "result")

Node = Any  # a message Expr


def parse(serialized: bytes) -> Any:
    """Return the CheckedExpr that the library serialized."""
    return _checked_expr.FromString(any_pb2.Any.FromString(serialized).value)


def serialize(checked: Any) -> bytes:
    """Return a CheckedExpr in the form that the library reads."""
    packed = any_pb2.Any(type_url=_TYPE_URL, value=checked.SerializeToString())
    return packed.SerializeToString()


def children(node: Node) -> Iterator[Node]:
    """Yield the expressions directly below."""
    match node.WhichOneof("kind"):
        case "select_expr":
            yield node.select_expr.operand
        case "call_expr":
            if node.call_expr.HasField("target"):
                yield node.call_expr.target
            yield from node.call_expr.args
        case "list_expr":
            yield from node.list_expr.elements
        case "struct_expr":
            for entry in node.struct_expr.entries:
                if entry.HasField("map_key"):
                    yield entry.map_key
                yield entry.value
        case "comprehension_expr":
            for part in _COMPREHENSION_PARTS:
                yield getattr(node.comprehension_expr, part)


def walk(node: Node) -> Iterator[Node]:
    """Yield a node and everything below it, a parent before its children."""
    yield node
    for child in children(node):
        yield from walk(child)


def is_ident(node: Node, name: str) -> bool:
    return bool(node.ident_expr.name == name)


def const_string(node: Node) -> str | None:
    """Return the text of a string literal."""
    constant = node.const_expr
    return constant.string_value if constant.HasField("string_value") else None


def call_to(node: Node, *functions: str) -> Any:
    """Return the call if the node calls one of those functions, else None."""
    call = node.call_expr
    return call if node.HasField("call_expr") and call.function in functions else None


def _declared() -> descriptor_pb2.FileDescriptorProto:
    file = descriptor_pb2.FileDescriptorProto(
        name="headlamp_auth_proxy/cel.proto", package=_PACKAGE, syntax="proto3"
    )
    for name, fields in _SCHEMA.items():
        message = file.message_type.add(name=name)
        if name == "Expr":
            message.oneof_decl.add(name="kind")
        for field_name, number, kind in fields:
            _add_field(message, field_name, number, kind)
    return file


def _add_field(message: descriptor_pb2.DescriptorProto, name: str, number: int, kind: str) -> None:
    field = message.field.add(name=name, number=number)
    repeated = kind.startswith("[")
    field.label = field.LABEL_REPEATED if repeated else field.LABEL_OPTIONAL
    bare = kind.strip("[]?")
    if bare[0].isupper():
        field.type, field.type_name = field.TYPE_MESSAGE, f".{_PACKAGE}.{bare}"
    else:
        field.type = getattr(field, f"TYPE_{bare.upper()}")
    if message.name == "Expr" and name != "id":
        field.oneof_index = 0
    if kind.startswith("?"):
        field.proto3_optional = True
        field.oneof_index = len(message.oneof_decl)
        message.oneof_decl.add(name=f"_{name}")


def _messages() -> Any:
    pool = descriptor_pool.DescriptorPool()
    pool.Add(_declared())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.CheckedExpr"))


_checked_expr: Final = _messages()
