"""A genuine tsidp, and the tailscaled beside it, which is played.

    with Tailnet(folder) as tailnet:
        client = tailnet.register("http://127.0.0.1:4466/oidc-callback")
        token = tailnet.sign_in(client, ALICE_LAPTOP)["id_token"]

tsidp is ``tailscale.com/cmd/tsidp``, built from its own module (see tests/tsidp/go.mod) and told to
use the tailscaled of its machine, which tailscaled.py plays. Its tokens, keys, clients and refusals
are its own. A real tailscaled would tell it, in X-Forwarded-For, from which device a request comes;
here the browser says so.
"""

from __future__ import annotations

import http.client
import json
import ssl
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlencode, urlsplit

from tests.issuer import issuer_authority
from tests.leaks import hand_out, hand_out_answer
from tests.process import Process, free_port
from tests.real.fixed_path import with_folder_at
from tests.real.programs import require
from tests.real.tailscaled import Device, Tailscaled

SOCKET = "/var/run/tailscale"  # tailscale.com/paths.DefaultTailscaledSocket, its folder
START_TIMEOUT = 20.0  # seconds
STOP_GRACE = 5.0  # seconds


@dataclass(frozen=True)
class Client:
    """A client that is registered at tsidp."""

    id: str
    secret: str
    redirect_uri: str

    def __post_init__(self) -> None:
        hand_out(self.secret)


class Reply(NamedTuple):
    status: int
    headers: dict[str, str]
    text: str


def ask(
    url: str,
    ca_file: Path,
    method: str,
    path: str,
    form: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Reply:
    """Make one request of an issuer, and follow no redirect."""
    sent = dict(headers or {})
    body = None if form is None else urlencode(form)
    if body is not None:
        sent["Content-Type"] = "application/x-www-form-urlencoded"
    tls = ssl.create_default_context(cafile=str(ca_file))
    connection = http.client.HTTPSConnection(urlsplit(url).netloc, context=tls, timeout=10)
    try:
        connection.request(method, path, body, sent)
        answer = connection.getresponse()
        text = answer.read().decode()
        hand_out_answer(text)
        return Reply(answer.status, dict(answer.getheaders()), text)
    finally:
        connection.close()


class Tailnet:
    """A running tsidp. Devices are known from the moment that they sign in."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.port = free_port()
        self.url = f"https://localhost:{self.port}"
        self.ca_file = folder / "issuer-ca.crt"
        self.devices: dict[str, Device] = {}
        issuer_authority().cert_pem.write_to_path(str(self.ca_file))
        self._process: Process | None = None

    def __enter__(self) -> Tailnet:
        (self._folder / "socket").mkdir()
        self._tailscaled = Tailscaled(self._folder / "socket" / "tailscaled.sock", self.devices)
        (self._folder / "config" / "tsidp").mkdir(parents=True)
        try:
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._tailscaled.close()

    def start(self) -> None:
        """Start tsidp, on the same port and with the same state each time."""
        program = require("tsidp") / "tsidp"
        flags = ("-use-local-tailscaled", "-allow-insecure-registration=false")
        self._process = Process(
            with_folder_at(SOCKET, self._folder / "socket", program, *flags, f"-port={self.port}"),
            self._folder / "tsidp.log",
            env={
                "TAILSCALE_USE_WIP_CODE": "1",
                "XDG_CONFIG_HOME": str(self._folder / "config"),
                "TS_NO_LOGS_NO_SUPPORT": "1",
            },
        )
        self._process.wait_until(self._answers, "answering", START_TIMEOUT)

    def stop(self) -> None:
        if self._process is not None:
            self._process.stop(STOP_GRACE)
            self._process = None

    def restart(self, *, losing: Iterable[str] = ()) -> None:
        """Start anew, without these files of its state."""
        self.stop()
        for name in losing:
            (self._folder / "config" / "tsidp" / name).unlink()
        self.start()

    def register(self, redirect_uri: str) -> Client:
        """Register a client, as tsidp's admin page does."""
        answer = self.request("POST", "/clients/new", {"redirect_uri": redirect_uri})
        client = json.loads(answer.text)
        return Client(client["client_id"], client["client_secret"], redirect_uri)

    def authorize(self, client: Client, device: Device, **query: str) -> Reply:
        """Visit /authorize from a device."""
        self.devices[device.address] = device
        usual = {"client_id": client.id, "redirect_uri": client.redirect_uri, "state": "s"}
        path = f"/authorize?{urlencode(usual | query)}"
        return self.request("GET", path, headers={"X-Forwarded-For": device.address})

    def token(self, client: Client, form: Mapping[str, str]) -> Reply:
        """Ask /token as the client."""
        usual = {
            "grant_type": "authorization_code",
            "redirect_uri": client.redirect_uri,
            "client_id": client.id,
            "client_secret": client.secret,
        }
        return self.request("POST", "/token", usual | dict(form))

    def sign_in(self, client: Client, device: Device, **query: str) -> dict[str, Any]:
        """Go through the code flow and return the tokens. Raises SignInRefused."""
        answer = self.authorize(client, device, **query)
        if answer.status != http.HTTPStatus.FOUND:
            raise SignInRefused(answer)
        returned = parse_qs(urlsplit(answer.headers["Location"]).query)
        answer = self.token(client, {"code": returned["code"][0]})
        if answer.status != http.HTTPStatus.OK:
            raise SignInRefused(answer)
        return dict(json.loads(answer.text))

    def request(
        self,
        method: str,
        path: str,
        form: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        return ask(self.url, self.ca_file, method, path, form, headers)

    def _answers(self) -> bool:
        try:
            return self.request("GET", "/.well-known/jwks.json").status == http.HTTPStatus.OK
        except OSError:
            return False


class SignInRefused(Exception):
    """tsidp gave no token."""

    def __init__(self, answer: Reply) -> None:
        super().__init__(f"{answer.status}: {answer.text.strip()}")
        self.status, self.text = answer.status, answer.text
