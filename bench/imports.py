"""What is resident after each of the imports that a ``serve`` at rest consists of.

    .venv/bin/python -m bench.imports    # once more, if it could write bytecode the first time

One process imports them in this order, so what several need is counted with the first of them.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable
from functools import partial
from typing import Final

from bench.kernel import resident_kib
from proxy.slim_aiohttp import load_aiohttp


def _modules(*names: str) -> None:
    for name in names:
        importlib.import_module(name)


PARTS: Final[dict[str, Callable[[], None]]] = {
    "asyncio, ssl, uvloop": partial(_modules, "asyncio", "ssl", "uvloop"),
    "aiohttp": load_aiohttp,
    "cryptography, PyJWT": partial(_modules, "cryptography.x509", "jwt"),
    "prometheus-client": partial(_modules, "prometheus_client"),
    "the proxy": partial(_modules, "proxy.cli", "proxy.server"),
}


def main() -> None:
    before = resident_kib(os.getpid())
    sys.stdout.write(f"{'Python':24}{before / 1024:6.1f} MiB\n")
    for part, load in PARTS.items():
        load()
        after = resident_kib(os.getpid())
        sys.stdout.write(f"{part:24}{(after - before) / 1024:6.1f}\n")
        before = after


if __name__ == "__main__":
    main()
