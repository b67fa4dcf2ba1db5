"""What aiohttp would gather at import is left out, and is there for who asks for it later."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import trustme

PROGRAM = """
from proxy.slim_aiohttp import load_aiohttp
load_aiohttp()
import importlib, json, os, ssl, sys
DISPENSABLE = "_uuid", "bz2", "lzma", "aiohttp._websocket.mask", "aiohttp._websocket.reader_c"
known = [name for name in DISPENSABLE if name in sys.modules]
from aiohttp import connector
def trusted(context): return len(context.get_ca_certs())
print(json.dumps({
    "aiohttp trusts": trusted(connector._SSL_CONTEXT_VERIFIED),
    "a context made later trusts": trusted(ssl.create_default_context()),
    "the variable": os.environ.get("SSL_CERT_FILE"),
    "the other variable": os.environ.get("FROZENLIST_NO_EXTENSIONS"),
    "lists in C": "frozenlist._frozenlist" in sys.modules,
    "dispensable": known,
    "there for others": [importlib.import_module(name).__name__ for name in DISPENSABLE[1:3]],
}))
"""


def told(**variables: str) -> dict[str, object]:
    environ = {name: value for name, value in os.environ.items() if name != "SSL_CERT_FILE"}
    output = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env=environ | variables,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return dict(json.loads(output))


def test_the_systems_certificates_are_read_by_who_uses_them_alone(tmp_path: Path) -> None:
    roots = tmp_path / "roots.crt"
    trustme.CA().cert_pem.write_to_path(roots)
    assert told(SSL_CERT_FILE=str(roots)) == {
        "aiohttp trusts": 0,
        "a context made later trusts": 1,
        "the variable": str(roots),
        "the other variable": None,
        "lists in C": False,
        "dispensable": [],
        "there for others": ["bz2", "lzma"],
    }


def test_a_variable_that_was_not_set_is_not_set_afterwards() -> None:
    assert told()["the variable"] is None
