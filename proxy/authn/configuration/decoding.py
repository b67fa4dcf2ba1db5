"""Strict decoding of a configuration file, YAML or JSON, as kube-apiserver decodes it.

Unknown fields, fields in another case and fields given twice are errors; for other kinds of files,
which ``document_of`` and ``decoded`` serve as well, they need not be. What Go stops at, one wrong
type, is one error among all here. Of several YAML documents the first is read. Source:
k8s.io/apimachinery/pkg/runtime/serializer/json, sigs.k8s.io/yaml.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import fields, is_dataclass
from types import NoneType, UnionType
from typing import Any, Final, TypeVar, get_args, get_origin, get_type_hints

import yaml

from proxy.authn.configuration.types import NAME, AuthenticationConfiguration
from proxy.authn.gotext import kind_of

GROUP: Final = "apiserver.config.k8s.io"
VERSIONS: Final = ("v1", "v1beta1", "v1alpha1")
KIND: Final = "AuthenticationConfiguration"
MAX_DEPTH: Final = 50

_GO_NAMES: Final = {str: "string", bool: "bool"}
_TRUE: Final = frozenset({"yes", "true", "on"})  # YAML 1.1, whose reader Kubernetes uses

T = TypeVar("T")


class NotDecodable(Exception):
    """A file that does not hold what it should; ``problems`` has one line for each reason."""

    def __init__(self, *problems: str) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


def decode(content: bytes) -> AuthenticationConfiguration:
    """Return the configuration that a file holds, not yet validated. Raises NotDecodable."""
    if not content:
        raise NotDecodable("empty config data")
    problems: list[str] = []
    document = document_of(content, problems, KIND, [f"{GROUP}/{known}" for known in VERSIONS])
    configuration: AuthenticationConfiguration
    configuration = decoded(AuthenticationConfiguration, document, "", problems, problems)
    if problems:
        raise NotDecodable(*(f"strict decoding error: {problem}" for problem in problems))
    return configuration


def document_of(
    content: bytes, strict: list[str], kind: str, versions: Sequence[str]
) -> dict[str, Any]:
    """Return the plain value of a file that holds a ``kind`` of one of ``versions``.

    What is given twice goes to ``strict``. Raises NotDecodable.
    """
    document = _document(content, strict)
    if not isinstance(document, dict | None):
        raise NotDecodable(f"couldn't get version/kind; it is a {kind_of(document)}, no object")
    document = document or {}
    version, found = document.get("apiVersion"), document.get("kind")
    if not found:
        raise NotDecodable("Object 'Kind' is missing")
    if not version:
        raise NotDecodable("Object 'apiVersion' is missing")
    if found != kind:
        raise NotDecodable(f"expected {kind}, got {found!a:.100}")
    if version not in versions:
        raise NotDecodable(
            f'no kind "{kind}" is registered for version {json.dumps(version)}; '
            f"use {'one of ' if len(versions) > 1 else ''}{', '.join(versions)}"
        )
    return document


def _document(content: bytes, problems: list[str]) -> Any:
    """Return the plain value of a file's first document; what is given twice is a problem."""
    try:
        if content.lstrip().startswith(b"{"):
            return _json(content, problems)
        node = next(iter(_nodes(content)), None)
        return None if node is None else _Plain(problems).value(node)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise NotDecodable(f"neither YAML nor JSON: {' '.join(str(error).split())}") from None


def _json(content: bytes, problems: list[str]) -> Any:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        members = dict(pairs)
        names = [name for name, _ in pairs]
        problems.extend(f'duplicate field "{n}"' for n in members if names.count(n) > 1)
        return members

    try:
        return json.loads(content, object_pairs_hook=unique)
    except json.JSONDecodeError:
        problems.clear()
        node = next(iter(_nodes(content)), None)  # a flow mapping of YAML begins so as well
        return None if node is None else _Plain(problems).value(node)


def _nodes(content: bytes) -> Iterator[yaml.Node]:
    """Compose document after document; composing builds no objects of the file's."""
    loader: Any = yaml.SafeLoader(content)
    try:
        while loader.check_node():
            yield loader.get_node()
    finally:
        loader.dispose()


class _Plain:
    """Makes plain values of nodes; an alias is the very value that it stands for."""

    def __init__(self, problems: list[str]) -> None:
        self._problems = problems
        self._made: dict[int, Any] = {}

    def value(self, node: yaml.Node, depth: int = 0) -> Any:
        if depth > MAX_DEPTH:
            raise ValueError("nested too deeply")
        if id(node) not in self._made:
            self._made[id(node)] = self._value(node, depth + 1)
        return self._made[id(node)]

    def _value(self, node: yaml.Node, depth: int) -> Any:
        if isinstance(node, yaml.SequenceNode):
            return [self.value(item, depth) for item in node.value]
        if not isinstance(node, yaml.MappingNode):
            return _scalar(node.tag, node.value)
        members: dict[str, Any] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise ValueError("a mapping's key is not a text")  # noqa: TRY004 - the one way
            if key.value in members:
                line = key.start_mark.line + 1
                self._problems.append(f'yaml: line {line}: key "{key.value}" already set in map')
            members[key.value] = self.value(value, depth)
        return members


def _scalar(tag: str, text: str) -> Any:
    match tag.rpartition(":")[2]:
        case "null":
            return None
        case "bool":
            return text.lower() in _TRUE
        case "int" | "float":
            return 0  # no field is a number; that it is one is enough
        case _:
            return text


def decoded(kind: Any, value: Any, path: str, problems: list[str], strict: list[str]) -> Any:
    """Return ``value`` as the annotated type; what does not fit is a problem at ``path``.

    Fields that the type does not have go to ``strict``.
    """
    optional = get_origin(kind) is UnionType
    if value is None:
        return None if optional else _zero(kind)
    if optional:
        (kind,) = (arg for arg in get_args(kind) if arg is not NoneType)
    if is_dataclass(kind) and isinstance(value, dict):
        return _object(kind, value, path, problems, strict)
    if get_origin(kind) is tuple and isinstance(value, list):
        item = get_args(kind)[0]
        return tuple(
            decoded(item, member, f"{path}[{index}]", problems, strict)
            for index, member in enumerate(value)
        )
    if kind in _GO_NAMES and isinstance(value, kind):
        return value
    wanted = _GO_NAMES.get(kind, "object" if is_dataclass(kind) else "list")
    problems.append(f"{path}: cannot unmarshal {kind_of(value)} into a field of type {wanted}")
    return _zero(kind)


def _object(
    kind: Any, value: dict[str, Any], path: str, problems: list[str], strict: list[str]
) -> Any:
    hints = get_type_hints(kind)
    known = field_names(kind)
    prefix = f"{path}." if path else ""
    strict.extend(f'unknown field "{prefix}{name}"' for name in value if name not in known)
    return kind(
        **{
            attribute: decoded(hints[attribute], value[name], prefix + name, problems, strict)
            for name, attribute in known.items()
            if name in value
        }
    )


def field_names(kind: Any) -> dict[str, str]:
    """Return the attributes of ``kind`` by the names that a file has for them."""
    return {f.metadata.get(NAME) or _camel(f.name): f.name for f in fields(kind)}


def _zero(kind: Any) -> Any:
    return () if get_origin(kind) is tuple else kind()


def _camel(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(map(str.capitalize, others))
