"""Sessions in a running data plane: the tunnel is as it was, and the policy is kept."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from proxy.errors import RecordingFailed
from proxy.sessions.channels import ERROR, STDIN, STDOUT
from proxy.sessions.recorder import Recorder
from proxy.sessions.sessions import Sessions
from tests.conftest import Tls
from tests.http.conftest import Proxy, run_proxy
from tests.sessions.frames import message, status, websocket
from tests.wire import PATIENCE, Client, Peer, Upstream

EXEC = (
    b"GET /api/v1/namespaces/a/pods/b/exec?command=sh&container=main HTTP/1.1\r\nHost: x\r\n"
    b"Authorization: Bearer alice\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Key: k\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Protocol: v4.channel.k8s.io\r\n\r\n"
)
SWITCH = (
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Accept: a\r\nSec-WebSocket-Protocol: v4.channel.k8s.io\r\n\r\n"
)
SPDY = EXEC.replace(b"websocket", b"SPDY/3.1")
READ_NODE = (
    b"GET /api/v1/nodes/n/proxy/metrics HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer alice\r\n\r\n"
)
NODE = b"/api/v1/nodes/n/proxy/run/a/b/main"

Start = Callable[..., Awaitable[Proxy]]


@pytest.fixture
async def start(tls: Tls, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Start]:
    """Start a proxy that looks at sessions, and with ``record`` records them."""
    monkeypatch.setattr("proxy.http.listener.LINGER", 0.1)
    async with AsyncExitStack() as stack:
        upstream = await stack.enter_async_context(Upstream.run(tls.server))

        async def begin(
            *, record: Path | None = tmp_path, required: bool = False, max_bytes: int = 1 << 20
        ) -> Proxy:
            recorder = Recorder(record, max_bytes) if record else None
            if recorder:
                stack.callback(recorder.close)
            sessions = Sessions(recorder, required=required)
            return await stack.enter_async_context(run_proxy(tls, upstream, sessions=sessions))

        yield begin


async def opened(proxy: Proxy) -> tuple[Client, Peer]:
    client, api = await proxy.asked(EXEC)
    api.send(SWITCH)
    await client.read_head()
    return client, api


async def ended(proxy: Proxy, client: Client) -> dict[str, str]:
    """End the session, and return the annotations, prefix left out."""
    await client.end("close")
    (exchange,) = await proxy.seen.ended_exchanges(1)
    return {key.rpartition("/session-")[2]: value for key, value in exchange.annotations.items()}


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what a thread does, which tells nobody."""
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


async def recorded(folder: Path) -> Path:
    """Wait until there is one file, and it is whole."""
    await until(lambda: [name[-5:] for name in names(folder)] == [".cast"])
    return folder / names(folder)[0]


async def test_facts_and_recording_of_a_session(start: Start, tmp_path: Path) -> None:
    proxy = await start()
    client, api = await proxy.asked(EXEC)
    first = message(STDOUT, b"behind the head")
    api.send(SWITCH + first)
    await client.read_until(first)
    client.send(typed := message(STDIN, b"a password", masked=True))
    assert await api.read_exactly(len(typed)) == typed
    api.send(last := message(ERROR, status(3)))
    await client.read_exactly(len(last))
    facts = await ended(proxy, client)
    assert facts.pop("duration").endswith("s")
    (exchange,) = proxy.seen.exchanges
    assert facts == {
        "container": "main",
        "command": '["sh"]',
        "exit-status": "3",
        "bytes-in": str(len(typed)),
        "bytes-out": str(len(first) + len(last)),
        "recording": facts["recording"],
    }
    path = await recorded(tmp_path)
    assert path.name == facts["recording"]
    assert path.name.endswith(f"Z-{exchange.audit_id}.cast")
    text = path.read_text()
    assert "password" not in text
    header, event, mark = map(json.loads, text.splitlines())
    assert header["headlamp-auth-proxy"] == {
        "auditID": exchange.audit_id,
        "user": "alice",
        "groups": ["developers", "headlamp-auth-proxy:authenticated"],
        "client": "127.0.0.1",
        "namespace": "a",
        "pod": "b",
        "container": "main",
        "subresource": "exec",
        "command": ["sh"],
        "tty": False,
    }
    assert event[1:] == ["o", "behind the head"]
    assert mark[1:] == ["m", "exit status 3"]


async def test_names_cannot_lead_out_of_the_directory(start: Start, tmp_path: Path) -> None:
    proxy = await start(record=(inside := tmp_path / "in"))
    inside.mkdir()
    named = EXEC.replace(b"Bearer alice", b"Bearer ../../alice/..")
    client, api = await proxy.asked(named.replace(b"/a/pods/b/", b"/../pods/%2e%2e/"))
    api.send(SWITCH)
    await client.read_head()
    await ended(proxy, client)
    await recorded(inside)
    assert names(tmp_path) == ["in"]


@pytest.mark.parametrize("required", [False, True])
async def test_what_no_reader_understands_passes_as_it_is(start: Start, required: bool) -> None:
    """Client bytes never matter to a recording, so even a required one goes on."""
    proxy = await start(required=required)
    client, api = await opened(proxy)
    for seed in range(20):
        noise = random.Random(seed).randbytes(5000)
        client.send(noise)
        assert await api.read_exactly(len(noise)) == noise
    assert (await ended(proxy, client))["exit-status"] == "unknown"


