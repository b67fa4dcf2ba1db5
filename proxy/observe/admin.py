"""The admin listener: ``/metrics``, ``/livez``, ``/readyz``, and nothing else; it never proxies.

It has no authentication, so it says nothing that a neighbour in the cluster may not know: metrics
name no user, and ``/readyz?verbose`` gives names of checks with ok or failed. ``/livez`` answers
from the event loop, and that it answers is all that it says. ``/readyz`` never latches: each check
is asked anew, and only a required one can change the status. Source of the verbose form:
k8s.io/apiserver/pkg/server/healthz.
"""

from __future__ import annotations

import errno
import inspect
import logging
import socket
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

from aiohttp import hdrs, web
from prometheus_client import CollectorRegistry
from prometheus_client.aiohttp import make_aiohttp_handler

_BACKLOG: Final = 128
_SHUTDOWN: Final = 1.0  # seconds that a scrape under way may still take
_FAMILY_MISSING: Final = frozenset({errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL})

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Check:
    """A condition of readiness; one that is not ``required`` is only shown."""

    name: str
    passes: Callable[[], bool | Awaitable[bool]]
    required: bool = True


async def serve_admin(
    registry: CollectorRegistry, checks: Sequence[Check], host: str, port: int
) -> web.AppRunner:
    """Listen and serve until ``cleanup()`` of the runner that is returned.

    An empty ``host`` is all addresses of both families, or of IPv4 where there is no IPv6. Raises
    ``OSError`` if it cannot listen.
    """
    runner = web.AppRunner(admin_app(registry, checks), access_log=None, shutdown_timeout=_SHUTDOWN)
    await runner.setup()
    try:
        if host:
            await web.TCPSite(runner, host, port, backlog=_BACKLOG).start()
        else:
            for listening in _everywhere(port):
                await web.SockSite(runner, listening, backlog=_BACKLOG).start()
    except BaseException:
        await runner.cleanup()
        raise
    return runner


def admin_app(registry: CollectorRegistry, checks: Sequence[Check]) -> web.Application:
    """Return the application, for any listener."""

    async def readyz(request: web.Request) -> web.Response:
        return await _readyz(checks, verbose="verbose" in request.query)

    app = web.Application()
    app.router.add_get("/metrics", make_aiohttp_handler(registry))
    app.router.add_get("/livez", _livez)
    app.router.add_get("/readyz", readyz)
    app.on_response_prepare.append(_set_headers)
    return app


async def _livez(_request: web.Request) -> web.Response:
    return web.Response(text="ok\n")


async def _readyz(checks: Sequence[Check], *, verbose: bool) -> web.Response:
    ready = True
    lines = []
    for check in checks:
        passed = await _passes(check)
        ready = ready and (passed or not check.required)
        lines.append(f"[+]{check.name} ok" if passed else f"[-]{check.name} failed")
    lines.append(f"readyz check {'passed' if ready else 'failed'}")
    text = "\n".join(lines) if verbose else "ok" if ready else "not ready"
    return web.Response(status=200 if ready else 503, text=f"{text}\n")


async def _passes(check: Check) -> bool:
    """Ask a check; one that cannot tell has failed, and the log says why."""
    try:
        passed = check.passes()
        return await passed if inspect.isawaitable(passed) else passed
    except Exception:  # noqa: BLE001 - whatever it is, it is no reason to be ready
        _log.exception("a readiness check failed to run", extra={"check": check.name})
        return False


async def _set_headers(_request: web.Request, response: web.StreamResponse) -> None:
    response.headers.pop(hdrs.SERVER, None)
    response.headers[hdrs.CACHE_CONTROL] = "no-store"
    response.headers["X-Content-Type-Options"] = "nosniff"


def _everywhere(port: int) -> list[socket.socket]:
    """Bind all addresses of both families to one port; IPv6 may be missing, IPv4 may not."""
    sockets = [_bound(socket.AF_INET, "0.0.0.0", port)]  # noqa: S104 - what was asked for
    try:
        sockets.append(_bound(socket.AF_INET6, "::", sockets[0].getsockname()[1]))
    except OSError as error:
        if error.errno not in _FAMILY_MISSING:
            sockets[0].close()
            raise
        _log.info("there is no IPv6 here; the admin listener serves IPv4 alone")
    return sockets


def _bound(family: socket.AddressFamily, host: str, port: int) -> socket.socket:
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.bind((host, port))
    except BaseException:
        made.close()
        raise
    return made
