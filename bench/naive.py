"""The proxy that one would write first: aiohttp on both sides, PyJWT between them.

It verifies a token once and keeps the result, strips the bearer, writes the identity and passes
bodies on as they come; WebSockets are pumped message by message. It stands here to be measured.

    python -m bench.naive PORT CERTIFICATE UPSTREAM_PORT CA_FILE ISSUER AUDIENCE JWKS CREDENTIAL
"""

from __future__ import annotations

import asyncio
import ssl
import sys
import time
from pathlib import Path
from typing import Any

import aiohttp
import jwt
from aiohttp import web
from multidict import CIMultiDict

_DROPPED = {
    *("authorization", "connection", "cookie", "host", "keep-alive", "te", "trailer", "upgrade"),
    *("transfer-encoding", "content-length", "expect", "proxy-authorization"),
}
_OWN = {"connection", "keep-alive", "transfer-encoding", "set-cookie", "upgrade"}


class Naive:
    """One handler for everything."""

    def __init__(self, upstream: str, issuer: str, audience: str, keys: Path, token: Path) -> None:
        self._upstream, self._issuer, self._audience = upstream, issuer, audience
        self._credential = token.read_text()
        self._keys = jwt.PyJWKSet.from_json(keys.read_text())
        self._verified: dict[str, dict[str, Any]] = {}
        self.session: aiohttp.ClientSession

    async def handle(self, request: web.Request) -> web.StreamResponse:
        if any(name.lower().startswith("impersonate-") for name in request.headers):
            raise web.HTTPForbidden
        try:
            claims = self._claims(request.headers.get("Authorization", "").partition(" ")[2])
        except (jwt.PyJWTError, KeyError):
            raise web.HTTPUnauthorized from None
        headers = CIMultiDict(
            (name, value) for name, value in request.headers.items() if name.lower() not in _DROPPED
        )
        headers["Authorization"] = f"Bearer {self._credential}"
        headers["Impersonate-User"] = claims["email"]
        for group in [*claims.get("groups", []), "headlamp-auth-proxy:authenticated"]:
            headers.add("Impersonate-Group", group)
        if request.headers.get("Upgrade", "").lower() == "websocket":
            return await self._tunnel(request, headers)
        async with self.session.request(
            request.method,
            self._upstream + request.raw_path,
            headers=headers,
            data=request.content if request.can_read_body else None,
            allow_redirects=False,
        ) as answer:
            passed = [(n, v) for n, v in answer.headers.items() if n.lower() not in _OWN]
            response = web.StreamResponse(status=answer.status, headers=CIMultiDict(passed))
            await response.prepare(request)
            async for part in answer.content.iter_any():
                await response.write(part)
            await response.write_eof()
            return response

    def _claims(self, token: str) -> dict[str, Any]:
        claims = self._verified.get(token)
        if claims is None:
            key = self._keys[jwt.get_unverified_header(token)["kid"]]
            claims = jwt.decode(
                token, key, algorithms=["RS256"], audience=self._audience, issuer=self._issuer
            )
            self._verified[token] = claims
        elif claims["exp"] < time.time():
            raise jwt.ExpiredSignatureError
        return claims

    async def _tunnel(self, request: web.Request, headers: CIMultiDict[str]) -> web.StreamResponse:
        for name in [name for name in headers if name.lower().startswith("sec-websocket-")]:
            del headers[name]
        here = web.WebSocketResponse(compress=False, max_msg_size=0)
        await here.prepare(request)
        url = self._upstream + request.raw_path
        async with self.session.ws_connect(url, headers=headers, max_msg_size=0) as there:
            pumps = [
                asyncio.create_task(_pump(here, there)),
                asyncio.create_task(_pump(there, here)),
            ]
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            for pump in pumps:
                pump.cancel()
        return here


async def _pump(
    source: web.WebSocketResponse | aiohttp.ClientWebSocketResponse,
    sink: web.WebSocketResponse | aiohttp.ClientWebSocketResponse,
) -> None:
    async for message in source:
        await sink.send_bytes(message.data)


async def main() -> None:
    port, certificate, upstream, ca_file, issuer, audience, keys, credential = sys.argv[1:]
    naive = Naive(f"https://127.0.0.1:{upstream}", issuer, audience, Path(keys), Path(credential))
    app = web.Application(client_max_size=1 << 40)
    app.router.add_route("*", "/{path:.*}", naive.handle)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, Path(certificate).with_suffix(".key"))
    trust = ssl.create_default_context(cafile=ca_file)
    connector = aiohttp.TCPConnector(ssl=trust, limit=0)
    no_limit = aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(
        connector=connector, timeout=no_limit, auto_decompress=False
    ) as naive.session:
        runner = web.AppRunner(app, handler_cancellation=True)  # or dead watches would stay
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", int(port), ssl_context=tls, backlog=8192).start()
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
