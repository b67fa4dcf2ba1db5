"""The two forms of the program: as it is written, and with its hot modules compiled to C.

Both are the same source, so what is written always lies beside what is compiled from it, and can be
run instead. Tests hold in either form; the few that look inside in a way that only what is written
allows are marked ``pure``, with the reason, and those that need both forms ``compiled``.
"""

from __future__ import annotations

import sys
from importlib.machinery import FileFinder, SourceFileLoader
from pathlib import Path
from types import FunctionType

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "proxy"


def attributes(thing: object) -> dict[str, object]:
    """Return what an object has under names of its own, in either form, methods included.

    Compiled, it has no ``__dict__``, and tells the collector of no attribute that is bytes or text.
    """
    return {name: getattr(thing, name) for name in dir(thing) if not name.startswith("__")}


def holds_its_module(thing: object) -> bool:
    """Whether it is a function, in either form: what it refers to is no more than its module."""
    return isinstance(thing, FunctionType) or type(thing).__name__ == "cython_function_or_method"


def as_written() -> None:
    """Have this process import what is written; to be called before anything of it is imported.

    So nothing here may import any of it, not even at the top of this module.
    """
    assert not any(name.partition(".")[0] == "proxy" for name in sys.modules)
    sys.path_hooks.insert(0, _sources)
    sys.path_importer_cache.clear()


def _sources(path: str) -> FileFinder:
    if not Path(path).is_relative_to(PACKAGE):
        raise ImportError("other code is found as always")
    return FileFinder(path, (SourceFileLoader, [".py"]))
