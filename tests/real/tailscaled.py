"""The tailscaled of tsidp's machine, played on its socket.

It says what only a tailnet could: whose a device is and which grants match it (``whois``), tsidp's
own name, and its certificate. Played are the calls that tsidp makes and no others.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingUnixStreamServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.issuer import issuer_authority

CAPABILITY = "tailscale.com/cap/tsidp"

Rule = Mapping[str, Any]  # of a grant, as a tailnet policy writes it below the capability


@dataclass(frozen=True)
class Device:
    """A machine on the tailnet: its address, whose it is, and the rules of grants that match."""

    address: str
    login: str
    user_id: int
    name: str  # fully qualified, with a dot at the end; one shared in has none at all
    rules: tuple[Rule, ...] = ()
    tags: tuple[str, ...] = ()
    node_id: int = 4821937465018273

    def whois(self) -> dict[str, Any]:
        """What tailscaled knows of it (apitype.WhoIsResponse)."""
        user, _, _ = self.login.partition("@")
        return {
            "Node": {
                "ID": self.node_id,
                "StableID": f"n{self.node_id}",
                "Name": self.name,
                "User": self.user_id,
                "Key": f"nodekey:{'3f' * 32}",
                "Addresses": [f"{self.address}/32", "fd7a:115c:a1e0::a01:6667/128"],
                "Tags": list(self.tags) or None,
            },
            "UserProfile": {
                "ID": self.user_id,
                "LoginName": self.login,
                "DisplayName": user.capitalize(),
                "ProfilePicURL": f"https://pictures.example.com/{user}?size=96&shape=round",
            },
            "CapMap": {CAPABILITY: list(self.rules)} if self.rules else None,
        }


class Tailscaled(ThreadingUnixStreamServer):
    """The calls of tailscaled's local API that tsidp makes (ipn/localapi in tailscale.com)."""

    daemon_threads = True

    def __init__(self, path: Path, devices: Mapping[str, Device]) -> None:
        super().__init__(str(path), LocalApi)
        self.devices = devices
        self.ended = threading.Event()
        certificate = issuer_authority().issue_cert("localhost")
        pems = [certificate.private_key_pem, *certificate.cert_chain_pems]
        self.certificate = b"".join(pem.bytes() for pem in pems)
        self._thread = threading.Thread(target=self.serve_forever, args=(0.05,), name="tailscaled")
        self._thread.start()

    def close(self) -> None:
        self.ended.set()
        self.shutdown()
        self._thread.join()
        self.server_close()


class LocalApi(BaseHTTPRequestHandler):
    server: Tailscaled

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        match url.path.removeprefix("/localapi/v0/").split("/"):
            case ["status"]:
                self._answer(
                    {
                        "Version": "1.102.3",
                        "BackendState": "Running",
                        "TailscaleIPs": ["127.0.0.1"],
                        "Self": {"DNSName": "localhost."},
                        "CurrentTailnet": {"MagicDNSSuffix": "tail1234.ts.net"},
                    }
                )
            case ["serve-config"]:
                self._answer({})
            case ["watch-ipn-bus"]:
                self._answer({"SessionID": "s"})
                self.server.ended.wait()  # a watch stays open
            case ["whois"]:
                # An address, or one with a port, or none where nobody said from where it comes.
                query = parse_qs(url.query, keep_blank_values=True)
                address = query["addr"][0].rpartition(":")
                device = self.server.devices.get(address[0] or address[2])
                if device is None:
                    self.send_error(404, "no match for IP:port")
                else:
                    self._answer(device.whois())
            case ["cert", "localhost"]:
                self._answer(self.server.certificate)
            case _:
                self.send_error(404)

    def do_POST(self) -> None:
        """Take the configuration of the listener, which a real tailscaled would then open."""
        while self.rfile.readline() != b"0\r\n":  # it comes in chunks
            pass
        self._answer({})

    def _answer(self, content: Mapping[str, Any] | bytes) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(content if isinstance(content, bytes) else json.dumps(content).encode())

    def log_message(self, *_: object) -> None:
        """Say nothing."""
