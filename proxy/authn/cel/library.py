"""The two environments of an expression: one that checks its types, and one that runs it.

The first has Kubernetes' types: claims are of type ``any``, the user is a message, URLs and the
like are opaque. The second takes values as they come. Functions that the library does not have are
declared to it as extensions of its own kind, from the tables of this package.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from cel_expr_python import cel
from google.protobuf import descriptor_pb2, descriptor_pool, struct_pb2

from proxy.authn.cel import rewrite
from proxy.authn.cel.bounded import BOUNDED
from proxy.authn.cel.formats import FORMAT, FORMAT_FUNCTIONS
from proxy.authn.cel.functions import Function
from proxy.authn.cel.lists import LIST_FUNCTIONS
from proxy.authn.cel.network import CIDR, IP, NETWORK_FUNCTIONS, URL
from proxy.authn.cel.ordered import ORDERED_FUNCTIONS, QUANTITY, SEMVER

USER_TYPE: Final = "kubernetes.UserInfo"
ANY: Final = "google.protobuf.Any"
OPAQUE: Final = (URL, IP, CIDR, QUANTITY, SEMVER, FORMAT)
FUNCTIONS: Final = (
    *LIST_FUNCTIONS,
    *NETWORK_FUNCTIONS,
    *ORDERED_FUNCTIONS,
    *FORMAT_FUNCTIONS,
)
OPTIONAL: Final = frozenset(
    function.name
    for function in FUNCTIONS
    if any(result.startswith("optional<") for _, result in function.overloads.values())
)

# The extensions of the library that are those of Kubernetes (pkg/cel/environment/base.go).
_EXTENSIONS: Final = """
extensions:
- name: lists
- name: optional
- name: sets
- name: strings
  version: 2
- name: two-var-comprehensions
"""
_NUMERIC: Final = ("int", "uint", "double")
_CROSS_TYPE: Final = {
    "_<_": "less",
    "_<=_": "less_equals",
    "_>_": "greater",
    "_>=_": "greater_equals",
}
_SCALARS: Final[Mapping[str, cel.Type]] = {
    "bool": cel.Type.BOOL,
    "bytes": cel.Type.BYTES,
    "double": cel.Type.DOUBLE,
    "duration": cel.Type.DURATION,
    "int": cel.Type.INT,
    "string": cel.Type.STRING,
    "timestamp": cel.Type.TIMESTAMP,
    "uint": cel.Type.UINT,
}


def claims_environments() -> tuple[cel.Env, cel.Env]:
    """Return what checks and what runs expressions over ``claims``."""
    text = cel.Type.STRING
    return (
        _environment({"claims": cel.Type.Map(text, cel.Type(ANY))}, _declarations()),
        _environment({"claims": cel.Type.Map(text, cel.Type.DYN)}, _implementations()),
    )


def user_environments() -> tuple[cel.Env, cel.Env]:
    """Return what checks and what runs expressions over ``user``."""
    members = cel.Type.Map(cel.Type.STRING, cel.Type.DYN)
    return (
        _environment({"user": cel.Type(USER_TYPE)}, _declarations()),
        _environment({"user": members}, _implementations()),
    )


def _environment(variables: Mapping[str, cel.Type], functions: Iterable[Any]) -> cel.Env:
    return cel.NewEnv(
        _types(),
        config=cel.NewEnvConfigFromYaml(_EXTENSIONS),
        variables=variables,
        extensions=[cel.CelExtension("kubernetes", list(functions))],
    )


def _types() -> descriptor_pool.DescriptorPool:
    """Return a pool with the user, as far as a message can say it, and the opaque types."""
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(struct_pb2.DESCRIPTOR.serialized_pb)
    for name in OPAQUE:
        package, _, message = name.rpartition(".")
        file = descriptor_pb2.FileDescriptorProto(name=f"{name}.proto", package=package)
        file.message_type.add(name=message)
        pool.Add(file)
    pool.Add(_user_type())
    return pool


def _user_type() -> descriptor_pb2.FileDescriptorProto:
    package, _, name = USER_TYPE.rpartition(".")
    file = descriptor_pb2.FileDescriptorProto(
        name="user.proto",
        package=package,
        syntax="proto3",
        dependency=["google/protobuf/struct.proto"],
    )
    user = file.message_type.add(name=name)
    for number, (field_name, repeated) in enumerate(
        (("username", False), ("uid", False), ("groups", True)), 1
    ):
        field = user.field.add(name=field_name, number=number)
        field.type = field.TYPE_STRING
        field.label = field.LABEL_REPEATED if repeated else field.LABEL_OPTIONAL
    entry = user.nested_type.add(name="ExtraEntry")
    entry.options.map_entry = True
    key = entry.field.add(name="key", number=1)
    key.type, key.label = key.TYPE_STRING, key.LABEL_OPTIONAL
    value = entry.field.add(name="value", number=2, type_name=".google.protobuf.ListValue")
    value.type, value.label = value.TYPE_MESSAGE, value.LABEL_OPTIONAL
    extra = user.field.add(name="extra", number=4, type_name=f".{USER_TYPE}.ExtraEntry")
    extra.type, extra.label = extra.TYPE_MESSAGE, extra.LABEL_REPEATED
    return file


def _declarations() -> list[cel.FunctionDecl]:
    """Return what the checker must know: every overload with Kubernetes' types."""
    by_name: dict[str, list[cel.Overload]] = {}
    for function in FUNCTIONS:
        for overload, (parameters, result) in function.overloads.items():
            declared = cel.Overload(
                overload,
                _checked_type(result),
                [_checked_type(parameter) for parameter in parameters],
                function.is_member,
            )
            by_name.setdefault(function.name, []).append(declared)
    for operator, word in _CROSS_TYPE.items():
        by_name[operator] = [
            cel.Overload(f"{word}_{one}_{two}", cel.Type.BOOL, [_SCALARS[one], _SCALARS[two]])
            for one in _NUMERIC
            for two in _NUMERIC
            if one != two
        ]
    return [cel.FunctionDecl(name, overloads) for name, overloads in by_name.items()]


