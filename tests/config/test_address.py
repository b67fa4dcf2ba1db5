"""Addresses are compared as a connection would find them, not as they are spelt."""

from __future__ import annotations

import pytest

from proxy.config.address import Address, listen_address


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:6443", Address("127.0.0.1", 6443)),
        (":9090", Address("", 9090)),
        ("[::1]:6443", Address("::1", 6443)),
        ("[::]:0", Address("::", 0)),
        ("localhost:65535", Address("localhost", 65535)),
        ("unix:/run/proxy.sock", Address(unix="/run/proxy.sock")),
    ],
)
def test_an_address_is_read_and_written_in_the_same_form(text: str, address: Address) -> None:
    assert listen_address(text) == address
    assert str(address) == text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is not an address"),
        ("6443", "is not an address"),
        ("127.0.0.1", "is not an address"),
        ("127.0.0.1:", "is not an address"),
        ("127.0.0.1:65536", "a port that is too large; write one up to 65535"),
        ("127.0.0.1:" + "9" * 5000, "a port that is too large"),
        ("127.0.0.1:-1", "is not an address"),
        ("127.0.0.1:\u0663", "is not an address"),
        ("::1:6443", "needs brackets"),
        ("[127.0.0.1]:6443", "brackets around what is not"),
        ("https://127.0.0.1:6443", "needs brackets"),
        ("a b:6443", "neither an IP address nor a DNS name"),
        ("-a:6443", "neither an IP address nor a DNS name"),
        ("unix:run/proxy.sock", "absolute path"),
        ("unix:" + "/long" * 30, "too long"),
    ],
)
def test_what_is_no_address_is_refused(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        listen_address(text)


@pytest.mark.parametrize(
    ("text", "local"),
    [
        ("127.0.0.1:1", True),
        ("127.9.9.9:1", True),
        ("127.1:1", True),
        ("[::1]:1", True),
        ("[::ffff:127.0.0.1]:1", True),
        ("LocalHost:1", True),
        ("localhost.:1", True),
        ("unix:/s", True),
        (":1", False),
        ("0.0.0.0:1", False),
        ("[::]:1", False),
        ("10.0.0.1:1", False),
        ("8.8.8.8:1", False),
        ("api.localhost:1", True),
        ("localhost.example:1", False),
        ("[::ffff:10.0.0.1]:1", False),
    ],
)
def test_only_loopback_and_unix_sockets_are_local(text: str, local: bool) -> None:
    assert listen_address(text).is_local is local


@pytest.mark.parametrize(
    ("target", "listener", "same"),
    [
        ("127.0.0.1:6443", "127.0.0.1:6443", True),
        ("localhost:6443", "127.0.0.1:6443", True),
        ("localhost.:6443", "[::1]:6443", True),
        ("0.0.0.0:6443", "127.0.0.1:6443", True),
        ("127.1:6443", "127.0.0.1:6443", True),
        ("2130706433:6443", "127.0.0.1:6443", True),
        ("[::ffff:127.0.0.1]:6443", "127.0.0.1:6443", True),
        ("127.0.0.2:6443", ":6443", True),
        ("127.0.0.2:6443", "0.0.0.0:6443", True),
        ("[::1]:6443", "[::]:6443", True),
        ("10.0.0.1:6443", "10.0.0.1:6443", True),
        ("API.example:6443", "api.example:6443", True),
        ("127.0.0.1:443", "127.0.0.1:6443", False),
        ("127.0.0.2:6443", "127.0.0.1:6443", False),
        ("[::1]:6443", "127.0.0.1:6443", False),
        ("10.0.0.1:6443", "127.0.0.1:6443", False),
        ("10.0.0.1:6443", ":6443", False),
        ("kubernetes.default.svc:6443", ":6443", False),
        ("localhost:6443", "unix:/s", False),
    ],
)
def test_a_target_leads_to_a_listener_however_it_is_spelt(
    target: str, listener: str, same: bool
) -> None:
    assert listen_address(target).leads_to(listen_address(listener)) is same


@pytest.mark.parametrize(
    ("one", "other", "overlap"),
    [
        (":9090", "127.0.0.1:9090", True),
        ("0.0.0.0:9090", "10.0.0.1:9090", True),
        ("localhost:9090", "[::1]:9090", True),
        ("unix:/a", "unix:/a", True),
        (":9090", ":6443", False),
        (":0", ":0", False),
        ("127.0.0.1:0", "127.0.0.1:0", False),
        ("127.0.0.1:9090", "127.0.0.2:9090", False),
        ("unix:/a", "unix:/b", False),
        ("unix:/a", ":9090", False),
    ],
)
def test_two_listeners_overlap_where_the_second_could_not_start(
    one: str, other: str, overlap: bool
) -> None:
    assert listen_address(one).overlaps(listen_address(other)) is overlap
    assert listen_address(other).overlaps(listen_address(one)) is overlap
