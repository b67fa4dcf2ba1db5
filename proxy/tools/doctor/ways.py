"""The way to an address as a verdict: which cause it is, and the one change that mends it."""

from __future__ import annotations

import ssl
import time
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

from proxy.tools.doctor.causes import CERTIFICATE_ENDS_SOON, ISSUER_BEHIND_TAILNET, Cause
from proxy.tools.doctor.reach import reach
from proxy.tools.doctor.trouble import Kind, Reached, Trouble
from proxy.tools.doctor.tsidp import on_tailnet
from proxy.tools.doctor.verdict import Verdict, failed, noted

SOON: Final = 3 * 86400  # seconds; certificates of ts.net and Let's Encrypt are renewed far earlier


class Way:
    """How one address is reached; ``flag`` is the setting that says where it is, with ``given``."""

    def __init__(
        self,
        flag: str,
        given: str,
        ca_flag: str,
        tls: ssl.SSLContext,
        *,
        causes: Mapping[Kind, Cause],
        proxy: str | None = None,
        has_ca_file: bool = False,
    ) -> None:
        self.flag, self._given, self.ca_flag = flag, given, ca_flag
        self.tls, self.proxy, self.has_ca_file = tls, proxy, has_ca_file
        self._causes = causes

    async def go(self, url: str) -> Reached:
        """Go there. Raises Trouble."""
        return await reach(url, self.tls, self.proxy)

    def verdict(self, url: str, trouble: Trouble) -> Verdict:
        host = urlsplit(url).hostname or ""
        away = trouble.kind in {Kind.NAME, Kind.SILENT} or (
            trouble.kind is Kind.REFUSED
            and host.endswith(".ts.net")
            and not self.proxy
            and not any(map(on_tailnet, trouble.addresses))
        )
        if away and on_tailnet(host, trouble.addresses) and self.flag == "--oidc-issuer-url":
            return failed(ISSUER_BEHIND_TAILNET, trouble.saw, _TAILNET_MEND)
        return failed(self._causes[trouble.kind], trouble.saw, self._mend(url, trouble))

    def _mend(self, url: str, trouble: Trouble) -> str:
        host, port = urlsplit(url).hostname, urlsplit(url).port or 443
        match trouble.kind:
            case Kind.PROXY:
                return (
                    "--oidc-http-proxy=socks5h://localhost:1055  # where a proxy really listens, "
                    "such as that of a Tailscale sidecar (TS_SOCKS5_SERVER=localhost:1055)"
                )
            case Kind.NAME if on_tailnet(host or ""):
                return f"join the tailnet on this machine (tailscale up), for {host} is in it"
            case Kind.NAME:
                return (
                    f"correct the name in {self.flag}={self._given}, or make DNS know {host} here"
                )
            case Kind.REFUSED:
                given = f"{self.flag}={self._given}"
                return f"start what serves {host}:{port}, or correct the port in {given}"
            case Kind.SILENT:
                return f"let traffic from here to {host}:{port} pass (firewall, NetworkPolicy)"
            case Kind.CLOSED if on_tailnet(host or "", trouble.addresses):
                return (
                    "enable HTTPS certificates for the tailnet (admin console, DNS), and give "
                    "tsidp a minute for its first one"
                )
            case Kind.CLOSED | Kind.TLS:
                return f"let {host}:{port} offer TLS 1.2 or later with a certificate for {host}"
            case Kind.NOT_TLS:
                return (
                    f"serve TLS at {host}:{port}, or name the port that does in "
                    f"{self.flag}=https://{host}"
                )
            case _:
                return self._certificate_mend(url, trouble)

    def _certificate_mend(self, url: str, trouble: Trouble) -> str:
        peer, host = trouble.peer, urlsplit(url).hostname
        assert peer is not None, "a certificate was refused"
        match trouble.kind:
            case Kind.EXPIRED:
                return f"renew the certificate of {host} (now: {peer.subject}, from {peer.issuer})"
            case Kind.EARLY:
                return "set this machine's clock right (timedatectl set-ntp true)"
            case Kind.NAMES:
                return f"have the certificate issued for {host} as well" + (
                    f", or write {self.flag}=https://{peer.names[0]}" if peer.names else ""
                )
            case Kind.CHAIN:
                return f"let {host} send its whole chain, the certificate of {peer.issuer} included"
            case Kind.UNSUITABLE:
                return (
                    f"give {host} a certificate for TLS servers, of RSA 2048 or P-256 and SHA-256, "
                    "all the way up"
                )
            case _ if self.flag == "--headlamp-url":
                return (
                    f"give {host} a certificate of a CA that browsers know; if yours know "
                    f"{peer.issuer}: --headlamp-ca-file=ca.crt"
                )
            case _ if self.has_ca_file:
                return f"put the certificate of {peer.issuer} into the file of {self.ca_flag}"
            case _:
                return f"{self.ca_flag}=ca.crt  # a PEM file with the certificate of {peer.issuer}"


def ends_soon(url: str, reached: Reached) -> Verdict | None:
    """Say so if the peer's certificate should have been renewed by now."""
    peer = reached.peer
    if peer is None or peer.ends_in(time.time()) > SOON:
        return None
    host = urlsplit(url).hostname
    saw = f"the certificate of {host} ends on {peer.not_after:%Y-%m-%d %H:%M} UTC"
    return noted(CERTIFICATE_ENDS_SOON, saw, f"see why {host} has not renewed it yet")


_TAILNET_MEND: Final = (
    "--oidc-http-proxy=socks5h://localhost:1055  # with a Tailscale sidecar in the pod that has "
    "TS_SOCKS5_SERVER=localhost:1055, and in the tailnet's policy a grant from its tag: "
    '{"src": ["tag:k8s"], "dst": ["tag:tsidp"], "ip": ["tcp:443"]}'
)
