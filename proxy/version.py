"""The version of what is running."""

from __future__ import annotations

import functools
from importlib import metadata


@functools.cache  # to read it is to parse the README too
def installed_version() -> str:
    """Return the version of the installed distribution; a bare checkout has none."""
    try:
        return metadata.version("headlamp-auth-proxy")
    except metadata.PackageNotFoundError:
        return "0+checkout"
