"""Web applications of the demo, each on a port of loopback, with a certificate of its own CA."""

from __future__ import annotations

import contextlib
import socket
import ssl
import time
from collections.abc import AsyncIterator
from pathlib import Path

from aiohttp import web

from proxy.credentials.certificates import ensure_certificates

HOST = "127.0.0.1"
GOODBYE = 0.5  # seconds for what is under way at the end; streams would take for ever


def free_port() -> int:
    """Return a port of loopback that nobody had a moment ago."""
    with socket.create_server((HOST, 0)) as server:
        port: int = server.getsockname()[1]
        return port


def make_certificates(folder: Path) -> Path:
    """Make a CA and a certificate for loopback in ``folder``; return the CA's file."""
    ensure_certificates(folder, (), time.time())
    return folder / "ca.crt"


@contextlib.asynccontextmanager
async def serving(app: web.Application, port: int, certificates: Path) -> AsyncIterator[None]:
    """Serve ``app`` over TLS, with what ``make_certificates`` left in ``certificates``."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates / "tls.crt", certificates / "tls.key")
    runner = web.AppRunner(
        app, access_log=None, handler_cancellation=True, shutdown_timeout=GOODBYE
    )
    await runner.setup()
    try:
        await web.TCPSite(runner, HOST, port, ssl_context=context).start()
        yield
    finally:
        await runner.cleanup()
