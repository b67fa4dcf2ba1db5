"""A client whose own token goes on: nothing of ours goes along, in head or connection."""

from __future__ import annotations

import re

import pytest

from proxy.errors import CredentialUnavailable
from tests.http.conftest import AUDIT_ID, Proxy

GET = b"GET /api/v1/pods HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer robots\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
UNAUTHORIZED = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\nno"


@pytest.fixture
def passing(proxy: Proxy) -> Proxy:
    proxy.gate.passes = True
    return proxy


async def test_the_head_carries_the_clients_token_and_no_identity(passing: Proxy) -> None:
    client = await passing.client()
    client.send(GET + b"Accept: */*\r\nX-Remote-User: root\r\nCookie: a=b\r\n\r\n")
    api = await passing.upstream.connection()
    head = re.sub(AUDIT_ID, b"\r\nAudit-Id: its\r\n", await api.read_head())
    assert head == (
        b"GET /api/v1/pods HTTP/1.1\r\nHost: cluster.example\r\nAudit-Id: its\r\n"
        b"Authorization: Bearer robots\r\nAccept: */*\r\n\r\n"
    )
    api.send(OK)
    assert (await client.answer()).status == 200


async def test_it_never_travels_on_a_connection_of_ours_nor_the_other_way_round(
    proxy: Proxy,
) -> None:
    """The API server would take a client certificate for who is asking, before any token."""
    client, ours = await proxy.asked(GET + b"\r\n")
    ours.send(OK)
    await client.answer()
    assert (proxy.pool.idle, proxy.bare_pool.idle) == (1, 0)

    proxy.gate.passes = True
    client, bare = await proxy.asked(GET + b"\r\n")
    bare.send(OK)
    await client.answer()
    assert (proxy.pool.idle, proxy.bare_pool.idle) == (1, 1)

    client.send(GET + b"\r\n")
    await bare.read_head()
    bare.send(OK)
    await client.answer()
    proxy.gate.passes = False
    client.send(GET + b"\r\n")
    assert b"Bearer the-proxy-itself" in await ours.read_head()
    ours.send(OK)
    await client.answer()
    assert proxy.upstream.accepted == 2


async def test_our_own_credential_is_not_even_looked_at(passing: Proxy) -> None:
    passing.credential.error = CredentialUnavailable("gone")
    client, api = await passing.asked(GET + b"\r\n")
    api.send(OK)
    assert (await client.answer()).status == 200


async def test_a_401_is_the_clients(passing: Proxy) -> None:
    client, api = await passing.asked(GET + b"\r\n")
    api.send(UNAUTHORIZED)
    answer = await client.answer()
    assert (answer.status, answer.body) == (401, b"no")
    assert (passing.credential.rereads, passing.seen.retries) == (0, 0)


async def test_an_upgrade_is_a_tunnel_with_the_clients_token(passing: Proxy) -> None:
    passing.gate.protocols = b"v5.x"
    client, api = await passing.asked(
        GET + b"Connection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Protocol: v5.x, base64url.bearer.authorization.k8s.io.eA\r\n\r\n"
    )
    api.send(
        b"HTTP/1.1 101 Switching Protocols\r\n"
        b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\nhello"
    )
    assert (await client.read_until(b"hello")).startswith(b"HTTP/1.1 101 ")
    client.send(b"ping")
    assert await api.read_exactly(4) == b"ping"
