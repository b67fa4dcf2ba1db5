"""Where the API server is, taken from a URL once and checked whole.

Only ``https://host[:port]`` will do. A path would have to be put in front of every request target
and taken out of every answer, and targets pass through this proxy as they came.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

_HOST = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9._-]*[A-Za-z0-9_.])?")
_URL = re.compile(r"[!-~]+")  # urlsplit drops line breaks and tabs without a word


@dataclass(frozen=True, slots=True)
class Upstream:
    """The API server: where to connect, whom to expect there, and the Host that it is asked for.

    ``host`` and ``server_name`` are bare (no brackets); ``server_name`` is for SNI and is what the
    certificate must be for.
    """

    host: str
    port: int
    server_name: str

    @property
    def authority(self) -> bytes:
        """Return the Host header's value (RFC 9110 section 7.2); the default port is left out."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return (host if self.port == 443 else f"{host}:{self.port}").encode("ascii")


def parse_upstream(url: str, server_name: str = "") -> Upstream:
    """Return the endpoint of ``url``; ``server_name`` stands where the certificate says another.

    Raises ValueError with a message that quotes the URL, unless it holds a password.
    """
    if "@" in url:
        raise ValueError("the URL must not hold a user name or password")
    if not _URL.fullmatch(url):
        raise ValueError(f"{url!r} is not a URL")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        raise ValueError(f"{url!r} is not a URL: {error}") from error
    if parts.scheme != "https":
        raise ValueError(f"{url!r} must begin with https://")
    if parts.path not in {"", "/"} or "?" in url or "#" in url:
        raise ValueError(f"{url!r} must be https://host[:port], without a path behind it")
    if port == 0 or not _is_host(host):
        raise ValueError(f"{url!r} has no usable host or port")
    if server_name and not _is_host(server_name):
        raise ValueError(f"{server_name!r} is not a DNS name or an IP address")
    return Upstream(host, port or 443, (server_name or host).rstrip("."))


def _is_host(text: str) -> bool:
    try:
        return "%" not in str(ipaddress.ip_address(text))
    except ValueError:
        return _HOST.fullmatch(text) is not None
