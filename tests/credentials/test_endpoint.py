from __future__ import annotations

import pytest

from proxy.credentials.endpoint import Upstream, parse_upstream


@pytest.mark.parametrize(
    ("url", "host", "port", "authority"),
    [
        ("https://10.96.0.1", "10.96.0.1", 443, b"10.96.0.1"),
        ("https://10.96.0.1:443/", "10.96.0.1", 443, b"10.96.0.1"),
        ("https://[fd00::1]:443", "fd00::1", 443, b"[fd00::1]"),
        ("https://[fd00::1]:6443", "fd00::1", 6443, b"[fd00::1]:6443"),
        ("https://Api.Example:6443", "api.example", 6443, b"api.example:6443"),
        (
            "HTTPS://kubernetes.default.svc",
            "kubernetes.default.svc",
            443,
            b"kubernetes.default.svc",
        ),
    ],
)
def test_an_endpoint_is_host_port_and_the_authority_that_it_is_asked_for(
    url: str, host: str, port: int, authority: bytes
) -> None:
    upstream = parse_upstream(url)
    assert upstream == Upstream(host, port, host)
    assert upstream.authority == authority


def test_another_name_may_be_expected_in_the_certificate() -> None:
    upstream = parse_upstream("https://10.0.0.1:6443", "kubernetes.default.svc")
    assert upstream.server_name == "kubernetes.default.svc"
    assert upstream.authority == b"10.0.0.1:6443"


def test_the_root_dot_is_kept_for_the_resolver_and_not_for_the_certificate() -> None:
    upstream = parse_upstream("https://kubernetes.default.svc.cluster.local.")
    assert upstream.host.endswith("local.")
    assert upstream.server_name == "kubernetes.default.svc.cluster.local"


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("", "is not a URL"),
        ("10.96.0.1:443", "must begin with https://"),
        ("http://10.96.0.1", "must begin with https://"),
        ("unix:///run/apiserver", "must begin with https://"),
        ("https://rancher.example/k8s/clusters/c-1", "without a path"),
        ("https://api.example?x=1", "without a path"),
        ("https://api.example?", "without a path"),
        ("https://api.example#x", "without a path"),
        ("https://", "no usable host or port"),
        ("https://:6443", "no usable host or port"),
        ("https://api.example:0", "no usable host or port"),
        ("https://api.example:66000", "is not a URL"),
        ("https://api.example:x", "is not a URL"),
        ("https://[fd00::1", "is not a URL"),
        ("https://[fe80::1%25eth0]", "no usable host or port"),
        ("https://api example", "is not a URL"),
        ("https://api.example\r\nX: y", "is not a URL"),
        ("https://api.ex\tample", "is not a URL"),
        ("https://münchen.example", "is not a URL"),
        ("https://a,b.example", "no usable host or port"),
    ],
)
def test_what_is_not_a_bare_https_endpoint_is_refused(url: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        parse_upstream(url)


def test_a_server_name_that_cannot_be_one_is_refused() -> None:
    with pytest.raises(ValueError, match="is not a DNS name"):
        parse_upstream("https://api.example", "a b")


@pytest.mark.parametrize("url", ["https://user:secret@api.example", "user:secret@api example"])
def test_a_url_with_a_password_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(ValueError, match="user name or password") as raised:
        parse_upstream(url)
    assert "secret" not in str(raised.value)
