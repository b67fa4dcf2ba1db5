"""What the ``.pxd`` files declare of the modules beside them, read as text: no compiler is needed.

They hold few kinds of lines, one thing to each; a line of any other kind is an error.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

_NOTHING = re.compile(r"\s*(#.*)?|cimport cython|from [\w.]+ cimport [\w, ]+|@cython\.final| +pass")
_LOCALS = re.compile(r" *@cython\.locals\((?P<locals>.*)\)")
_CLASS = re.compile(r"cdef class (?P<name>\w+)(\((?P<base>\w+)\))?:")
_FUNCTION = re.compile(r" *cp?def ((?P<returns>\w+) )?(?P<name>\w+)\((?P<parameters>.*)\)")
_NAMES = re.compile(r" *cdef ((?P<seen>public|readonly) )?(?P<type>\w+) (?P<names>\w+(, \w+)*)")


@dataclass
class Function:
    """``parameters`` are pairs of type (``object`` where there is none) and name, without self."""

    name: str
    returns: str
    parameters: list[tuple[str, str]]
    defaults: int  # of the last ones
    locals: dict[str, str]


@dataclass
class Class:
    """``attributes`` are type and ``public``, ``readonly`` or ``""`` by name, in their order."""

    name: str
    base: str | None
    attributes: dict[str, tuple[str, str]] = field(default_factory=dict)
    functions: list[Function] = field(default_factory=list)


@dataclass
class Declarations:
    classes: list[Class] = field(default_factory=list)
    functions: list[Function] = field(default_factory=list)
    variables: list[str] = field(default_factory=list)


def read(path: Path) -> Declarations:
    """Read a ``.pxd``; raises ValueError for what is not understood here."""
    found = Declarations()
    local: dict[str, str] = {}
    for number, line in enumerate(path.read_text().split("\n"), start=1):
        text = line.partition("  #")[0].rstrip()
        inside = found.classes[-1] if text.startswith(" ") else None
        if match := _CLASS.fullmatch(text):
            found.classes.append(Class(match["name"], match["base"]))
        elif match := _LOCALS.fullmatch(text):
            local = dict(re.findall(r"(\w+)=(\w+)", match["locals"]))
        elif match := _FUNCTION.fullmatch(text):
            function = _function(match, local)
            (inside or found).functions.append(function)
            local = {}
        elif match := _NAMES.fullmatch(text):
            names = match["names"].split(", ")
            if inside is None:
                found.variables += names
            else:
                inside.attributes |= dict.fromkeys(names, (match["type"], match["seen"] or ""))
        elif not _NOTHING.fullmatch(text):
            raise ValueError(f"{path}:{number} is of no kind that is read here: {text!r}")
    return found


def _function(match: re.Match[str], local: dict[str, str]) -> Function:
    parameters = [p for p in match["parameters"].split(", ") if p not in ("", "self")]
    pairs = [p.removesuffix("=*").rpartition(" ") for p in parameters]
    return Function(
        match["name"],
        match["returns"] or "object",
        [(kind or "object", name) for kind, _, name in pairs],
        sum(p.endswith("=*") for p in parameters),
        local,
    )


def declared(root: Path) -> Iterator[tuple[Path, Declarations]]:
    """Yield each module below ``root`` that has a ``.pxd``, and what that declares."""
    for path in sorted(root.rglob("*.pxd")):
        yield path.with_suffix(".py"), read(path)
