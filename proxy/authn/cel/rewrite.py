"""Gives a checked expression the meaning that kube-apiserver gives it, for the library to run.

kube-apiserver evaluates over values of its own (oidc.go, newClaimsValue and unescapeMapper;
k8s.io/apiserver/pkg/cel/lazy), which differ from plain maps: names with ``__dot__`` and the like
are unescaped, the variable has neither a size nor ``in``, and iterating over it yields values.
Whatever of that shows in an expression is put into the expression here, before it runs.
"""

from __future__ import annotations

import re
from typing import Any, Final

from proxy.authn.cel import ast
from proxy.authn.cel.bounded import BOUNDED

# Functions of ours, with their overloads: the values of a map, and whether something has a member.
VALUES: Final = "@values"
VALUES_OVERLOAD: Final = "map_values"
HAS: Final = "@has"
HAS_OVERLOAD: Final = "has_member"
CLAIMS: Final = "claims"


_ESCAPE: Final = re.compile("__([^_]+)__")
_SYMBOLS: Final = {"underscores": "__", "dot": ".", "dash": "-", "slash": "/"}
_RESERVED: Final = frozenset(
    (
        *("true", "false", "null", "in", "as", "break", "const", "continue", "else", "for"),
        *("function", "if", "import", "let", "loop", "package", "namespace", "return", "var"),
        *("void", "while"),
    )
)
_UNREACHABLE: Final = "\x00"  # no claim has this name: JSON's NUL has been refused before


def rewrite(checked: Any, *, is_mapping: bool, optional: frozenset[str]) -> None:
    """Change an expression in place.

    ``is_mapping``: its value becomes groups or extra, where a list of Go's own is refused.
    ``optional``: functions of ours whose result is to be optional, none where it is empty.
    """
    _Rewriting(checked, optional).run()
    if is_mapping:
        _refuse_native(checked.expr)


def unescaped(name: str) -> str | None:
    """Return the name that an escaped one stands for (pkg/cel/escaping.go); None if it is bad."""
    bad = False

    def symbol(found: re.Match[str]) -> str:
        nonlocal bad
        if found[1] in _SYMBOLS:
            return _SYMBOLS[found[1]]
        bad |= found[1] not in _RESERVED or found[0] != name
        return found[1]

    plain = _ESCAPE.sub(symbol, name)
    return None if bad else plain


class _Rewriting:
    """Rewrites the nodes of one expression; a call that is new in it gets an id of its own."""

    def __init__(self, checked: Any, optional: frozenset[str]) -> None:
        self._checked = checked
        self._optional = optional
        self._last_id: int = max(node.id for node in ast.walk(checked.expr))

    def run(self) -> None:
        for node in reversed(list(ast.walk(self._checked.expr))):  # children first: they move
            if node.HasField("select_expr"):
                self._select(node)
            elif node.HasField("comprehension_expr"):
                self._iterate(node.comprehension_expr.iter_range)
            elif call := ast.call_to(node, "_[_]", "_[?_]", "_?._"):
                operand, index = call.args
                if (text := ast.const_string(index)) is not None:
                    index.const_expr.string_value = _key(text, _is_claims(operand))
            elif call := ast.call_to(node, "@in", "size"):
                _restrict(call)
            elif call := ast.call_to(node, *BOUNDED):
                bounded = BOUNDED[call.function]
                self._refer(node, bounded.name, *bounded.overloads)
            elif ast.call_to(node, *self._optional):
                result = type(node)()
                result.CopyFrom(node)
                self._call(node, "optional.ofNonZeroValue", "optional_ofNonZeroValue", result)

    def _select(self, node: ast.Node) -> None:
        """Unescape a name. ``has`` of what can have no members is false, and no error."""
        select = node.select_expr
        select.field = _key(select.field, _is_claims(select.operand))
        if select.test_only:
            operand = type(node)()
            operand.CopyFrom(select.operand)
            name = type(node)(id=self._next_id())
            name.const_expr.string_value = select.field
            self._call(node, HAS, HAS_OVERLOAD, operand, name)

    def _iterate(self, iterated: ast.Node) -> None:
        """Iterate over the values of the claims, where it is the variable itself."""
        if _is_claims(iterated):
            variable = type(iterated)()
            variable.CopyFrom(iterated)
            self._call(iterated, VALUES, VALUES_OVERLOAD, variable)

    def _call(self, node: ast.Node, function: str, overload: str, *arguments: ast.Node) -> None:
        node.Clear()
        node.call_expr.args.extend(arguments)
        self._refer(node, function, overload)

    def _refer(self, node: ast.Node, function: str, *overloads: str) -> None:
        """Make a node a call of ``function``, which has its arguments already."""
        node.id = self._next_id()
        node.call_expr.function = function
        reference = self._checked.reference_map.add(key=node.id)
        reference.value.overload_id.extend(overloads)

    def _next_id(self) -> int:
        self._last_id += 1
        return self._last_id


def _key(name: str, is_top: bool) -> str:
    plain = unescaped(name)
    if plain is None:
        return _UNREACHABLE + name if is_top else name
    return plain


def _is_claims(node: ast.Node) -> bool:
    """Whether a node is the variable itself, which ``dyn`` does not change."""
    if cast := ast.call_to(node, "dyn"):
        return _is_claims(cast.args[0])
    return ast.is_ident(node, CLAIMS)


def _restrict(call: Any) -> None:
    """Take from the variable itself what kube-apiserver's value of it cannot do."""
    for operand in (*call.args[-1:], call.target):
        if _is_claims(operand):
            operand.Clear()
            operand.const_expr.int64_value = 0  # of which neither is defined


def _refuse_native(node: ast.Node) -> None:
    """Make a value that is a list of Go's own into one that is no list: into a map that holds it.

    convertCELValueToStringList (oidc.go) accepts lists of CEL's only, and these functions and
    operators hand Go's through.
    """
    if ternary := ast.call_to(node, "_?_:_"):
        _refuse_native(ternary.args[1])
        _refuse_native(ternary.args[2])
    elif _is_native(node):
        inner = type(node)()
        inner.CopyFrom(node)
        node.ClearField("call_expr")
        entry = node.struct_expr.entries.add(value=inner)
        entry.map_key.const_expr.string_value = ""


def _is_native(node: ast.Node) -> bool:
    if ast.call_to(node, "split", "findAll"):
        return True
    if index := ast.call_to(node, "_[_]"):
        return ast.call_to(index.args[0], "getQuery") is not None
    if plus := ast.call_to(node, "_+_"):
        one, other = plus.args
        return (_is_empty(one) and _is_native(other)) or (_is_empty(other) and _is_native(one))
    return False


def _is_empty(node: ast.Node) -> bool:
    return bool(node.HasField("list_expr") and not node.list_expr.elements)
