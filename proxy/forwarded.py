"""Where a request came from before it came here, as far as that can be believed.

Every proxy on the way adds the address that it saw to the end of ``X-Forwarded-For``, and a client
may have put anything in front. So an address is verified if it was added by somebody whose word is
believed: the last one by the peer of the connection itself, each one before it by the address
behind it. At the first that is not believed this ends, and all that is left is a claim.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import Final

MAX_HOPS: Final = 32  # that are taken apart, the last ones; the rest is a claim as it stands

Networks = Sequence[IPv4Network | IPv6Network]


@dataclass(frozen=True, slots=True)
class Chain:
    """Verified addresses, the client's first, and the text of what was claimed beyond them."""

    verified: tuple[str, ...] = ()
    unverified: str = ""


def chain(values: Sequence[bytes], peer: str, believed: Networks) -> Chain:
    """Take apart all ``X-Forwarded-For`` headers of a request that came from ``peer``."""
    text = b",".join(values).decode("latin-1")
    claimed = [part.strip() for part in text.rsplit(",", MAX_HOPS)]
    verified: list[str] = []
    while claimed and _within(peer, believed) and (address := _address(claimed[-1])):
        verified.append(address)
        peer = address
        claimed.pop()
    return Chain(tuple(reversed(verified)), ", ".join(claimed))


def _within(address: str, networks: Networks) -> bool:
    if not networks:
        return False
    try:
        parsed = ip_address(address)
    except ValueError:  # a unix socket has no address
        return False
    return any(parsed in network for network in networks)


def _address(text: str) -> str:
    if "%" in text:  # a zone, which can be any text; Go's net.ParseIP takes none either
        return ""
    try:
        return str(ip_address(text))
    except ValueError:
        return ""
