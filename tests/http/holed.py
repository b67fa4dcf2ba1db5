"""A proxy as one must not be written: the differential harness is tested on it.

It adds an identity and passes on what it reads, with the holes that programs like it have had. It
ends a line at a bare LF. It takes ``_`` for ``-``. It believes a length before it believes chunks,
and passes both on. It lets a client's impersonation pass beside its own. It strips what
``Connection`` names when the identity is already there (CVE-2021-31999, CVE-2022-23652). It joins
two connections because the client asked for it, and not because the server agreed
(CVE-2018-1002105).
"""

from __future__ import annotations

import asyncio
import contextlib

from tests.corpus import AUTHORITY, CREDENTIAL, Field
from tests.differential import identity_fields


class HoledProxy:
    """Passes each client's connection on to ``port`` on loopback; ``serve`` is one connection."""

    def __init__(self, port: int) -> None:
        self._port = port

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self._port)
        down = asyncio.create_task(_copy(up_reader, writer))
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, ValueError):
            while True:
                await _pass_one_on(reader, up_writer)
        up_writer.close()
        await down


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)


async def _pass_one_on(reader: asyncio.StreamReader, up: asyncio.StreamWriter) -> None:
    line = (await reader.readuntil(b"\n")).rstrip()
    fields: list[Field] = []
    while text := (await reader.readuntil(b"\n")).rstrip(b"\r\n"):
        name, _, value = text.partition(b":")
        fields.append((name.strip().lower().replace(b"_", b"-"), value.strip()))
    known = dict(fields)
    user = known.get(b"authorization", b"").removeprefix(b"Bearer ")
    ours = [(b"host", AUTHORITY), CREDENTIAL, *identity_fields(user)]
    theirs = [field for field in fields if field[0] not in (b"host", b"authorization")]
    stripped = known.get(b"connection", b"").lower().split(b", ")
    sent = [(n, v) for n, v in ours + theirs if n not in (*stripped, b"connection")]
    up.write(line + b"\r\n" + b"".join(b"%s: %s\r\n" % field for field in sent) + b"\r\n")
    if b"upgrade" in known:
        while data := await reader.read(65536):
            up.write(data)
    elif b"content-length" in known:
        up.write(await reader.readexactly(int(known[b"content-length"])))
    elif b"transfer-encoding" in known:
        while size := int(line := await reader.readuntil(b"\n"), 16):
            up.write(line + await reader.readexactly(size + 2))
        up.write(b"0\r\n" + await reader.readuntil(b"\r\n"))
