"""Where a request came from, and how much of that is only claimed."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from proxy.forwarded import MAX_HOPS, Chain, chain

PODS = (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))
PEER = "10.1.1.1"


@pytest.mark.parametrize(
    ("values", "verified", "unverified"),
    [
        ([b"100.64.1.2"], ("100.64.1.2",), ""),
        # What the last believed proxy did not see itself is a claim, whatever it looks like.
        ([b"6.6.6.6, 100.64.1.2"], ("100.64.1.2",), "6.6.6.6"),
        ([b"6.6.6.6, 100.64.1.2, 10.2.2.2"], ("100.64.1.2", "10.2.2.2"), "6.6.6.6"),
        ([b"10.9.9.9, 100.64.1.2"], ("100.64.1.2",), "10.9.9.9"),
        # Several headers are one list.
        ([b"6.6.6.6", b" 100.64.1.2"], ("100.64.1.2",), "6.6.6.6"),
        ([b"fd7a::2"], ("fd7a::2",), ""),
        ([b"FD7A:0::2"], ("fd7a::2",), ""),
        # What is no address ends it.
        ([b"100.64.1.2, unknown"], (), "100.64.1.2, unknown"),
        ([b"100.64.1.2:80"], (), "100.64.1.2:80"),
        ([b""], (), ""),
        ([b"100.64.1.2,"], (), "100.64.1.2, "),
        ([b"\xff\r"], (), "\xff"),
    ],
)
def test_of_a_believed_peer(
    values: list[bytes], verified: tuple[str, ...], unverified: str
) -> None:
    assert chain(values, PEER, PODS) == Chain(verified, unverified)


@pytest.mark.parametrize(("peer", "believed"), [("11.1.1.1", PODS), ("unix", PODS), (PEER, ())])
def test_nobody_else_is_believed_anything(peer: str, believed: tuple[object, ...]) -> None:
    assert chain([b"100.64.1.2"], peer, believed) == Chain((), "100.64.1.2")  # type: ignore[arg-type]


def test_no_more_is_taken_apart_than_any_way_is_long() -> None:
    """64 KiB of addresses, all of them believed, would hold everybody up for 50 ms."""
    found = chain([b",".join([b"10.1.1.1"] * 7000)], PEER, PODS)
    assert len(found.verified) <= MAX_HOPS + 1
    assert found.unverified.startswith("10.1.1.1,10.1.1.1")


def test_an_address_with_a_zone_is_none_as_for_go() -> None:
    """A zone may be any text of any length."""
    assert chain([b"fd00::1%anything"], PEER, PODS) == Chain((), "fd00::1%anything")
