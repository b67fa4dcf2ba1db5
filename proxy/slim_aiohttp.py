"""Loads aiohttp without what it gathers at import for clients and servers that are not ours.

Its module of connections parses the system's hundred and more CA certificates for a context of its
own, and its server reads the system's table of file types: a quarter of the instructions of a
start, and 3 MiB. ``serve`` uses neither, for each of its connections brings a context and it serves
no files. A connection that forgot to would find nobody to trust, and fail.

Its lists that freeze are Python's here, for in C they bring the library of C++ along: 1.2 MiB for
what happens a few times at the start.
"""

from __future__ import annotations

import contextlib
import mimetypes
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
    before, tables = {name: os.environ.get(name) for name in _VARIABLES}, mimetypes.knownfiles
    os.environ |= _VARIABLES
    mimetypes.knownfiles = []
    try:
        yield
    finally:
        mimetypes.knownfiles = tables
        for name, value in before.items():
            del os.environ[name]
            if value is not None:
                os.environ[name] = value
