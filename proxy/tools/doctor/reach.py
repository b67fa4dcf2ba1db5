"""The way to an address, step by step: the name, the connection, the certificate.

An HTTP client does the same in one step and tells less of what went wrong. Nothing is sent but what
it takes to see it: a certificate that is refused is fetched once more, unverified, to be read.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import time
from collections.abc import AsyncIterator
from typing import Final
from urllib.parse import urlsplit

from proxy.tools.doctor.trouble import (
    Kind,
    Peer,
    Reached,
    Trouble,
    described,
    read_peer,
    refused_certificate,
)

STEP: Final = 5.0  # seconds for one step to one address
_HTTP_ANSWER: Final = (
    "HTTP_REQUEST|WRONG_VERSION_NUMBER|PACKET_LENGTH_TOO_LONG|RECORD_LAYER_FAILURE"
)

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def reach(
    url: str, context: ssl.SSLContext, proxy: str | None = None, server_name: str = ""
) -> Reached:
    """Go to ``url``, through ``proxy`` (http:// or socks5h://) if there is one. Raises Trouble.

    ``server_name`` stands where the certificate is for another name than the URL's.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    expected = server_name or host
    port = parts.port or (443 if parts.scheme == "https" else 80)
    addresses = () if proxy else await _addresses(host, port)
    async with _connected(host, port, addresses, proxy) as (_, writer):
        if parts.scheme != "https":
            return Reached(addresses)
        try:
            async with asyncio.timeout(STEP):
                await writer.start_tls(context, server_hostname=expected)
        except ssl.SSLCertVerificationError as error:
            refusal = error
        except (OSError, EOFError) as error:
            raise _no_tls(error, f"{host}:{port}", addresses) from error
        else:
            return Reached(addresses, _peer(writer)[0])
    peer, sent = await _unverified(host, port, addresses, proxy)
    code, message = refusal.verify_code, refusal.verify_message
    now = time.time()
    kind = refused_certificate(code, message, peer, sent, now)
    saw = f"{host}:{port}: {described(kind, peer, expected, now)}"
    raise Trouble(kind, saw, addresses, peer) from refusal


async def _addresses(host: str, port: int) -> tuple[str, ...]:
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(STEP):
            found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        raise Trouble(Kind.NAME, f"the name {host} has no address: {error.strerror}") from error
    except (TimeoutError, UnicodeError) as error:
        saw = f"the name {host} was not looked up within {STEP:g} s"
        raise Trouble(Kind.NAME, saw) from error
    return tuple(dict.fromkeys(str(entry[4][0]) for entry in found))


@contextlib.asynccontextmanager
async def _connected(
    host: str, port: int, addresses: tuple[str, ...], proxy: str | None
) -> AsyncIterator[Streams]:
    if proxy:
        reader, writer = await _through(proxy, host, port)
    else:
        reader, writer = await _directly(host, port, addresses)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def _directly(host: str, port: int, addresses: tuple[str, ...]) -> Streams:
    troubles = []
    for address in addresses[:3]:
        try:
            async with asyncio.timeout(STEP):
                return await asyncio.open_connection(address, port)
        except TimeoutError:
            saw = f"{host}:{port} ({address}) does not answer within {STEP:g} s"
            troubles.append(Trouble(Kind.SILENT, saw, addresses))
        except ConnectionRefusedError:
            saw = f"{host}:{port} ({address}) refuses the connection"
            troubles.append(Trouble(Kind.REFUSED, saw, addresses))
        except OSError as error:
            saw = f"{host}:{port} ({address}): {error.strerror or error}"
            troubles.append(Trouble(Kind.SILENT, saw, addresses))
    raise troubles[0]


async def _through(proxy: str, host: str, port: int) -> Streams:
    from python_socks import ProxyConnectionError, ProxyError
    from python_socks.async_.asyncio import Proxy

    url = proxy.replace("socks5h:", "socks5:")
    try:
        connector = Proxy.from_url(url, rdns=True)
        sock = await connector.connect(host, port, timeout=2 * STEP)
        return await asyncio.open_connection(sock=sock)
    except (ProxyConnectionError, EOFError) as error:
        reason = str(error) or type(error).__name__
        raise Trouble(Kind.PROXY, f"there is no proxy at {_bare(proxy)}: {reason}") from error
    except (ProxyError, OSError, TimeoutError) as error:
        reason = str(error) or type(error).__name__
        saw = f"the proxy {_bare(proxy)} does not get to {host}:{port}: {reason}"
        raise Trouble(Kind.SILENT, saw) from error


def _bare(proxy: str) -> str:
    """Return a proxy's URL without a password that may be in it."""
    parts = urlsplit(proxy)
    return f"{parts.scheme}://{parts.hostname}:{parts.port}"


def _no_tls(error: Exception, where: str, addresses: tuple[str, ...]) -> Trouble:
    if isinstance(error, TimeoutError):
        return Trouble(Kind.SILENT, f"{where}: no TLS handshake within {STEP:g} s", addresses)
    if not isinstance(error, ssl.SSLError):
        return Trouble(Kind.CLOSED, f"{where} closes the connection when TLS begins", addresses)
    reason = error.reason or str(error)
    if any(name in reason for name in _HTTP_ANSWER.split("|")):
        return Trouble(Kind.NOT_TLS, f"{where} does not speak TLS ({reason})", addresses)
    if "EOF" in reason:
        return Trouble(Kind.CLOSED, f"{where} closes the connection when TLS begins", addresses)
    return Trouble(Kind.TLS, f"{where}: no TLS ({reason})", addresses)


async def _unverified(
    host: str, port: int, addresses: tuple[str, ...], proxy: str | None
) -> tuple[Peer, int]:
    """Return the certificate that was refused, and how many came with it; nothing is sent."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    async with _connected(host, port, addresses, proxy) as (_, writer):
        try:
            async with asyncio.timeout(STEP):
                await writer.start_tls(context, server_hostname=host)
            peer, sent = _peer(writer)
        except (OSError, EOFError, ValueError) as error:
            raise _no_tls(error, f"{host}:{port}", addresses) from error
    if peer is None:
        raise Trouble(Kind.TLS, f"{host}:{port} shows no certificate", addresses)
    return peer, sent


def _peer(writer: asyncio.StreamWriter) -> tuple[Peer | None, int]:
    connection = writer.get_extra_info("ssl_object")
    der = connection.getpeercert(binary_form=True)
    chain: list[object] = connection._sslobj.get_unverified_chain() or []  # noqa: SLF001 (public from 3.13 on)
    return (read_peer(der) if der else None), max(len(chain), 1)