def _implementations() -> list[cel.FunctionDecl]:
    """Return what runs: one overload for each set of kinds that the library can tell apart."""
    by_name: dict[str, dict[tuple[Any, ...], cel.Overload]] = {}
    for function in (*FUNCTIONS, *_HIDDEN):
        for overload, (parameters, _) in function.overloads.items():
            kinds = tuple(_running_kind(parameter) for parameter in parameters)
            overloads = by_name.setdefault(function.name, {})
            overloads.setdefault(
                (function.is_member, *kinds),
                cel.Overload(
                    overload,
                    cel.Type.DYN,
                    [_RUNNING_TYPES.get(kind) or _SCALARS[kind] for kind in kinds],
                    function.is_member,
                    impl=_called(function),
                ),
            )
    return [cel.FunctionDecl(name, list(all_.values())) for name, all_ in by_name.items()]


# Functions that no expression names: those of ``rewrite`` and of ``bounded``, and those that
# transformMap and transformMapEntry become, which the library declares and does not have.
_HIDDEN: Final = (
    *BOUNDED.values(),
    Function(
        "cel.@mapInsert",
        {"map_insert_entry": (("map", "dyn", "dyn"), "map")},
        lambda into, key, value: {**into, key: value},
        is_member=False,
    ),
    Function(
        "cel.@mapInsert",
        {"map_insert_map": (("map", "map"), "map")},
        lambda into, entries: {**into, **entries},
        is_member=False,
    ),
    Function(
        rewrite.VALUES,
        {rewrite.VALUES_OVERLOAD: (("map",), "list")},
        lambda of: list(of.values()),
        is_member=False,
    ),
    Function(
        rewrite.HAS,
        {rewrite.HAS_OVERLOAD: (("dyn", "string"), "bool")},
        lambda of, name: isinstance(of, dict) and name in of,
        is_member=False,
    ),
)
_RUNNING_TYPES: Final = {
    "list": cel.Type.List(cel.Type.DYN),
    "map": cel.Type.Map(cel.Type.STRING, cel.Type.DYN),
    "dyn": cel.Type.DYN,
}


def _called(function: Function) -> Callable[..., Any]:
    """Turn what goes wrong with a value of the wrong kind into the one error there is."""

    def call(*arguments: Any) -> Any:
        try:
            return function.run(*arguments)
        except (TypeError, KeyError):
            raise ValueError("no such overload") from None

    return call


def _checked_type(name: str) -> cel.Type:
    return _SCALARS.get(name) or cel.Type(name.replace("optional<", "optional_type<"))


def _running_kind(name: str) -> str:
    if name.startswith("list<"):
        return "list"
    if name in OPAQUE or name.startswith("map"):
        return "map"
    return name if name in _SCALARS else "dyn"
