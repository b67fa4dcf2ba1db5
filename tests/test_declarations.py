"""What is declared for the compiled form, in ``.pxd`` files, is what the modules beside them say.

The compiler itself lets much of it pass: an attribute that is not declared fails when it is first
set, fields of a dataclass take the order that they are declared in, and a name that a class and
its module both have means the class's.
"""

from __future__ import annotations

import ast
import dataclasses
import importlib
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from proxy.http import tls_transport
from proxy.http.exchange import Exchange
from proxy.http.head import write_response
from proxy.http.pool import Pool
from proxy.limits import Limits
from tests.declarations import Class, Declarations, Function, declared, read
from tests.http.conftest import GivenTLS
from tests.http.test_known import reader_that_knows_one

ROOT = Path(__file__).parents[1]
DECLARED = list(declared(ROOT / "proxy"))
CLASSES = [(path, of) for path, declarations in DECLARED for of in declarations.classes]
NUMBERS = {"bint": "bool", "double": "float", "Py_ssize_t": "int"}  # none of them can be None

every_module = pytest.mark.parametrize(
    ("path", "declarations"), DECLARED, ids=lambda of: of.stem if isinstance(of, Path) else ""
)
every_class = pytest.mark.parametrize(
    ("path", "of"), CLASSES, ids=lambda of: of.name if isinstance(of, Class) else ""
)


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def class_in(path: Path, name: str) -> ast.ClassDef:
    (found,) = [n for n in parsed(path).body if isinstance(n, ast.ClassDef) and n.name == name]
    return found


def functions_in(body: list[ast.stmt]) -> dict[str, ast.FunctionDef]:
    return {node.name: node for node in body if isinstance(node, ast.FunctionDef)}


def dataclass_words(node: ast.ClassDef) -> dict[str, object] | None:
    """Return what a dataclass's decorator says, None where there is none."""
    for decorator in node.decorator_list:
        if isinstance(decorator, ast.Call) and ast.unparse(decorator.func) == "dataclass":
            return {str(k.arg): ast.literal_eval(k.value) for k in decorator.keywords}
    return None


def attributes_of(node: ast.ClassDef) -> dict[str, str | None]:
    """Return the attributes that instances have, in order, and their annotations as far as known.

    Not those of a base.
    """
    annotated: dict[str, str | None] = {
        ast.unparse(n.target): ast.unparse(n.annotation)
        for n in node.body
        if isinstance(n, ast.AnnAssign)
    }
    set_here = dict(_set_in(node))
    for statement in node.body:
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "__slots__":
            slots: tuple[str, ...] = ast.literal_eval(statement.value)
            return {name: annotated.get(name) or set_here.get(name) for name in slots}
    return annotated if dataclass_words(node) is not None else set_here


def _set_in(node: ast.ClassDef) -> Iterator[tuple[str, str | None]]:
    """Yield what methods set of ``self``, those that say the type last."""
    known: dict[str, str | None] = {}
    for method in (n for n in node.body if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)):
        arguments = (*method.args.args, *method.args.kwonlyargs)
        types = {a.arg: ast.unparse(a.annotation) for a in arguments if a.annotation}
        for inner in ast.walk(method):
            if isinstance(inner, ast.AnnAssign):
                pairs: list[tuple[ast.expr, str | None]] = [
                    (inner.target, ast.unparse(inner.annotation))
                ]
            elif isinstance(inner, ast.AugAssign):
                pairs = [(inner.target, None)]
            elif isinstance(inner, ast.Assign):
                pairs = [p for target in inner.targets for p in _pairs(target, inner.value, types)]
            else:
                continue
            for target, kind in pairs:
                if isinstance(target, ast.Attribute) and ast.unparse(target.value) == "self":
                    known[target.attr] = known.get(target.attr) or kind
    yield from known.items()


