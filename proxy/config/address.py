"""Where something listens, or what is connected to, and whether the two are the same place.

A proxy that takes its own listener for the API server forwards to itself without end, so
addresses are compared as a connection would find them (``localhost``, ``0.0.0.0``, ``127.1`` and
``::ffff:127.0.0.1`` are loopback too), not as they are spelt. No name is ever resolved here.
"""

from __future__ import annotations

import re
import socket
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

IP = IPv4Address | IPv6Address

_LOOPBACK: Final[frozenset[IP]] = frozenset({IPv4Address("127.0.0.1"), IPv6Address("::1")})
_LABEL: Final = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_NAME: Final = re.compile(rf"{_LABEL}(?:\.{_LABEL})*\.?")
# sockaddr_un holds 108 bytes on Linux and 104 on macOS, the closing NUL included.
_UNIX_PATH_BYTES: Final = 103


@dataclass(frozen=True, slots=True)
class Address:
    """A host and a port, or the path of a unix socket (then host and port are unset).

    To listen on, an empty host is every address of both families. IPv6 hosts have no brackets.
    """

    host: str = ""
    port: int = 0
    unix: str | None = None

    def __str__(self) -> str:
        if self.unix is not None:
            return f"unix:{self.unix}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_local(self) -> bool:
        """Whether only this machine can connect: a unix socket, or nothing but loopback."""
        if self.unix is not None:
            return True
        places = _places(self.host)
        return bool(places) and all(place.is_loopback for place in places)

    @property
    def is_everywhere(self) -> bool:
        """Whether listening here is listening on every address, at least of one family."""
        if self.unix is not None:
            return False
        return self.host == "" or any(place.is_unspecified for place in _places(self.host))

    def leads_to(self, listener: Address) -> bool:
        """Say whether connecting to this address would end up at ``listener``."""
        if self.unix is not None or self.port != listener.port or self.port == 0:
            return False
        there = _destinations(self.host)
        if listener.is_everywhere:
            return any(place.is_loopback for place in there)
        return self.host.lower() == listener.host.lower() or bool(there & _places(listener.host))

    def overlaps(self, other: Address) -> bool:
        """Say whether the two cannot both be listened on."""
        if self.unix is not None or other.unix is not None:
            return self.unix == other.unix
        everywhere = self.is_everywhere or other.is_everywhere
        if everywhere and self.port == other.port:
            return self.port != 0
        return self.leads_to(other)


def listen_address(text: str) -> Address:
    """Parse ``host:port``, ``[ipv6]:port``, ``:port`` or ``unix:/path``; raises ValueError."""
    if text.startswith("unix:"):
        return _unix_address(text.removeprefix("unix:"))
    host, colon, port = text.rpartition(":")
    if not colon or not re.fullmatch(r"[0-9]+", port):
        raise ValueError("is not an address; write host:port, [ipv6]:port, :port or unix:/path")
    if len(port) > 5 or int(port) > 65535:
        raise ValueError("has a port that is too large; write one up to 65535")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
        if ":" not in host:
            raise ValueError("has brackets around what is not an IPv6 address")
    elif ":" in host:
        raise ValueError("needs brackets around its IPv6 address, as in [::1]:6443")
    if host:
        check_host(host)
    return Address(host, int(port))


def tcp_listen_address(text: str) -> Address:
    """Parse a listen address that is not a unix socket; raises ValueError."""
    address = listen_address(text)
    if address.unix is not None:
        raise ValueError("is a unix socket, which no probe can ask; write host:port or :port")
    return address


def check_host(host: str) -> None:
    """Raise ValueError unless ``host`` is an IP address (without brackets) or a DNS name."""
    if _ip(host) is None and (len(host) > 254 or not _NAME.fullmatch(host)):
        raise ValueError("has a host that is neither an IP address nor a DNS name")


def is_ip(host: str) -> bool:
    """Say whether ``host`` is an IP address in any spelling that a connection would take."""
    return _ip(host) is not None


def _unix_address(path: str) -> Address:
    if not path.startswith("/"):
        raise ValueError("needs an absolute path after unix:, as in unix:/run/proxy.sock")
    if len(path.encode()) > _UNIX_PATH_BYTES:
        raise ValueError(f"is too long for a unix socket (at most {_UNIX_PATH_BYTES} bytes)")
    return Address(unix=path)


def _ip(host: str) -> IP | None:
    """Return ``host`` as an address; ``127.1`` and ``0x7f000001`` are ones to connect() too."""
    try:
        found = ip_address(host)
    except ValueError:
        try:
            return IPv4Address(socket.inet_aton(host)) if _NAME.fullmatch(host) else None
        except OSError:
            return None
    if isinstance(found, IPv6Address) and found.ipv4_mapped:
        return found.ipv4_mapped
    return found


def _places(host: str) -> frozenset[IP]:
    """Return the addresses that ``host`` certainly stands for; none for a name to look up."""
    name = host.lower().removesuffix(".")
    if name == "localhost" or name.endswith(".localhost"):  # RFC 6761, section 6.3
        return _LOOPBACK
    found = _ip(host)
    return frozenset({found}) if found else frozenset()


def _destinations(host: str) -> frozenset[IP]:
    """Return where connecting to ``host`` leads: an unspecified address leads to loopback."""
    places = _places(host)
    return _LOOPBACK if any(place.is_unspecified for place in places) else places
