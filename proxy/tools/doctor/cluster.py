"""The API server, as one credential finds it: reviews, and plain reads.

Whatever is asked here changes nothing. No answer is a value, as for a review.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import aiohttp

from proxy.bounded import read_bounded
from proxy.config import Config
from proxy.credentials.endpoint import Upstream
from proxy.credentials.kubeconfig import Kubeconfig, KubeconfigError, parse_kubeconfig
from proxy.errors import CredentialUnavailable
from proxy.files import FollowedFile, explain
from proxy.reviews.client import Reviewer
from proxy.reviews.documents import Outcome, Unknown
from proxy.tools.doctor import bindings
from proxy.tools.doctor.answer import Answer
from proxy.tools.doctor.bindings import Bindings

TIMEOUT: Final = 10.0  # seconds for one read
_MAX_BYTES: Final = 8 << 20  # of one page
_PAGE: Final = 500
_PAGES: Final = 40


class Cluster:
    """The API server to whoever ``way`` says that we are."""

    def __init__(self, way: Kubeconfig, session: aiohttp.ClientSession) -> None:
        self.way = way
        self.upstream = way.upstream
        self.credential = way.credential()
        self.reviewer = Reviewer(way.upstream, self.credential, _uncounted)
        self._url = f"https://{way.upstream.authority.decode()}"
        self._session = session

    async def get(self, path: str) -> Answer | Unknown:
        """Read what is at ``path``."""
        try:
            async with asyncio.timeout(TIMEOUT):
                return await self._get(path)
        except CredentialUnavailable as error:
            return Unknown(error.detail)
        except TimeoutError:
            return Unknown(f"GET {path}: no answer within {TIMEOUT:g} s")
        except (aiohttp.ClientError, OSError, EOFError, ValueError) as error:
            return Unknown(f"GET {path}: {str(error) or type(error).__name__}")

    async def items(self, path: str) -> list[Any] | Unknown:
        """Read a whole list, page by page."""
        found: list[Any] = []
        more = ""
        for _ in range(_PAGES):
            answer = await self.get(f"{path}?limit={_PAGE}{more}")
            if isinstance(answer, Unknown):
                return answer
            document = document_of(answer)
            if answer.status != 200:
                message = document.get("message", "")
                return Unknown(f"GET {path}: {answer.status} {message}", answer.status)
            found += document.get("items") or []
            if not (token := (document.get("metadata") or {}).get("continue")):
                return found
            more = f"&continue={quote(token)}"
        return Unknown(f"GET {path}: more than {_PAGE * _PAGES} items")

    async def bindings(self) -> Bindings | Unknown:
        """Read all of RBAC, if that is allowed."""
        listed: dict[str, list[Any]] = {}
        for kind, path in bindings.PATHS.items():
            items = await self.items(path)
            if isinstance(items, Unknown):
                return items
            listed[kind] = items
        return bindings.read(listed)

    async def why_not(self, token: bytes) -> str:
        """Return why the API server takes ``token`` for nobody's, in its own words, or nothing."""
        answer = await self.reviewer.token(token)
        return "" if isinstance(answer, Unknown) else answer.error

    async def _get(self, path: str) -> Answer:
        line = self.credential.header(time.time())
        if line is None:
            await self.credential.renew()
            line = self.credential.header(time.time()) or b""
        name, _, value = line.decode("ascii").strip().partition(": ")
        async with self._session.get(
            self._url + path,
            headers={"Accept": "application/json", **({name: value} if name else {})},
            ssl=self.credential.ssl_context(),
            server_hostname=self.upstream.server_name,
            allow_redirects=False,
        ) as response:
            body = await read_bounded(response.content, _MAX_BYTES)
            return Answer(str(response.url), response.status, response.headers, body, time.time())


def document_of(answer: Answer) -> Mapping[str, Any]:
    """Return what an answer holds, as an object; an empty one if it is none."""
    document = answer.json()
    return document if isinstance(document, dict) else {}


@contextlib.asynccontextmanager
async def opened(way: Kubeconfig, session: aiohttp.ClientSession) -> AsyncIterator[Cluster]:
    cluster = Cluster(way, session)
    try:
        yield cluster
    finally:
        await cluster.reviewer.close()


def way_of(config: Config) -> Kubeconfig | None:
    """Return how ``serve`` reaches the API server; None where nothing says so.

    Raises KubeconfigError.
    """
    if config.kubeconfig is not None:
        return way_of_kubeconfig(config.kubeconfig)
    if config.upstream is None or config.upstream_token_file is None:
        return None
    ca = config.upstream_ca_file
    host = config.upstream.host
    return Kubeconfig(
        upstream=Upstream(host, config.upstream.port, host.rstrip(".")),
        ca=None if ca is None else FollowedFile(ca, "--upstream-ca-file"),
        token=FollowedFile(config.upstream_token_file, "--upstream-token-file"),
        certificate=None,
        key=None,
        plugin=None,
    )


def way_of_kubeconfig(path: Path) -> Kubeconfig:
    """Return what a kubeconfig's current context says. Raises KubeconfigError."""
    try:
        text = path.read_bytes().decode()
    except OSError as error:
        raise KubeconfigError([f"it cannot be read: {explain(error)}"]) from error
    except UnicodeDecodeError as error:
        raise KubeconfigError(["it is not text in UTF-8"]) from error
    return parse_kubeconfig(text, path.absolute().parent)


def _uncounted(_kind: str, _outcome: Outcome, _seconds: float) -> None:
    """Nobody counts what is asked here."""