def _pairs(
    target: ast.expr, value: ast.expr, types: dict[str, str]
) -> Iterator[tuple[ast.expr, str | None]]:
    """Yield what is set, and the type of it where that is a parameter's value."""
    if isinstance(target, ast.Tuple):
        same = isinstance(value, ast.Tuple) and len(value.elts) == len(target.elts)
        values = value.elts if same and isinstance(value, ast.Tuple) else [value] * len(target.elts)
        for part, of in zip(target.elts, values, strict=True):
            yield from _pairs(part, of, types if same else {})
    else:
        yield target, types.get(value.id) if isinstance(value, ast.Name) else None


def agree(declared: str, annotation: str | None) -> bool:
    """Whether all that the annotation allows may be stored where that is declared."""
    if declared == "object" or annotation is None:
        return True
    if declared in NUMBERS:
        return annotation == NUMBERS[declared]
    if annotation.startswith("Literal["):
        values = ast.literal_eval(f"({annotation[8:-1]},)")
        return {type(value).__name__ for value in values} == {declared}
    bare = annotation.removesuffix(" | None").partition("[")[0]
    return bare == declared or (declared == "list" and bare == "_Exchanges")


def disagreements(function: Function, node: ast.FunctionDef) -> list[str]:
    """Return in what a function is not as it is declared."""
    arguments = [a for a in node.args.args if a.arg != "self"]
    types = [ast.unparse(a.annotation) if a.annotation else None for a in arguments]
    local = {n.id for n in ast.walk(node) if isinstance(n, ast.Name)} | {a.arg for a in arguments}
    found = []
    if [a.arg for a in arguments] != [name for _, name in function.parameters]:
        found.append("parameters")
    elif not all(
        agree(kind, annotation)
        for (kind, _), annotation in zip(function.parameters, types, strict=True)
    ):
        found.append("types of parameters")
    if node.args.kwonlyargs or node.args.vararg or node.args.kwarg:
        found.append("parameters that a function in C cannot have")
    if len(node.args.defaults) != function.defaults:
        found.append("defaults")
    if node.decorator_list:
        found.append("a decorator")
    if node.returns is not None and not agree(function.returns, ast.unparse(node.returns)):
        found.append("what it returns")
    if missing := function.locals.keys() - local:
        found.append(f"locals {missing}")
    return found


def test_something_is_declared() -> None:
    assert len(CLASSES) > 20
    assert sum(len(list(methods_of(*each))) for each in CLASSES) > 100


@every_module
def test_what_is_declared_of_a_module_is_in_it(path: Path, declarations: Declarations) -> None:
    body = parsed(path).body
    functions = functions_in(body)
    for function in declarations.functions:
        assert function.name in functions
        assert disagreements(function, functions[function.name]) == [], function.name
    named = {ast.unparse(t) for n in body for t in _targets(n)}
    named |= {a.asname or a.name for n in body if isinstance(n, ast.ImportFrom) for a in n.names}
    assert set(declarations.variables) <= named


def _targets(node: ast.stmt) -> list[ast.expr]:
    if isinstance(node, ast.AnnAssign):
        return [node.target]
    return node.targets if isinstance(node, ast.Assign) else []


@every_class
def test_a_class_has_the_base_that_is_declared(path: Path, of: Class) -> None:
    bases = [ast.unparse(base) for base in class_in(path, of.name).bases]
    assert bases[:1] == ([of.base] if of.base else [])


@every_class
def test_exactly_the_attributes_of_a_class_are_declared(path: Path, of: Class) -> None:
    node = class_in(path, of.name)
    attributes = attributes_of(node)
    inherited = {name for base in _bases(of) for name in base.attributes}
    assert attributes.keys() - inherited == of.attributes.keys()
    for name, (kind, _) in of.attributes.items():
        assert agree(kind, attributes[name]), name


def methods_of(path: Path, of: Class) -> Iterator[Function]:
    """Yield what is declared of a class, and of its bases if the class says it anew."""
    yield from of.functions
    anew = functions_in(class_in(path, of.name).body)
    for base in _bases(of):
        yield from (function for function in base.functions if function.name in anew)


def _bases(of: Class) -> Iterator[Class]:
    by_name = {other.name: other for _, other in CLASSES}
    while of.base is not None:
        of = by_name[of.base]
        yield of