async def test_what_the_api_server_says_beyond_our_understanding_passes_too(
    start: Start, tmp_path: Path
) -> None:
    proxy = await start()
    client, api = await opened(proxy)
    noise = websocket(b"compressed", rsv=0x40) + random.Random(1).randbytes(5000)
    api.send(message(STDOUT, b"hello") + noise)
    await client.read_until(noise)
    facts = await ended(proxy, client)
    assert facts["exit-status"] == "unknown"
    assert facts["recording-truncated"] == "what the API server sent could not be read"
    assert "hello" in (await recorded(tmp_path)).read_text()


@pytest.mark.parametrize(
    ("request_", "label"),
    [
        (SPDY, "session_not_recordable"),
        (SPDY.replace(b"/exec", b"/attach"), "session_not_recordable"),
        (EXEC.replace(b"/api/v1/namespaces/a/pods/b/exec", NODE), "session_not_recordable"),
        (
            b"POST %s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer alice\r\n"
            b"Content-Length: 0\r\n\r\n" % NODE,
            "session_not_recordable",
        ),
    ],
)
async def test_what_cannot_be_recorded_is_refused_where_it_must_be(
    start: Start, request_: bytes, label: str
) -> None:
    proxy = await start(required=True)
    client = await proxy.client()
    client.send(request_)
    answer = await client.answer()
    assert (answer.status, json.loads(answer.body)["reason"]) == (403, "Forbidden")
    assert json.loads(answer.body)["details"]["causes"][0]["reason"] == label
    assert proxy.upstream.accepted == 0


@pytest.mark.parametrize(
    "request_",
    [
        SPDY.replace(b"/exec", b"/portforward"),
        SPDY.replace(b"/exec", b"/proxy/exec"),
        READ_NODE,
    ],
)
async def test_what_is_no_terminal_passes_without_a_recording(
    start: Start, request_: bytes
) -> None:
    proxy = await start(required=True)
    await proxy.asked(request_)


async def test_where_recordings_may_fail_spdy_passes(start: Start) -> None:
    proxy = await start()
    await proxy.asked(SPDY)


async def test_a_directory_that_is_gone_refuses_where_it_must_and_spdy_says_the_same(
    start: Start, tmp_path: Path
) -> None:
    """kubectl tries SPDY after WebSocket was refused, and shows what it was told last."""
    proxy = await start(record=tmp_path / "gone", required=True)
    for request in (EXEC, SPDY):
        client = await proxy.client()
        client.send(request)
        answer = await client.answer()
        assert answer.status == 403
        assert b'"recording_failed"' in answer.body
    assert proxy.upstream.accepted == 0


async def test_a_directory_that_is_gone_stops_nobody_where_it_may_fail(
    start: Start, tmp_path: Path
) -> None:
    proxy = await start(record=tmp_path / "gone")
    client, api = await opened(proxy)
    api.send(b"\x82\x01\x01")
    assert await client.read_exactly(3) == b"\x82\x01\x01"


async def test_a_session_that_the_api_server_refuses_leaves_nothing(
    start: Start, tmp_path: Path
) -> None:
    proxy = await start(required=True)
    client, api = await proxy.asked(EXEC)
    api.send(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")
    assert (await client.answer()).status == 403
    await until(lambda: not names(tmp_path))


@pytest.mark.parametrize(
    "switch",
    [
        SWITCH.replace(b"v4.channel", b"v9.channel"),
        SWITCH.replace(b"\r\n\r\n", b"\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n"),
    ],
)
async def test_a_protocol_that_cannot_be_recorded_is_refused_where_it_must_be(
    start: Start, switch: bytes
) -> None:
    proxy = await start(required=True)
    client, api = await proxy.asked(EXEC)
    api.send(switch)
    answer = await client.answer()
    assert answer.status == 403
    assert b'"session_not_recordable"' in answer.body
    assert await api.ended()


async def test_a_session_ends_with_its_recording_where_it_must(
    start: Start, tmp_path: Path
) -> None:
    proxy = await start(required=True, max_bytes=1000)
    client, api = await opened(proxy)
    api.send(message(STDOUT, bytes(2000)))
    await client.read_to_end()
    assert await api.ended()
    (exchange,) = await proxy.seen.ended_exchanges(1)
    assert isinstance(exchange.error, RecordingFailed)
    assert exchange.truncated
    assert (await recorded(tmp_path)).read_text().endswith('"it has reached 1000 bytes"]\n')


async def test_a_session_outlives_its_recording_where_it_may(start: Start) -> None:
    proxy = await start(max_bytes=1000)
    client, api = await opened(proxy)
    api.send(output := message(STDOUT, bytes(2000)) * 100)
    assert await client.read_exactly(len(output)) == output
    api.send(message(ERROR, status(0)))
    await client.read_exactly(len(message(ERROR, status(0))))
    (exchange,) = proxy.seen.under_way
    session = exchange.session
    assert session is not None
    await until(lambda: "recording_truncated" in session.fields())
    facts = await ended(proxy, client)
    assert (facts["exit-status"], facts["recording-truncated"][:14]) == ("0", "it has reached")
