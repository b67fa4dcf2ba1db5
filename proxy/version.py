"""The version of what is running, and whether a request's path is compiled in it."""

from __future__ import annotations

from importlib.machinery import ExtensionFileLoader
from importlib.util import find_spec

# Read from here when a distribution is built; to ask the installed one loads 21 modules.
VERSION = "0.1.0"


def is_compiled() -> bool:
    """Return whether the modules on a request's path are compiled; one stands for all."""
    spec = find_spec("proxy.http.exchange")
    return spec is not None and isinstance(spec.loader, ExtensionFileLoader)
