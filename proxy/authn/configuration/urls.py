"""What kube-apiserver's validation asks of a URL, by the rules of Go's net/url.

Python's own splitting is more lenient in some things and stricter in others; only what decides
whether a configuration is accepted is done here. Source: net/url, parse.
"""

from __future__ import annotations

import re
from typing import Final

from proxy.authn.gotext import quoted

_SCHEME: Final = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*:")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_BAD_ESCAPE: Final = re.compile(r"%(?![0-9a-fA-F]{2})(.{0,2})", re.DOTALL)
# In a host, only bytes beyond ASCII may be escaped.
_BAD_HOST_ESCAPE: Final = re.compile(r"%(?![89a-fA-F][0-9a-fA-F])(.{0,2})", re.DOTALL)
_BAD_IN_HOST: Final = re.compile(r'[ "\\^`{|}]')
_PORT: Final = re.compile(r"(?::[0-9]*)?")
_USERINFO: Final = re.compile(r"[A-Za-z0-9\-._:~!$&'()*+,;=%@]*")


def problems_of_https(url: str) -> list[str]:
    """Return what validateURL has against ``url``."""
    rest, _, fragment = url.partition("#")
    scheme, rest = _scheme(rest)
    rest, _, query = rest.partition("?")
    authority, path = _authority(rest)
    userinfo, at, host = authority.rpartition("@")
    if problem := _unparsable(url, scheme, userinfo, host, path, fragment):
        return [f"parse {quoted(url)}: {problem}"]
    problems = []
    if scheme.lower() != "https":
        problems.append("URL scheme must be https")
    if at:
        problems.append("URL must not contain a username or password")
    if query:
        problems.append("URL must not contain a query")
    if fragment:
        problems.append("URL must not contain a fragment")
    return problems


def _scheme(text: str) -> tuple[str, str]:
    found = _SCHEME.match(text)
    return (found[0][:-1], text[found.end() :]) if found else ("", text)


def _authority(rest: str) -> tuple[str, str]:
    if not rest.startswith("//") or rest.startswith("///"):
        return "", rest
    authority, slash, path = rest[2:].partition("/")
    return authority, slash + path


def _unparsable(
    url: str, scheme: str, userinfo: str, host: str, path: str, fragment: str
) -> str | None:
    if _CONTROL.search(url):
        return "net/url: invalid control character in URL"
    if not scheme and url.startswith(":"):
        return "missing protocol scheme"
    if not scheme and ":" in path.partition("/")[0]:
        return "first path segment in URL cannot contain colon"
    if not _USERINFO.fullmatch(userinfo):
        return "net/url: invalid userinfo"
    if problem := _bad_host(host):
        return problem
    for part in (path, fragment):
        if bad := _BAD_ESCAPE.search(part):
            return f"invalid URL escape {quoted('%' + bad[1])}"
    return None


def _bad_host(host: str) -> str | None:
    name, port = host, ""
    if host.startswith("["):
        end = host.rfind("]")
        if end < 0:
            return "missing ']' in host"
        name, port = host[: end + 1], host[end + 1 :]
    elif ":" in host:
        name, port = host[: host.rindex(":")], host[host.rindex(":") :]
    if not _PORT.fullmatch(port):
        return f"invalid port {quoted(port)} after host"
    if not host.startswith("[") and (bad := _BAD_HOST_ESCAPE.search(name)):
        return f"invalid URL escape {quoted('%' + bad[1])}"
    if bad := _BAD_IN_HOST.search(name):
        return f"invalid character {quoted(bad[0])} in host name"
    return None
