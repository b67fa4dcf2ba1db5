"""What stands around the proxies: an issuer, certificates, tokens and the upstream.

The upstream of requests is an nginx that serves files, because it costs least. It counts what it
was asked, so that CPU and requests can be compared over a window within a run.
"""

from __future__ import annotations

import re
import time
import urllib.request
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final, Self

import trustme

from bench import nginx
from tests.issuer import FakeIssuer
from tests.process import free_port
from tests.serving import issuer_in_thread

USERS: Final = 8  # of wrk's requests, in turn
CREDENTIAL: Final = "x" * 1000  # as long as a service account's token
SIZES: Final = (100, 400, 1024, 10_240, 102_400, 1 << 20, 5 << 20, 10 << 20)  # bytes
LONG: Final = 4 * 3600  # seconds for which a token is good, so that no run outlives it


class Stage:
    """Everything that the proxies need; enter it first."""

    issuer: FakeIssuer

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ca_file = folder / "ca.crt"
        self.token_file = folder / "token"
        self.certificate, self.key = folder / "tls.crt", folder / "tls.key"
        self.files_port, self.count_port = free_port(), free_port()
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with self._stack as stack:
            ca = trustme.CA()
            issued = ca.issue_cert("127.0.0.1", "localhost")
            ca.cert_pem.write_to_path(self.ca_file)
            issued.private_key_pem.write_to_path(self.key)
            issued.cert_chain_pems[0].write_to_path(self.certificate)
            self.token_file.write_text(CREDENTIAL)
            www = self.folder / "www"
            www.mkdir()
            for size in SIZES:
                (www / str(size)).write_bytes(b"x" * size)
            self.folder.chmod(0o755)  # nginx's worker is another user
            self.issuer, _ = stack.enter_context(issuer_in_thread())
            stack.enter_context(
                nginx.files(self.folder, self.files_port, self.count_port, self.certificate, www)
            )
            self.tokens_file = self.write_tokens("users", self.tokens(USERS))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def tokens(self, count: int, groups: int = 3) -> list[str]:
        """Mint tokens of as many users, good for the whole run."""
        names = [f"team-{n:03}" for n in range(groups)]
        mint = self.issuer.token
        until = int(time.time()) + LONG
        return [mint(f"user-{n}@example.com", names, exp=until) for n in range(count)]

    def write_tokens(self, name: str, tokens: Sequence[str]) -> Path:
        path = self.folder / f"{name}.tokens"
        path.write_text("".join(f"{token}\n" for token in tokens))
        return path

    def served(self) -> int:
        """Return how many requests the upstream has been sent so far."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.count_port}/") as answer:
            found = re.search(r"\n\s*\d+ \d+ (\d+)", answer.read().decode())
        assert found
        return int(found[1])
