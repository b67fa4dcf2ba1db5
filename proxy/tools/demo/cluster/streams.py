"""Answers that take their time: watches, logs, and exec over WebSocket.

A watch is a line of JSON a change. Of exec, both channel protocols are spoken: in a message the
first byte is the channel, and v5 can also say that a channel has ended, where v4 cannot. SPDY is
not: kubectl asks for it only where WebSocket fails.
Source: k8s.io/apimachinery/pkg/util/remotecommand.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Any, Final

from aiohttp import WSMsgType, web

from proxy.tools.demo.cluster.contents import LOG
from proxy.tools.demo.cluster.programs import Program, start
from proxy.tools.demo.cluster.statuses import bad_request

PROTOCOLS: Final = ("v5.channel.k8s.io", "v4.channel.k8s.io")
STDIN, STDOUT, STDERR, ERROR, CLOSE = 0, 1, 2, 3, 255
BEAT: Final = 1.0  # seconds between two lines of a followed log


async def send_events(
    request: web.Request, events: AsyncIterator[dict[str, Any]], seconds: float | None
) -> web.StreamResponse:
    """Send a watch, for as long as the client wants it and at most ``seconds``."""
    answer = web.StreamResponse(headers={"Content-Type": "application/json"})
    await answer.prepare(request)
    try:
        async with asyncio.timeout(seconds):
            async for event in events:
                await answer.write(json.dumps(event).encode() + b"\n")
    except TimeoutError:
        pass
    await answer.write_eof()
    return answer


async def send_log(request: web.Request) -> web.StreamResponse:
    """Send a pod's log; a followed one grows by a line a second."""
    query = request.query
    lines = list(LOG)
    if (tail := query.get("tailLines", "")).isdecimal():
        lines = lines[len(lines) - min(int(tail), len(lines)) :]
    answer = web.StreamResponse(headers={"Content-Type": "text/plain"})
    await answer.prepare(request)
    await answer.write("".join(f"{line}\n" for line in lines).encode())
    while query.get("follow") in ("1", "true"):
        await asyncio.sleep(BEAT)
        await answer.write(f"GET /prices 200 {time.time_ns() // 1000 % 9 + 1}ms\n".encode())
    await answer.write_eof()
    return answer


async def serve_exec(request: web.Request, pod: str) -> web.StreamResponse:
    """Let a client speak with a program in ``pod``."""
    socket = web.WebSocketResponse(protocols=PROTOCOLS)
    if not socket.can_prepare(request):
        raise bad_request(
            "the sample cluster serves exec over WebSocket only (kubectl 1.31 or later)"
        )
    await socket.prepare(request)
    query = request.query
    stdin, tty = (query.get(name) in ("1", "true") for name in ("stdin", "tty"))
    program = start(query.getall("command", []), pod, stdin=stdin, tty=tty)
    await _converse(socket, program)
    if not socket.closed:
        status = json.dumps(_status(program.exit_code or 0)).encode()
        await socket.send_bytes(bytes([ERROR]) + status)
        await socket.close()
    return socket


async def _converse(socket: web.WebSocketResponse, program: Program) -> None:
    await _put_out(socket, program)
    while program.exit_code is None:
        message = await socket.receive()
        if message.type is not WSMsgType.BINARY:
            program.end()  # the client has gone, or speaks something else
        elif message.data == bytes([CLOSE, STDIN]):
            program.end()
        elif message.data[:1] == bytes([STDIN]):
            program.feed(message.data[1:])
        await _put_out(socket, program)


async def _put_out(socket: web.WebSocketResponse, program: Program) -> None:
    for channel, data in ((STDOUT, program.out), (STDERR, program.err)):
        if data and not socket.closed:
            await socket.send_bytes(bytes([channel]) + data)
    program.out = program.err = b""


def _status(exit_code: int) -> dict[str, Any]:
    """Return the last words of an exec (NonZeroExitCodeReason)."""
    if exit_code == 0:
        return {"metadata": {}, "status": "Success"}
    return {
        "metadata": {},
        "status": "Failure",
        "reason": "NonZeroExitCode",
        "message": f"command terminated with non-zero exit code: {exit_code}",
        "details": {"causes": [{"reason": "ExitCode", "message": str(exit_code)}]},
    }
