"""The admin listener: ``/metrics``, ``/livez``, ``/readyz``, and nothing else; it never proxies.

It has no authentication, so it says nothing that a neighbour in the cluster may not know: metrics
name no user, and ``/readyz?verbose`` gives names of checks with ok or failed. ``/livez`` answers
from the event loop, and that it answers is all that it says. ``/readyz`` never latches: each check
is asked anew, and only a required one can change the status. Source of the verbose form:
k8s.io/apiserver/pkg/server/healthz.
"""

from __future__ import annotations

import asyncio
import errno
import functools
import inspect
import logging
import socket
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

from aiohttp import hdrs
from aiohttp.web_request import BaseRequest
from aiohttp.web_response import Response, StreamResponse
from aiohttp.web_server import Server
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

_BACKLOG: Final = 128
_SHUTDOWN: Final = 1.0  # seconds that a scrape under way may still take
_FAMILY_MISSING: Final = frozenset({errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL})

_METHODS: Final = ("GET", "HEAD")
_ALLOWED: Final = ", ".join(_METHODS)

_log = logging.getLogger(__name__)

Handler = Callable[[BaseRequest], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Check:
    """A condition of readiness; one that is not ``required`` is only shown."""

    name: str
    passes: Callable[[], bool | Awaitable[bool]]
    required: bool = True


class _Request(BaseRequest):
    """Sees to the headers of every answer, those that aiohttp makes of its own accord included."""

    async def _prepare_hook(self, response: StreamResponse) -> None:
        response.headers.pop(hdrs.SERVER, None)
        response.headers[hdrs.CACHE_CONTROL] = "no-store"
        response.headers["X-Content-Type-Options"] = "nosniff"


class Admin:
    """What listens, until ``cleanup``."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._listeners: list[asyncio.Server] = []

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """Where it listens: host and port."""
        sockets = [listening for each in self._listeners for listening in each.sockets]
        return [listening.getsockname()[:2] for listening in sockets]

    async def listen(self, host: str, port: int) -> None:
        """Listen there. Raises OSError if it cannot."""
        loop = asyncio.get_running_loop()
        if host:
            listener = await loop.create_server(self._server, host, port, backlog=_BACKLOG)
            self._listeners.append(listener)
            return
        for listening in _everywhere(port):
            listener = await loop.create_server(self._server, sock=listening, backlog=_BACKLOG)
            self._listeners.append(listener)

    async def cleanup(self) -> None:
        """Listen no more, and let what is under way finish, for a moment."""
        for listener in self._listeners:
            listener.close()
        await asyncio.sleep(0)  # so that what has been accepted by now is under way
        self._server.pre_shutdown()
        await self._server.shutdown(_SHUTDOWN)


async def serve_admin(
    registry: CollectorRegistry, checks: Sequence[Check], host: str, port: int
) -> Admin:
    """Listen and serve until ``cleanup()`` of what is returned.

    An empty ``host`` is all addresses of both families, or of IPv4 where there is no IPv6. Raises
    ``OSError`` if it cannot listen.
    """
    loop = asyncio.get_running_loop()
    server = Server(
        answering(registry, checks),
        access_log=None,
        request_factory=functools.partial(_Request, loop=loop),
    )
    admin = Admin(server)
    try:
        await admin.listen(host, port)
    except BaseException:
        await admin.cleanup()
        raise
    return admin


def answering(registry: CollectorRegistry, checks: Sequence[Check]) -> Handler:
    """Return what answers a request.

    It is three pages, for which aiohttp's applications and routes would be 1 MiB of code more.
    """

    async def metrics(request: BaseRequest) -> Response:
        return _metrics(registry, request)

    async def livez(_request: BaseRequest) -> Response:
        return Response(text="ok\n")

    async def readyz(request: BaseRequest) -> Response:
        return await _readyz(checks, verbose="verbose" in request.query)

    pages: dict[str, Handler] = {"/metrics": metrics, "/livez": livez, "/readyz": readyz}

    async def answer(request: BaseRequest) -> Response:
        page = pages.get(request.path)
        if page is None:
            return Response(status=404, text=f"not found; there is {', '.join(pages)}\n")
        if request.method not in _METHODS:
            return Response(status=405, text="use GET\n", headers={hdrs.ALLOW: _ALLOWED})
        return await page(request)

    return answer


def _metrics(registry: CollectorRegistry, request: BaseRequest) -> Response:
    encode, content_type = choose_encoder(",".join(request.headers.getall(hdrs.ACCEPT, ())))
    names = request.query.getall("name[]", ())
    body = encode(registry.restricted_registry(names) if names else registry)
    response = Response(body=body, headers={hdrs.CONTENT_TYPE: content_type})
    response.enable_compression()
    return response


async def _readyz(checks: Sequence[Check], *, verbose: bool) -> Response:
    ready = True
    lines = []
    for check in checks:
        passed = await _passes(check)
        ready = ready and (passed or not check.required)
        lines.append(f"[+]{check.name} ok" if passed else f"[-]{check.name} failed")
    lines.append(f"readyz check {'passed' if ready else 'failed'}")
    text = "\n".join(lines) if verbose else "ok" if ready else "not ready"
    return Response(status=200 if ready else 503, text=f"{text}\n")


async def _passes(check: Check) -> bool:
    """Ask a check; one that cannot tell has failed, and the log says why."""
    try:
        passed = check.passes()
        return await passed if inspect.isawaitable(passed) else passed
    except Exception:  # noqa: BLE001 - whatever it is, it is no reason to be ready
        _log.exception("a readiness check failed to run", extra={"check": check.name})
        return False


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