@every_class
def test_the_fields_of_a_dataclass_are_declared_in_their_order(path: Path, of: Class) -> None:
    node = class_in(path, of.name)
    if (words := dataclass_words(node)) is None:
        return
    assert list(of.attributes) == list(attributes_of(node))
    seen = "readonly" if words.get("frozen") else "public"
    assert {kind for _, kind in of.attributes.values()} == {seen}
    module = importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))
    fields = dataclasses.fields(getattr(module, of.name))
    assert [field.name for field in fields] == list(of.attributes)


@every_class
def test_every_method_that_is_declared_is_there(path: Path, of: Class) -> None:
    functions = functions_in(class_in(path, of.name).body)
    for function in methods_of(path, of):
        assert function.name in functions
        assert disagreements(function, functions[function.name]) == [], function.name


# Never cleared, but for the tally, and that behind the call. A pool is changed before it is used.
HELD = {("Exchange", "_pool"), ("Exchange", "_tally"), ("ClientConnection", "timer")}


@every_class
def test_what_may_be_cleared_is_not_called_through_its_attribute(path: Path, of: Class) -> None:
    """A method in C does not hold its object; a local does."""
    in_c = {other.name for _, other in CLASSES}
    kept = {name: kind for each in (of, *_bases(of)) for name, (kind, _) in each.attributes.items()}
    called = {
        node.func.value.attr
        for node in ast.walk(class_in(path, of.name))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and isinstance(node.func.value, ast.Attribute)
        and ast.unparse(node.func.value.value) == "self"
    }
    of_c = {name for name in called if kept.get(name) in in_c}
    assert {name for name in of_c & _set_later() if (of.name, name) not in HELD} == set()


@cache
def _set_later() -> set[str]:
    """Return the names of attributes that anything sets to what it was not made with."""
    return {
        target.attr
        for path, _ in DECLARED
        for function in ast.walk(parsed(path))
        if isinstance(function, ast.FunctionDef) and function.name != "__init__"
        for node in ast.walk(function)
        for whole in (_targets(node) if isinstance(node, ast.stmt) else [])
        for target in ast.walk(whole)
        if isinstance(target, ast.Attribute)
    }


@pytest.mark.parametrize(
    "path", sorted((ROOT / "proxy").rglob("*.py")), ids=lambda path: str(path.relative_to(ROOT))
)
def test_no_default_has_the_name_of_a_method(path: Path) -> None:
    for node in (n for n in ast.walk(parsed(path)) if isinstance(n, ast.ClassDef)):
        methods = [n for n in node.body if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
        names = {method.name for method in methods}
        for method in methods:
            for default in (*method.args.defaults, *filter(None, method.args.kw_defaults)):
                used = {n.id for n in ast.walk(default) if isinstance(n, ast.Name)}
                assert not used & names, f"{node.name}.{method.name}"


async def test_a_pool_that_is_not_told_how_connects_as_the_transport_does() -> None:
    buffers, tls = tls_transport.Buffers(), GivenTLS(lambda: pytest.fail("not yet"))
    pool = Pool("upstream", 443, server_name="upstream", settings=tls, buffers=buffers)
    assert pool._connect is tls_transport.connect


@pytest.mark.parametrize(
    "use",
    [
        lambda none: write_response(none, b""),
        lambda none: reader_that_knows_one()[1].head(none, b""),
        lambda none: reader_that_knows_one()[0].read_again(b"GET / HTTP/1.1\r\n", none, b""),
        lambda none: Exchange(none, none, none),
    ],
)
def test_an_attribute_of_none_is_an_error(use: Callable[[Any], object]) -> None:
    """Compiled, it could be whatever lies in memory there."""
    with pytest.raises(AttributeError):
        use(None)


def test_fields_are_given_by_name_and_keep_what_they_are_given() -> None:
    given = {field.name: number for number, field in enumerate(dataclasses.fields(Limits), 1)}
    assert dataclasses.asdict(Limits(**given)) == given


def test_a_line_of_another_kind_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "odd.pxd"
    file.write_text("cdef class A:\n    cdef public unsigned int a\n")
    with pytest.raises(ValueError, match=r"odd\.pxd:2"):
        read(file)
