"""Compiles the modules on a request's path: hatchling's hook, and the same in place for developers.

HEADLAMP_AUTH_PROXY_COMPILE=1 python -m hatchling build -t wheel   for this Python and machine
python hatch_build.py in-place                                     `make compiled`

Which modules is told in pyproject.toml; what their classes look like in C, in the ``.pxd`` beside
each. Whoever asks for it gets it or an error that says what is missing, never the plain wheel. The
same source, Python, Cython and compiler make the same bytes, wherever they are built: everything is
compiled as ``proxy/...``, relative to a temporary folder.
"""

from __future__ import annotations

import ast
import os
import re
import shutil
import sys
import sysconfig
import tempfile
import tomllib
from collections.abc import Sequence
from contextlib import chdir
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

ROOT = Path(__file__).resolve().parent
ASKED = "HEADLAMP_AUTH_PROXY_COMPILE"
DIRECTIVES = {
    "language_level": 3,
    "annotation_typing": False,  # annotations are mypy's; what is typed in C is in the .pxd
    "auto_pickle": False,  # nothing here is pickled; it is C that nobody would ever run
    "boundscheck": True,
    "nonecheck": True,  # without, an attribute of None is whatever lies in memory there
    "overflowcheck": True,  # without, an integer that does not fit is another one
    "wraparound": True,
}
# As Debian hardens what it compiles; python.org's Python would hand on none of this.
HARDENED = ["-fstack-protector-strong", "-U_FORTIFY_SOURCE", "-D_FORTIFY_SOURCE=2"]
FLAGS = ["-O2", "-g0", "-fno-semantic-interposition", "-w", *HARDENED]
LINKED = ["-Wl,-z,relro,-z,now"] if sys.platform == "linux" else []


class NotCompiledError(Exception):
    """What is missing, or went wrong, and what to do."""


class CompilingHook(BuildHookInterface):  # type: ignore[type-arg]
    """Puts the compiled modules into the wheel, beside the sources whose lines tracebacks name."""

    _folder: tempfile.TemporaryDirectory[str] | None = None

    def dependencies(self) -> list[str]:
        """Return what else pip is to put where it builds; the pins are those of the lock."""
        group = _project()["dependency-groups"]["compile"] if _is_asked() else []
        return [each for each in group if isinstance(each, str)]  # and not what is included

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if not _is_asked():
            return
        if version == "editable":
            sys.exit(f"{ASKED} is for wheels; `make compiled` compiles in place")
        self._folder = tempfile.TemporaryDirectory()
        try:
            libraries = compiled(self.config["modules"], Path(self._folder.name))
        except NotCompiledError as error:
            sys.exit(str(error))
        build_data["pure_python"] = False
        build_data["infer_tag"] = True
        for library in libraries:
            build_data["force_include"][str(Path(self._folder.name, library))] = str(library)

    def finalize(self, *_: object) -> None:
        if self._folder is not None:
            self._folder.cleanup()


def _is_asked() -> bool:
    asked = os.environ.get(ASKED, "0")
    if asked not in ("0", "1"):
        sys.exit(f"{ASKED} is {asked!r}; it can be 0 or 1")
    return asked == "1"


def compiled(modules: Sequence[str], folder: Path) -> list[Path]:
    """Compile into an empty ``folder``; return where the libraries are there, as in the package."""
    try:
        from Cython.Build import cythonize
        from Cython.Compiler import Options
        from Cython.Compiler.Errors import CompileError
        from setuptools import Distribution, Extension
        from setuptools.errors import BaseError
    except ImportError as error:
        raise NotCompiledError(
            f"compiling needs {error.name}:"
            " pip install --require-hashes -r requirements/compile.lock"
        ) from None
    _require_compiler()
    Options.docstrings = False  # the sources beside the libraries have them
    copy_for_c(folder)
    jobs = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    try:
        with chdir(folder):
            extensions = cythonize(
                [
                    Extension(
                        module,
                        [module.replace(".", "/") + ".py"],
                        define_macros=[("NDEBUG", None)],
                        extra_compile_args=FLAGS,
                        extra_link_args=LINKED,
                    )
                    for module in modules
                ],
                compiler_directives=DIRECTIVES,
                nthreads=jobs,
                quiet=True,
            )
            command = Distribution({"ext_modules": extensions}).get_command_obj("build_ext")
            command.build_lib, command.build_temp, command.parallel = ".", "objects", jobs
            command.ensure_finalized()
            command.run()
    except (CompileError, BaseError) as error:
        raise NotCompiledError(f"compiling failed: {error}") from None
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    return [Path(module.replace(".", "/") + suffix) for module in modules]


def _require_compiler() -> None:
    compiler = (os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc").split()[0]
    if shutil.which(compiler) is None:
        raise NotCompiledError(
            f"compiling needs a C compiler, and there is no {compiler}:"
            " apt-get install gcc libc6-dev, or set CC"
        )
    header = Path(sysconfig.get_path("include"), "Python.h")
    if not header.exists():
        raise NotCompiledError(
            f"compiling needs Python's headers, and there is no {header}:"
            " apt-get install python3-dev"
        )


def copy_for_c(folder: Path) -> None:
    """Copy the package's sources and declarations into ``folder``, as Cython takes them."""
    for source in sorted((ROOT / "proxy").rglob("*.p*")):
        if source.suffix not in (".py", ".pxd"):
            continue
        target = folder / source.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        declared = source.with_suffix(".pxd")
        text = source.read_bytes()
        if source.suffix == ".py" and declared.exists():
            text = without_slots(text, declared.read_text())
        target.write_bytes(text)


def without_slots(source: bytes, declared: str) -> bytes:
    """Blank out ``slots=True`` of the dataclasses that are declared as C's; nothing else moves.

    They have no ``__dict__`` in C either, and Cython refuses the word.
    """
    in_c = set(re.findall(r"^cdef class (\w+)", declared, re.MULTILINE))
    lines = source.splitlines(keepends=True)
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.ClassDef) or node.name not in in_c:
            continue
        decorators = [each for each in node.decorator_list if isinstance(each, ast.Call)]
        for word in (word for each in decorators for word in each.keywords):
            if word.arg == "slots":
                line, start = lines[word.lineno - 1], word.col_offset
                blanked = re.sub(
                    rb"slots=True,?", lambda found: b" " * len(found[0]), line[start:], count=1
                )
                lines[word.lineno - 1] = line[:start] + blanked
    return b"".join(lines)


def wanted() -> list[str]:
    """Return the modules that pyproject.toml names."""
    wheel = _project()["tool"]["hatch"]["build"]["targets"]["wheel"]
    modules: list[str] = wheel["hooks"]["custom"]["modules"]
    return modules


def _project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def compile_in_place() -> None:
    """Put the libraries beside their sources, in place of any that are there."""
    with tempfile.TemporaryDirectory() as name:
        libraries = compiled(wanted(), Path(name))
        for old in (ROOT / "proxy").rglob("*.so"):
            old.unlink()  # and not written over: a process that runs has it mapped
        for library in libraries:
            shutil.copy(Path(name, library), ROOT / library)


def main(arguments: Sequence[str]) -> int:
    if arguments != ["in-place"]:
        sys.stderr.write(__doc__ or "")
        return 2
    try:
        compile_in_place()
    except NotCompiledError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
