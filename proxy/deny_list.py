"""Reads a deny list: YAML or JSON, strictly.

A list of whom to keep out must never silently say less than was meant: unknown and repeated keys,
patterns and names that no token can carry are errors. Every scalar is taken as it is written, so a
token id that looks like a number stays what it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import yaml

from proxy.denial import DenyList, InvalidDenyList

_KEYS: Final = ("users", "groups", "subjects", "token-ids")
_DEEPEST: Final = 8
_Loader: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times as fast, where there


def parse_deny_list(document: bytes) -> DenyList:
    """Read YAML or JSON; nothing at all denies nobody. Raises InvalidDenyList."""
    try:
        _check_depth(document)
        root = yaml.compose(document, Loader=_Loader)
    except (yaml.YAMLError, ValueError) as error:
        raise InvalidDenyList(f"is neither YAML nor JSON: {' '.join(str(error).split())}") from None
    if root is None or _is_blank(root):
        return DenyList()
    entries = dict(_entries(root, _KEYS))
    return DenyList(
        users=_names(entries.get("users")),
        groups=_names(entries.get("groups")),
        subjects=frozenset(map(_subject, _items(entries.get("subjects")))),
        token_ids=_names(entries.get("token-ids")),
    )


def _check_depth(document: bytes) -> None:
    """Refuse what no deny list is, because composing it would exhaust the C stack (libyaml)."""
    depth = 0
    for event in yaml.parse(document, Loader=_Loader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > _DEEPEST:
            raise InvalidDenyList("is nested too deeply")


def _entries(node: yaml.Node, known: tuple[str, ...]) -> Iterator[tuple[str, yaml.Node]]:
    """Yield the entries of a mapping, whose keys must be known and not repeated."""
    if not isinstance(node, yaml.MappingNode):
        raise _wrong(node, f"must be a mapping with keys among {', '.join(known)}")
    seen: set[str] = set()
    for key_node, value in node.value:
        key = key_node.value if isinstance(key_node, yaml.ScalarNode) else "?"
        if key not in known:
            raise _wrong(key_node, f"{key!a} is no key here; the keys are {', '.join(known)}")
        if key in seen:
            raise _wrong(key_node, f"{key} is given twice; make one of the two")
        seen.add(key)
        yield key, value


def _items(node: yaml.Node | None) -> list[yaml.Node]:
    """Return the members of a list; a key with nothing behind it is an empty one."""
    if node is None or _is_blank(node):
        return []
    if not isinstance(node, yaml.SequenceNode):
        raise _wrong(node, "must be a list")
    members: list[yaml.Node] = node.value
    return members


def _names(node: yaml.Node | None) -> frozenset[str]:
    return frozenset(map(_name, _items(node)))


def _name(node: yaml.Node) -> str:
    """Return a name that a token could carry; what could never match is a mistake."""
    if not isinstance(node, yaml.ScalarNode):
        raise _wrong(node, "must be one text")
    name: str = node.value
    if not name or name.strip() != name:
        raise _wrong(node, "is empty, or begins or ends with a blank; no token says that")
    if "*" in name:
        raise _wrong(node, f"{name!a} looks like a pattern; give whole names")
    return name


def _subject(node: yaml.Node) -> tuple[str, str]:
    if isinstance(node, yaml.ScalarNode):
        return "", _name(node)
    entry = dict(_entries(node, ("issuer", "subject")))
    if "subject" not in entry:
        raise _wrong(node, "names no subject")
    return _name(entry["issuer"]) if "issuer" in entry else "", _name(entry["subject"])


def _is_blank(node: yaml.Node) -> bool:
    """Say whether there is nothing but a key, or null."""
    return isinstance(node, yaml.ScalarNode) and not node.style and node.value in {"", "~", "null"}


def _wrong(node: yaml.Node, problem: str) -> InvalidDenyList:
    return InvalidDenyList(f"line {node.start_mark.line + 1}: {problem}")
