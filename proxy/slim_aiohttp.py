"""Loads aiohttp without what it gathers at import for clients that are not ours.

Its module of connections parses the system's hundred and more CA certificates for a context of its
own. ``serve`` does not use that, for each of its connections brings a context. A connection that
forgot to would find nobody to trust, and fail.

Its lists that freeze are Python's here, for in C they bring the library of C++ along: 1.2 MiB for
what happens a few times at the start.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Final

_VARIABLES: Final = {
    "SSL_CERT_FILE": os.devnull,  # where OpenSSL looks for the system's certificates
    "SSL_CERT_DIR": os.devnull,
    "FROZENLIST_NO_EXTENSIONS": "1",
}


def load_aiohttp() -> None:
    """Import it; whoever imports it later finds it so. Called before there are threads."""
    with _nothing_to_gather():
        import aiohttp.web_server  # noqa: F401


@contextlib.contextmanager
def _nothing_to_gather() -> Iterator[None]:
    before = {name: os.environ.get(name) for name in _VARIABLES}
    os.environ |= _VARIABLES
    try:
        yield
    finally:
        for name, value in before.items():
            del os.environ[name]
            if value is not None:
                os.environ[name] = value
