"""The version of what is running, and whether a request's path is compiled in it."""

from __future__ import annotations

import functools
from importlib import metadata
from importlib.machinery import ExtensionFileLoader
from importlib.util import find_spec


@functools.cache  # to read it is to parse the README too
def installed_version() -> str:
    """Return the version of the installed distribution; a bare checkout has none."""
    try:
        return metadata.version("headlamp-auth-proxy")
    except metadata.PackageNotFoundError:
        return "0+checkout"


def is_compiled() -> bool:
    """Return whether the modules on a request's path are compiled; one stands for all."""
    spec = find_spec("proxy.http.exchange")
    return spec is not None and isinstance(spec.loader, ExtensionFileLoader)
