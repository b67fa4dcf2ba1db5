"""Kubernetes' functions on URLs, IP addresses and CIDRs (library/urls.go, ip.go, cidr.go)."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any, Final
from urllib.parse import SplitResult, parse_qs, quote, unquote, urlsplit

from proxy.authn.cel.functions import Function, free, member, readable

URL: Final = "kubernetes.URL"
IP: Final = "net.IP"
CIDR: Final = "net.CIDR"

Value = dict[str, str]
_Address = IPv4Address | IPv6Address
_Network = IPv4Network | IPv6Network

_BROADCAST: Final = IPv4Address("255.255.255.255")
_LINK_LOCAL_MULTICAST: Final = (ip_network("224.0.0.0/24"), ip_network("ff02::/16"))
_PATH_SAFE: Final = "/!$&'()*+,;=:@-._~"


def parsed_url(text: str) -> SplitResult:
    """Read an absolute URL or path, as url.ParseRequestURI does. Raises ValueError."""
    parts = urlsplit(text, allow_fragments=False)
    if not text.startswith("/") and not parts.scheme:
        raise ValueError("invalid URI for request")
    _ = parts.port  # raises for one that is no number
    if any(char.isspace() for char in parts.netloc):
        raise ValueError("invalid character in host name")
    return parts


def _url(text: str) -> Value:
    try:
        parsed_url(text)
    except ValueError as error:
        where = "URL parse error during conversion from string"
        raise ValueError(f"{where}: parse {text!a}: {error}") from None
    return {URL: text}


def _of_url(read: Callable[[SplitResult], Any]) -> Callable[[Value], Any]:
    return lambda value: read(parsed_url(value[URL]))


def _host(parts: SplitResult) -> str:
    return parts.netloc.rpartition("@")[2]


def _hostname(parts: SplitResult) -> str:
    host = _host(parts)
    if host.startswith("["):
        return host[1 : host.index("]")]
    return host.partition(":")[0]


def _port(parts: SplitResult) -> str:
    return _host(parts).rpartition("]")[2].partition(":")[2]


def _path(parts: SplitResult) -> str:
    return quote(unquote(parts.path), safe=_PATH_SAFE) if "%" not in parts.path else parts.path


def _query(parts: SplitResult) -> dict[str, list[str]]:
    return parse_qs(parts.query, keep_blank_values=True)


def _address(text: str) -> _Address:
    """Read an address as Kubernetes' library does: no zone, and IPv4 not written as IPv6."""
    address = ip_address(text)
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped:
            raise ValueError(f"IPv4-mapped IPv6 address {text!a} is not allowed")
        if address.scope_id is not None:
            raise ValueError(f"IP address {text!a} with zone value is not allowed")
    return address


def _network(text: str) -> tuple[_Address, _Network]:
    address, slash, length = text.partition("/")
    if not slash or not length.isdecimal() or str(int(length)) != length:
        raise ValueError(f"netip.ParsePrefix({text!a}): no or bad prefix length")
    return _address(address), ip_network(f"{_address(address)}/{length}", strict=False)


def _ip(value: str | Value) -> Value:
    if isinstance(value, dict):
        return {IP: str(_network(value[CIDR])[0])}
    try:
        return {IP: str(_address(value))}
    except ValueError as error:
        raise ValueError(f"IP Address {value!a} parse error during conversion: {error}") from None


def _cidr(text: str) -> Value:
    try:
        _network(text)
    except ValueError as error:
        raise ValueError(
            f"network address parse error during conversion from string: {error}"
        ) from None
    return {CIDR: text}


def _of_ip(read: Callable[[_Address], Any]) -> Callable[[Value], Any]:
    return lambda value: read(_address(value[IP]))


def _is_link_local_multicast(address: _Address) -> bool:
    return any(address.version == net.version and address in net for net in _LINK_LOCAL_MULTICAST)


def _is_global_unicast(address: _Address) -> bool:
    special = address.is_unspecified or address.is_loopback or address.is_multicast
    return not (special or address.is_link_local or address == _BROADCAST)


def _contains_ip(value: Value, other: str | Value) -> bool:
    address = _address(other[IP] if isinstance(other, dict) else other)
    network = _network(value[CIDR])[1]
    return address.version == network.version and address in network


def _contains_cidr(value: Value, other: str | Value) -> bool:
    outer = _network(value[CIDR])[1]
    inner = _network(other[CIDR] if isinstance(other, dict) else other)[1]
    same = outer.version == inner.version
    return same and inner.prefixlen >= outer.prefixlen and inner.network_address in outer


def _masked(value: Value) -> Value:
    return {CIDR: str(_network(value[CIDR])[1])}


def _prefix_length(value: Value) -> int:
    return _network(value[CIDR])[1].prefixlen


def _string(value: Value) -> str:
    return value[IP] if IP in value else value[CIDR]


NETWORK_FUNCTIONS: Final[tuple[Function, ...]] = (
    free("url", _url, string_to_url=(("string",), URL)),
    free("isURL", readable(_url), is_url_string=(("string",), "bool")),
    member("getScheme", _of_url(lambda u: u.scheme), url_get_scheme=((URL,), "string")),
    member("getHost", _of_url(_host), url_get_host=((URL,), "string")),
    member("getHostname", _of_url(_hostname), url_get_hostname=((URL,), "string")),
    member("getPort", _of_url(_port), url_get_port=((URL,), "string")),
    member("getEscapedPath", _of_url(_path), url_get_escaped_path=((URL,), "string")),
    member("getQuery", _of_url(_query), url_get_query=((URL,), "map<string,list<string>>")),
    free("ip", _ip, string_to_ip=(("string",), IP)),
    free("isIP", readable(_address), is_ip=(("string",), "bool")),
    free("ip.isCanonical", lambda t: str(_address(t)) == t, ip_is_canonical=(("string",), "bool")),
    member("family", _of_ip(lambda a: a.version), ip_family=((IP,), "int")),
    member("isUnspecified", _of_ip(lambda a: a.is_unspecified), ip_is_unspecified=((IP,), "bool")),
    member("isLoopback", _of_ip(lambda a: a.is_loopback), ip_is_loopback=((IP,), "bool")),
    member(
        "isLinkLocalMulticast",
        _of_ip(_is_link_local_multicast),
        ip_is_link_local_multicast=((IP,), "bool"),
    ),
    member(
        "isLinkLocalUnicast",
        _of_ip(lambda a: a.is_link_local),
        ip_is_link_local_unicast=((IP,), "bool"),
    ),
    member("isGlobalUnicast", _of_ip(_is_global_unicast), ip_is_global_unicast=((IP,), "bool")),
    free("cidr", _cidr, string_to_cidr=(("string",), CIDR)),
    free("isCIDR", readable(_network), is_cidr=(("string",), "bool")),
    member(
        "containsIP",
        _contains_ip,
        cidr_contains_ip_string=((CIDR, "string"), "bool"),
        cidr_contains_ip_ip=((CIDR, IP), "bool"),
    ),
    member(
        "containsCIDR",
        _contains_cidr,
        cidr_contains_cidr_string=((CIDR, "string"), "bool"),
        cidr_contains_cidr=((CIDR, CIDR), "bool"),
    ),
    member("ip", _ip, cidr_ip=((CIDR,), IP)),
    member("masked", _masked, cidr_masked=((CIDR,), CIDR)),
    member("prefixLength", _prefix_length, cidr_prefix_length=((CIDR,), "int")),
    free("string", _string, ip_to_string=((IP,), "string"), cidr_to_string=((CIDR,), "string")),
)
