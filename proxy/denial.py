"""Who is locked out, whatever their token says: the contents of ``--deny-file``.

It exists because a token outlives the trust in its bearer: tsidp goes on refreshing the claims of a
user who was removed, for as long as the refresh token lives, which is a month. What is judged is
what the token brings, before anything is dropped or replaced: groups as they are mapped, prefix
included, even those that ``--groups-allow`` would leave out.

The format is strict, for a list of whom to keep out must never silently say less than was meant:
unknown and repeated keys, patterns and names that no token can carry are errors. Every scalar is
taken as it is written, so a token id that looks like a number stays what it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import yaml

from proxy.rights import TOKEN_ADDRESSES, TOKEN_ID, TOKEN_ISSUER, TOKEN_NODE, TOKEN_SUBJECT

_KEYS: Final = ("users", "groups", "subjects", "token-ids")
_DEEPEST: Final = 8
_Loader: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times as fast, where there


class InvalidDenyList(Exception):
    """The document is not a deny list; the message says where and what to change."""


@dataclass(frozen=True, slots=True)
class Bearer:
    """Whom a token speaks of: the user as mapped, and the claims ``iss``, ``sub`` and ``jti``.

    ``node`` and ``addresses`` are tsidp's claims about the device that it was issued to. What the
    token does not say is empty, and matches nothing.
    """

    username: str
    groups: tuple[str, ...] = ()
    issuer: str = ""
    subject: str = ""
    token_id: str = ""
    node: str = ""
    addresses: tuple[str, ...] = ()

    @property
    def facts(self) -> dict[str, tuple[str, ...]]:
        """What the token says about where it came from, under the keys of ``rights``."""
        facts = {
            TOKEN_ISSUER: (self.issuer,),
            TOKEN_SUBJECT: (self.subject,),
            TOKEN_ID: (self.token_id,),
            TOKEN_NODE: (self.node,),
            TOKEN_ADDRESSES: self.addresses,
        }
        return {key: values for key, values in facts.items() if any(values)}


@dataclass(frozen=True, slots=True)
class DenyList:
    """Who is denied. ``subjects`` are pairs of issuer (empty: any) and subject."""

    users: frozenset[str] = frozenset()
    groups: frozenset[str] = frozenset()
    subjects: frozenset[tuple[str, str]] = frozenset()
    token_ids: frozenset[str] = frozenset()

    def denies(self, bearer: Bearer) -> bool:
        return (
            bearer.username in self.users
            or bearer.token_id in self.token_ids
            or ("", bearer.subject) in self.subjects
            or (bearer.issuer, bearer.subject) in self.subjects
            or not self.groups.isdisjoint(bearer.groups)
        )

    @property
    def size(self) -> int:
        return len(self.users) + len(self.groups) + len(self.subjects) + len(self.token_ids)


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
