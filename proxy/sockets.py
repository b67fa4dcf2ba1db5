"""Listening sockets, and how many descriptors there are for what arrives at them.

Without a host, all addresses of both families are listened at, or those of IPv4 where there is no
IPv6. A unix socket takes the place of one that a killed process has left behind, never that of one
on which somebody listens.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import resource
import socket
import stat
from pathlib import Path
from typing import Final

BACKLOG: Final = 1024  # connections that may wait to be accepted
UNIX_MODE: Final = 0o660  # the containers of a pod can share a group
# Descriptors that connections never get: for the probes, the issuer's keys, files, the log.
RESERVED: Final = 192
_FAMILY_MISSING: Final = frozenset({errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL})


async def listen_at(host: str, port: int) -> list[socket.socket]:
    """Listen at every address of ``host``, empty for all there are. Raises OSError."""
    found = await asyncio.get_running_loop().getaddrinfo(
        host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    with contextlib.ExitStack() as undo:
        sockets = []
        for family, _, _, _, address in dict.fromkeys(found):
            try:
                listening = undo.enter_context(socket.socket(family, socket.SOCK_STREAM))
                listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                listening.bind(address)
            except OSError as error:
                if host or family != socket.AF_INET6 or error.errno not in _FAMILY_MISSING:
                    raise
            else:
                sockets.append(_listening(listening))
        undo.pop_all()
    return sockets


def listen_at_path(path: Path) -> socket.socket:
    """Listen at ``path``, in place of a socket that nobody listens on. Raises OSError."""
    with contextlib.ExitStack() as undo:
        listening = undo.enter_context(socket.socket(socket.AF_UNIX))
        if _left_behind(path):
            path.unlink()
        listening.bind(str(path))
        path.chmod(UNIX_MODE)
        undo.pop_all()
    return _listening(listening)


def affordable_connections(wanted: int) -> int:
    """Return for how many client connections there are descriptors, at most ``wanted``.

    Each may need one towards the API server too. The process's soft limit is raised as far as
    that takes and the hard one allows. 0: there are none at all.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = 2 * wanted + RESERVED
    if soft != resource.RLIM_INFINITY and soft < needed:
        soft = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if soft == resource.RLIM_INFINITY:
        return wanted
    return max(0, min(wanted, (soft - RESERVED) // 2))


def _listening(sock: socket.socket) -> socket.socket:
    sock.listen(BACKLOG)
    sock.setblocking(False)
    return sock


def _left_behind(path: Path) -> bool:
    """Say whether there is a socket at ``path`` that nobody listens on."""
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            return stat.S_ISSOCK(path.stat().st_mode)
        except FileNotFoundError:
            return False
    return False
