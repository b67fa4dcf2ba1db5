"""Does reading a session, or recording it, delay what it prints? A thousand frames a second.

    python -m bench.sessions                 # some 90 s
    python -m bench.sessions 10 5            # rounds, seconds of each

The upstream writes a frame each millisecond and puts the time into it; the client, on the same
clock, says how old each is. The ways take turns within a run: without any proxy; through one, by an
upgrade that is no session (unread); an exec (read); an exec that must be recorded (recorded). Only
the ratios mean anything.
"""

from __future__ import annotations

import asyncio
import ssl
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import trustme
import uvloop

from tests.process import Process, free_port
from tests.serving import Serve, issuer_in_thread

PER_SECOND: Final = 1000
CONTENT: Final = 80  # bytes, of which the first are the channel and the time
FRAME: Final = 2 + CONTENT
SWITCH: Final = (
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Protocol: v5.channel.k8s.io\r\n\r\n"
)
SESSION: Final = "/api/v1/namespaces/a/pods/b/exec?command=sh&stdout=1"
NO_SESSION: Final = "/api/v1/namespaces/a/pods/b/proxy/exec"


async def upstream(port: int, certificate: str, key: str) -> None:
    """Answer upgrades with frames for ever, and all else with 404."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            if b"Upgrade: websocket" not in head:
                writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
                return
            writer.write(SWITCH)
            due = time.perf_counter()
            while not writer.is_closing():
                due += 1 / PER_SECOND
                await asyncio.sleep(max(0.0, due - time.perf_counter()))
                stamp = b"\x01%d" % time.perf_counter_ns()
                writer.write(b"\x82" + bytes([CONTENT]) + stamp.ljust(CONTENT))
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)
    await (await asyncio.start_server(serve, "127.0.0.1", port, ssl=tls)).serve_forever()


async def ages(port: int, path: str, token: str, seconds: float) -> list[float]:
    """Return how old each frame was when it came, in microseconds, oldest last."""
    anybody = ssl._create_unverified_context()
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=anybody)
    head = (
        f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n"
        "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
        "Sec-WebSocket-Protocol: v5.channel.k8s.io\r\n\r\n"
    )
    writer.write(head.encode())
    assert b" 101 " in await reader.readuntil(b"\r\n\r\n")
    found = []
    for n in range(int(seconds * PER_SECOND)):
        frame = await reader.readexactly(FRAME)
        if n >= PER_SECOND // 5:  # what is new is slow
            found.append((time.perf_counter_ns() - int(frame[3:])) / 1000)
    writer.transport.abort()
    return sorted(found)


def main(rounds: int, seconds: float) -> None:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        ca = trustme.CA()
        issued = ca.issue_cert("127.0.0.1", "localhost")
        ca.cert_pem.write_to_path(folder / "ca.crt")
        issued.private_key_pem.write_to_path(folder / "tls.key")
        issued.cert_chain_pems[0].write_to_path(folder / "tls.crt")
        (folder / "token").write_text("the-proxy-itself")
        issuer, _ = stack.enter_context(issuer_in_thread())
        port = free_port()
        argv = [sys.executable, "-m", "bench.sessions", "--upstream", str(port)]
        process = Process([*argv, folder / "tls.crt", folder / "tls.key"], folder / "upstream.log")
        stack.callback(process.stop, 5)

        def start(name: str, *flags: str) -> int:
            (folder / name).mkdir()
            serve = Serve(
                folder / name,
                f"--oidc-issuer-url={issuer.url}",
                f"--oidc-client-id={issuer.client_id}",
                f"--oidc-ca-file={issuer.ca_file}",
                f"--upstream=https://127.0.0.1:{port}",
                f"--upstream-ca-file={folder / 'ca.crt'}",
                f"--upstream-token-file={folder / 'token'}",
                "--shutdown-grace=0s",
                *flags,
            )
            stack.enter_context(serve).wait_ready()
            return serve.port

        plain = start("plain")
        files = folder / "recordings"
        recording = start(
            "recording", f"--record-sessions={files}", "--record-sessions-failure=closed"
        )
        ways = {
            "direct": (port, SESSION),
            "unread": (plain, NO_SESSION),
            "read": (plain, SESSION),
            "recorded": (recording, SESSION),
        }
        measured: dict[str, list[list[float]]] = {name: [] for name in ways}
        for _ in range(rounds):
            token = issuer.token("alice@example.com", exp=int(time.time()) + 3600)
            for name, (to, path) in ways.items():
                measured[name].append(uvloop.run(ages(to, path, token, seconds)))
        sys.stdout.write(_table(measured, f"{rounds} rounds of {seconds:g} s"))
        sizes = [path.stat().st_size for path in files.iterdir()]
        sys.stdout.write(f"{len(sizes)} recordings, {sum(sizes) >> 10} KiB\n")


def _table(measured: dict[str, list[list[float]]], title: str) -> str:
    medians, tails = (
        {name: statistics.median(x[len(x) * part // 100] for x in rounds) for name, rounds in found}
        for part, found in ((50, measured.items()), (99, measured.items()))
    )
    lines = [f"{title}, {PER_SECOND} frames a second, microseconds"]
    lines.append(f"{'':10}{'median':>10}{'p99':>10}{'to unread':>18}")
    for name in measured:
        ratios = medians[name] / medians["unread"], tails[name] / tails["unread"]
        row = f"{name:10}{medians[name]:10.0f}{tails[name]:10.0f}"
        lines.append(f"{row}{ratios[0]:10.2f}{ratios[1]:8.2f}")
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    if sys.argv[1:2] == ["--upstream"]:
        uvloop.run(upstream(int(sys.argv[2]), sys.argv[3], sys.argv[4]))
    else:
        given = [float(word) for word in sys.argv[1:3]]
        main(*(int(given[0]), given[1]) if len(given) == 2 else (5, 4.0))
