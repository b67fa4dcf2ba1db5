"""Asks one thing over HTTP and takes whatever answer comes, within bounds of size and time."""

from __future__ import annotations

import ssl
import time
from collections.abc import Mapping
from typing import Final

import aiohttp
from yarl import URL

from proxy.bounded import read_bounded
from proxy.tools.doctor.answer import Answer

TIMEOUT: Final = 10.0  # seconds, as long as serve itself waits for an issuer
MAX_BYTES: Final = 1 << 20


class NoAnswer(Exception):
    """Nothing came that is HTTP; the text says what was seen."""


async def ask(
    session: aiohttp.ClientSession,
    url: str,
    *,
    tls: ssl.SSLContext | None = None,
    proxy: str | None = None,
    method: str = "GET",
    body: str | None = None,
    headers: Mapping[str, str] | None = None,
    server_name: str | None = None,
) -> Answer:
    """Make one request; no redirect is followed. Raises NoAnswer.

    ``server_name`` is whom the certificate must be for, if not the URL's host.
    """
    timeout = aiohttp.ClientTimeout(total=TIMEOUT)
    try:
        async with session.request(
            method,
            URL(url, encoded=True),
            data=body,
            headers=headers,
            proxy=proxy,
            ssl=tls if tls is not None else True,
            timeout=timeout,
            allow_redirects=False,
            server_hostname=server_name,
        ) as response:
            content = await read_bounded(response.content, MAX_BYTES)
            return Answer(url, response.status, response.headers, content, time.time())
    except TimeoutError:
        raise NoAnswer(f"{url} did not answer within {TIMEOUT:g} s") from None
    except Exception as error:
        raise NoAnswer(f"{url}: {str(error) or type(error).__name__}") from error
