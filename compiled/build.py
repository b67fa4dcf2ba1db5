"""Compiles the hot modules in place, with Cython; their classes in C are in their ``.pxd``.

.venv/bin/python compiled/build.py [MODULE ...]    such as proxy.http.exchange; none: all of MODULES
.venv/bin/python compiled/build.py --clean         takes it all away again
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MODULES = (
    "proxy.http.timer",
    "proxy.http.body",
    "proxy.http.head",
    "proxy.http.known",
    "proxy.http.known_lines",
    "proxy.http.audit_id",
    "proxy.http.exchange",
    "proxy.http.listener",
    "proxy.http.upstream",
    "proxy.http.pool",
    "proxy.http.service",
    "proxy.limits",
    "proxy.denial",
    "proxy.impersonation",
    "proxy.gate",
    "proxy.authn.cache",
    "proxy.credentials.credential",
    "proxy.reviews.self_check",
    "proxy.observe.all_of",
    "proxy.observe.together",
    "proxy.observe.requests",
    "proxy.observe.access_log",
    "proxy.observe.logs",
    "proxy.observe.metrics",
)


def main() -> int:
    os.chdir(ROOT)
    if sys.argv[1:] == ["--clean"]:
        for module in MODULES:
            path = Path(*module.split("."))
            for left in [path.with_suffix(".c"), *path.parent.glob(path.name + ".*.so")]:
                left.unlink(missing_ok=True)
        return 0
    from Cython.Build import cythonize
    from Cython.Compiler import Dataclass

    handle = Dataclass.handle_cclass_dataclass

    def without_slots(
        node, args, analyse
    ):  # a class in C has them anyway, and Cython refuses the word
        if args is not None:
            args[1].pop("slots", None)
        return handle(node, args, analyse)

    Dataclass.handle_cclass_dataclass = without_slots
    from setuptools import Distribution, Extension

    wanted = sys.argv[1:] or MODULES
    extensions = [
        Extension(
            module,
            [module.replace(".", "/") + ".py"],
            extra_compile_args=["-O2", "-g0", "-fno-semantic-interposition", "-w"],
            define_macros=[("NDEBUG", "1")],
        )
        for module in wanted
    ]
    made = cythonize(
        extensions,
        include_path=["."],
        nthreads=0,
        quiet=True,
        compiler_directives={
            "language_level": 3,
            "auto_pickle": False,
            "annotation_typing": False,
            "overflowcheck": True,  # an integer that does not fit is an error, as are
            "boundscheck": True,
            "wraparound": True,
            "nonecheck": True,  # without, an attribute of None is whatever lies in memory there
        },
        annotate=os.environ.get("ANNOTATE") == "1",
    )
    distribution = Distribution({"ext_modules": made, "script_name": "build"})
    command = distribution.get_command_obj("build_ext")
    command.inplace, command.parallel = True, 2
    command.build_temp = "/tmp/compile-build"  # noqa: S108
    command.ensure_finalized()
    command.run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
