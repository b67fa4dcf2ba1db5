"""Loads aiohttp without what it gathers at import for clients that are not ours.

Its module of connections parses the system's hundred and more CA certificates for a context of its
own. ``serve`` does not use that, for each of its connections brings a context. A connection that
forgot to would find nobody to trust, and fail.

Its lists that freeze are Python's here, for in C they bring the library of C++ along: 1.2 MiB for
what happens a few times at the start. What it can do without, and what it loads, is not there while
it loads: 0.4 MiB for archives, WebSockets and identifiers that nobody here asks it for.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Final

_VARIABLES: Final = {
    "SSL_CERT_FILE": os.devnull,  # where OpenSSL looks for the system's certificates
    "SSL_CERT_DIR": os.devnull,
    "FROZENLIST_NO_EXTENSIONS": "1",
}
# Each of them is imported where its absence is provided for.
_DISPENSABLE: Final = (
    "_uuid",  # uuid, which needs it for identifiers of a machine
    "bz2",  # shutil, and so tempfile
    "lzma",
    "aiohttp._websocket.mask",
    "aiohttp._websocket.reader_c",
)


def load_aiohttp() -> None:
    """Import it; whoever imports it later finds it so. Called before there are threads."""
    with _nothing_to_gather():
        import aiohttp.web_server  # noqa: F401


@contextlib.contextmanager
def _nothing_to_gather() -> Iterator[None]:
    before = {name: os.environ.get(name) for name in _VARIABLES}
    absent = [name for name in _DISPENSABLE if name not in sys.modules]
    os.environ |= _VARIABLES
    sys.modules |= dict.fromkeys(absent)  # type: ignore[arg-type] # None: importing it fails
    try:
        yield
    finally:
        for name in absent:
            del sys.modules[name]
        for name, value in before.items():
            del os.environ[name]
            if value is not None:
                os.environ[name] = value
