"""How one text becomes one value. Every function raises ValueError with words for a person.

The words follow the quoted value in a message, so they start with a verb and end with what to
write instead. Each text has passed ``printable`` before any other function sees it. The rules of
the ``--oidc-*`` values are kube-apiserver's, so that a flag copied from there means the same here.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import Final, TypeVar
from urllib.parse import SplitResult, urlsplit

from proxy.algorithms import ALGORITHMS
from proxy.config.address import Address, check_host, is_ip
from proxy.headers import may_be_let_pass
from proxy.impersonation import NEVER_ALLOWED

T = TypeVar("T")

# oidc.AllValidSigningAlgorithms of k8s.io/apiserver: nothing symmetric, and never "none".

_TRUE: Final = frozenset({"1", "t", "T", "TRUE", "true", "True"})
_FALSE: Final = frozenset({"0", "f", "F", "FALSE", "false", "False"})

_UNITS: Final = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_TERM: Final = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(ns|us|µs|ms|s|m|h)")
_LONGEST: Final = (2**63 - 1) / 1e9  # seconds; what a time.Duration holds

_LABEL: Final = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_DNS_NAME: Final = re.compile(rf"(?:\*\.)?{_LABEL}(?:\.{_LABEL})*", re.IGNORECASE | re.ASCII)

_DIGITS: Final = 18  # of a number; more are more than any bound, and reading them takes time

_FIELD_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, section 5.6.2


def printable(value: str) -> str:
    """Refuse what could not be shown in a log, sent in a header or opened as a file."""
    if any(unicodedata.category(char) in {"Cc", "Cs"} for char in value):
        raise ValueError("holds a control character or a byte that is not UTF-8; remove it")
    return value


def name(value: str) -> str:
    """A name that arrives as it was sent: not empty, no blank at either end."""
    if not value:
        raise ValueError("is empty; give a name")
    if value.strip(" \t") != value:
        raise ValueError("begins or ends with a blank, which HTTP would trim; remove it")
    return value


def prefix(value: str) -> str:
    """What goes before a name: may be empty, but must not begin with a blank."""
    if value.startswith((" ", "\t")):
        raise ValueError("begins with a blank, which HTTP would trim; remove it")
    return value


def optional(parse: Callable[[str], T]) -> Callable[[str], T | None]:
    """Let an empty text stand for no value at all."""
    return lambda value: parse(value) if value else None


def file(value: str) -> Path | None:
    """The path of a file or directory; empty for none."""
    return Path(value) if value else None


def switch(value: str) -> bool:
    """A boolean as Go's strconv.ParseBool reads it."""
    if value in _TRUE:
        return True
    if value in _FALSE:
        return False
    raise ValueError("is not a boolean; write true or false")


def on_or_off(value: str) -> bool:
    if value not in {"on", "off"}:
        raise ValueError("is neither; write on or off")
    return value == "on"


def duration(value: str) -> float:
    """Seconds, from what Go's time.ParseDuration reads; never negative."""
    if value.startswith("-"):
        raise ValueError("is negative; a duration is 0s or more")
    if re.fullmatch(r"[0-9]+(\.[0-9]*)?", value):
        raise ValueError(f"has no unit; write {value}s for seconds")
    terms = _TERM.findall(value)
    if not terms or "".join(number + unit for number, unit in terms) != value:
        raise ValueError("is not a duration; write for example 10s, 5m, 1h30m or 500ms")
    seconds = sum(float(number) * _UNITS[unit] for number, unit in terms)
    if seconds > _LONGEST:
        raise ValueError("is longer than any duration can be; write for example 5m")
    return seconds


def duration_between(lowest: float, highest: float) -> Callable[[str], float]:
    """A duration in seconds, within bounds."""

    def parse(value: str) -> float:
        seconds = duration(value)
        if not lowest <= seconds <= highest:
            raise ValueError(f"is out of range; write from {lowest:g}s to {highest:g}s")
        return seconds

    return parse


def number(lowest: int, highest: int, *, or_none: bool = False) -> Callable[[str], int]:
    """A whole number within bounds; 0 as well, where that stands for no limit."""
    none = ", or 0 for no limit" if or_none else ""

    def parse(value: str) -> int:
        if not re.fullmatch(r"-?[0-9]+", value):
            raise ValueError(f"is not a whole number; write from {lowest} to {highest}{none}")
        count = int(value) if len(value) <= _DIGITS and value[0] != "-" else -1
        if not lowest <= count <= highest and not (or_none and count == 0):
            raise ValueError(f"is out of range; write from {lowest} to {highest}{none}")
        return count

    return parse


def one_of(*words: str) -> Callable[[str], str]:
    def parse(value: str) -> str:
        if value not in words:
            raise ValueError(f"is not known; write {' or '.join(words)}")
        return value

    return parse


