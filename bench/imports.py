"""What is resident after each of the imports that a ``serve`` at rest consists of.

    .venv/bin/python -m bench.imports    # once more, if it could write bytecode the first time

One process imports them in this order, so what several need is counted with the first of them.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import Final

from bench.kernel import resident_kib
from proxy.slim_aiohttp import load_aiohttp

PARTS: Final = {
    "asyncio, ssl, uvloop": ("asyncio", "ssl", "uvloop"),
    "aiohttp": (),  # by ``load_aiohttp``
    "cryptography, PyJWT": ("cryptography.x509", "jwt"),
    "prometheus-client": ("prometheus_client",),
    "the proxy": ("proxy.cli", "proxy.server"),
}


def main() -> None:
    before = resident_kib(os.getpid())
    sys.stdout.write(f"{'Python':24}{before / 1024:6.1f} MiB\n")
    for part, modules in PARTS.items():
        for module in modules:
            importlib.import_module(module)
        if not modules:
            load_aiohttp()
        after = resident_kib(os.getpid())
        sys.stdout.write(f"{part:24}{(after - before) / 1024:6.1f}\n")
        before = after


if __name__ == "__main__":
    main()