def issuer(value: str) -> str:
    """kube-apiserver's rule (ValidateAuthenticationConfiguration, validateIssuerURL).

    Empty is a question for the rule that demands an issuer.
    """
    if value:
        _https(value)
    return value


def https_url(value: str) -> str:
    _https(value)
    return value


def collector_url(value: str) -> str:
    """``http://host:port`` or https, with a path or without."""
    if _url(value).scheme not in {"http", "https"}:
        raise ValueError("is not http or https; write for example http://localhost:4318")
    return value.rstrip("/")


def upstream(value: str) -> Address:
    """The API server's address; requests keep their own path, so the URL may have none."""
    url = _https(value)
    if url.path not in {"", "/"}:
        raise ValueError("has a path; give scheme, host and port only")
    return _endpoint(url, 443)


def http_proxy(value: str) -> str:
    """``http://host:port`` or ``socks5h://host:port``."""
    url = _url(value)
    if url.scheme == "socks5":
        raise ValueError("would look names up here, outside the tailnet; use socks5h://")
    if url.scheme not in {"http", "socks5h"}:
        raise ValueError("is not a proxy of a known kind; use http:// or socks5h://")
    if url.port is None or url.path not in {"", "/"}:
        raise ValueError("must be scheme, host and port only, as in socks5h://localhost:1055")
    _endpoint(url, url.port)
    return value


def service_address(host: str, port: str) -> Address:
    """The API server as KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT name it."""
    check_host(host)
    if not re.fullmatch(r"[0-9]{1,5}", port) or not 0 < int(port) <= 65535:
        raise ValueError("has a port that is not a number from 1 to 65535")
    return Address(host, int(port))


def signing_algs(value: str) -> tuple[str, ...]:
    """A comma-separated list, not trimmed: pflag's StringSlice."""
    algs = tuple(value.split(","))
    refused = [alg for alg in algs if alg not in ALGORITHMS]
    if refused:
        quoted = ", ".join(json.dumps(alg) for alg in refused)
        raise ValueError(
            f"unsupported signing alg: {quoted}; use RS, ES or PS with 256, 384 or 512, "
            "comma-separated without blanks"
        )
    return algs


def required_claim(value: str) -> tuple[str, str]:
    """``claim=value``, split at the first ``=``, both trimmed (MapStringString of pflag)."""
    claim, equals, wanted = value.partition("=")
    if not equals:
        raise ValueError("is not a pair; write claim=value")
    if not claim.strip():
        raise ValueError("has no claim before the '='; write claim=value")
    return claim.strip(), wanted.strip()


def reserved_group(value: str) -> str:
    """A group to make an exception for; that it is reserved is a rule between settings."""
    if value == NEVER_ALLOWED:
        raise ValueError("can never be allowed: it is above RBAC; bind cluster-admin to a group")
    return name(value)


def serving_name(value: str) -> str:
    """A DNS name (also ``*.name``) or an IP address for the certificate that we make."""
    if _DNS_NAME.fullmatch(value) and len(value) <= 253 and not is_ip(value):
        return value.lower()
    try:
        return str(ip_address(value))
    except ValueError:
        raise ValueError("is neither a DNS name nor an IP address; write it in full") from None


def network(value: str) -> IPv4Network | IPv6Network:
    """A CIDR, or one address."""
    try:
        return ip_network(value)
    except ValueError as error:
        reason = "has bits set behind its length" if "host bits" in str(error) else "is not a CIDR"
        raise ValueError(f"{reason}; write for example 10.0.0.0/8, 127.0.0.1 or fd00::/8") from None


def request_header(value: str) -> str:
    """A header that may pass, in lower case; never one with a meaning for identity or framing."""
    lower = value.lower()
    if not _FIELD_NAME.fullmatch(value):
        raise ValueError("is not a header name; give the name alone, without a colon")
    if not may_be_let_pass(lower):
        raise ValueError("can never pass: it carries identity, framing or connection state")
    return lower


def _url(value: str) -> SplitResult:
    """Split a URL that has a host, and nothing before or after host, port and path.

    No message repeats what stands before an ``@``: it may be a password.
    """
    if " " in value:
        raise ValueError("holds a blank; remove it")
    try:
        url = urlsplit(value)
        port = url.port
    except ValueError:
        raise ValueError("is not a URL; write scheme://host:port") from None
    if not url.hostname or port == 0:
        raise ValueError("has no host, or a port that cannot be; write scheme://host:port")
    if "@" in url.netloc:
        raise ValueError("must not carry a user or password; remove everything up to the '@'")
    if "?" in value or "#" in value:
        raise ValueError("must not have a query or a fragment; remove it")
    return url


def _https(value: str) -> SplitResult:
    url = _url(value)
    if url.scheme != "https":
        raise ValueError("is not https; write https://...")
    return url


def _endpoint(url: SplitResult, default_port: int) -> Address:
    host = url.hostname or ""
    check_host(host)
    return Address(host, url.port or default_port)
