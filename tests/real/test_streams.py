"""A kubelet's streams through the proxy: kubectl and a browser's terminal reach real processes.

kubectl speaks WebSocket (v5 for exec and attach, SPDY inside it for port-forward) or bare SPDY.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import fcntl
import hashlib
import json
import os
import pty
import random
import signal
import socket
import struct
import subprocess
import termios
import threading
from pathlib import Path
from typing import IO, TYPE_CHECKING
from urllib.parse import quote

import aiohttp
import pytest

from tests.kubectl import PATIENCE
from tests.process import free_port
from tests.real.streaming import ALICE, BOB, CAROL, HEADLAMP_PROTOCOLS, TRANSPORTS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.real.streaming import Streams

LARGE = 32 * 1024 * 1024  # bytes
STDIN, STDOUT, STDERR, ERROR, RESIZE = range(5)  # channels of v4.channel.k8s.io

pytestmark = pytest.mark.usefixtures("streams")
each_transport = pytest.mark.parametrize("transport", TRANSPORTS)


def test_the_transports_are_what_they_are_called(streams: Streams) -> None:
    """kube-apiserver translates the new WebSocket protocol for the node, and counts that."""
    streams.pod("web", "sleep", "1000")
    counts = []
    for transport in ("websocket", "spdy", "websocket"):
        streams.kubectl(ALICE, "exec", "web", "--", "true", transport=transport)
        counts.append(translated(streams))
    assert counts[1] == counts[0]
    assert counts[2] == counts[0] + 1


def translated(streams: Streams) -> float:
    metrics = streams.cluster.kubectl("get", "--raw=/metrics").stdout
    name = 'apiserver_stream_translator_requests_total{code="200"}'
    return sum(float(x.split()[1]) for x in metrics.splitlines() if x.startswith(name))


@each_transport
@pytest.mark.parametrize(
    ("ending", "code"), [("exit 0", 0), ("exit 1", 1), ("exit 42", 42), ("kill -9 $$", 137)]
)
def test_exec_brings_output_errors_apart_and_the_exit_code(
    streams: Streams, transport: str, ending: str, code: int
) -> None:
    streams.pod("web", "sleep", "1000")
    script = f"echo out; echo err >&2; {ending}"
    command = ("exec", "web", "--", "sh", "-c", script)
    run = streams.kubectl(ALICE, *command, transport=transport, check=False)
    assert run.stdout == "out\n"
    assert run.stderr.startswith("err\n")
    assert run.returncode == code
    assert ("exit code" in run.stderr) is (code != 0)


@each_transport
def test_the_end_of_the_input_reaches_the_process_and_its_output_goes_on(
    streams: Streams, transport: str
) -> None:
    streams.pod("web", "sleep", "1000")
    script = 'n=$(wc -c); echo "$n bytes and then the end"; head -c 3000000 /dev/zero; echo last'
    command = ("exec", "--stdin", "web", "--", "sh", "-c", script)
    run = streams.kubectl(ALICE, *command, transport=transport, stdin="hello")
    first, rest = run.stdout.split("\n", 1)
    assert first == "5 bytes and then the end"
    assert rest == "\0" * 3_000_000 + "last\n"


@each_transport
def test_large_streams_pass_both_ways_at_once(
    streams: Streams, transport: str, tmp_path: Path
) -> None:
    folder = streams.pod("web", "sleep", "1000")
    sent = tmp_path / "sent"
    sent.write_bytes(random.Random(1).randbytes(LARGE))
    with (
        sent.open("rb") as stdin,
        (tmp_path / "received").open("wb") as stdout,
        streams.started(
            ALICE,
            *("exec", "--stdin", "web", "--", "tee", "copy"),
            transport=transport,
            stdin=stdin,
            stdout=stdout,
        ) as kubectl,
    ):
        assert kubectl.wait() == 0
    assert digest(folder / "copy") == digest(sent)
    assert digest(tmp_path / "received") == digest(sent)


@each_transport
def test_cp_copies_a_large_file_there_and_back(
    streams: Streams, transport: str, tmp_path: Path
) -> None:
    folder = streams.pod("web", "sleep", "1000")
    sent, back = tmp_path / "sent", tmp_path / "back"
    sent.write_bytes(random.Random(2).randbytes(LARGE))
    streams.kubectl(ALICE, "cp", str(sent), "web:there", transport=transport)
    assert digest(folder / "there") == digest(sent)
    streams.kubectl(ALICE, "cp", "web:there", str(back), transport=transport)
    assert digest(back) == digest(sent)


@each_transport
def test_a_terminal_tells_its_size_and_each_change_of_it(streams: Streams, transport: str) -> None:
    """The first size comes in a message of its own, so the process may be there before it."""
    streams.pod("web", "sleep", "1000")
    script = (
        "until stty size | grep -v '^0 0'; do sleep .05; done; "
        "trap 'stty size; echo changed' WINCH; echo ready; while :; do sleep .05; done"
    )
    command = ("exec", "--stdin", "--tty", "web", "--", "sh", "-c", script)
    ours, theirs = pty.openpty()
    set_size(ours, rows=24, columns=80)
    with (
        os.fdopen(ours, "rb", buffering=0) as screen,
        os.fdopen(theirs, "rb+", buffering=0) as terminal,
        streams.started(
            ALICE, *command, transport=transport, stdin=terminal, stdout=terminal, stderr=terminal
        ) as kubectl,
    ):
        assert "24 80" in until(screen, "ready")
        set_size(ours, rows=50, columns=132)
        kubectl.send_signal(signal.SIGWINCH)
        assert "50 132" in until(screen, "changed")


@each_transport
def test_attach_speaks_with_the_main_process(streams: Streams, transport: str) -> None:
    streams.pod("web", "sh", "-c", 'while read -r line; do echo "heard $line"; done')
    attach = ("attach", "--stdin", "web")
    with streams.started(ALICE, *attach, transport=transport) as kubectl:
        for word in ("one", "two", "three"):
            say(kubectl, word)
            assert line(kubectl) == f"heard {word}"
    assert streams.kubectl(ALICE, "logs", "web").stdout == "heard one\nheard two\nheard three\n"


def test_a_followed_log_brings_each_line_before_the_next_is_written(streams: Streams) -> None:
    streams.pod("web", "sh", "-c", 'echo begun; while read -r line; do echo "heard $line"; done')
    with (
        streams.started(ALICE, "logs", "--follow", "web") as logs,
        streams.started(ALICE, "attach", "--stdin", "web") as attached,
    ):
        assert line(logs) == "begun"
        for word in ("one", "two", "three"):
            say(attached, word)
            assert line(logs) == f"heard {word}"


def test_a_large_log_is_whole(streams: Streams, tmp_path: Path) -> None:
    streams.pod("web", "sh", "-c", "seq 1 100000; echo end; sleep 1000")
    with streams.started(ALICE, "logs", "--follow", "web") as logs:
        assert logs.stdout is not None
        read = hashlib.sha256()
        for text in logs.stdout:
            if text == b"end\n":
                break
            read.update(text)
    expected = hashlib.sha256("".join(f"{n}\n" for n in range(1, 100_001)).encode())
    assert read.hexdigest() == expected.hexdigest()


@each_transport
def test_port_forward_carries_connections_side_by_side_and_half_closed(
    streams: Streams, transport: str
) -> None:
    streams.pod("web", "sleep", "1000")
    local = free_port()
    payloads = [random.Random(n).randbytes(LARGE // 4) for n in range(4)]
    with (
        counting_server() as port,
        streams.started(ALICE, "port-forward", "web", f"{local}:{port}", transport=transport) as it,
    ):
        assert line(it).startswith("Forwarding from 127.0.0.1")
        answers: dict[int, bytes] = {}
        threads = [
            threading.Thread(target=lambda n=n: answers.update({n: exchange(local, payloads[n])}))
            for n in range(len(payloads))
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
    for n, payload in enumerate(payloads):
        assert answers[n] == payload + f"{len(payload)} bytes and then the end".encode()


def exchange(port: int, payload: bytes) -> bytes:
    """Send all, end our half, and read what comes back up to its end."""
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as connection:

        def send() -> None:
            connection.sendall(payload)
            connection.shutdown(socket.SHUT_WR)

        sender = threading.Thread(target=send)
        sender.start()
        received = b"".join(iter(lambda: connection.recv(1 << 16), b""))
        sender.join()
        return received


@contextlib.contextmanager
def counting_server() -> Iterator[int]:
    """A port in the pod that sends back what comes and, after its end, how much that was."""

    def serve(connection: socket.socket) -> None:
        with connection:
            size = 0
            while data := connection.recv(1 << 16):
                connection.sendall(data)
                size += len(data)
            connection.sendall(f"{size} bytes and then the end".encode())

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=serve, args=listener.accept()[:1], daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=accept)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


async def test_a_browsers_terminal(streams: Streams) -> None:
    """v4 as Headlamp speaks it: binary messages, each with its channel in front."""
    streams.pod("web", "sleep", "1000")
    script = (
        "trap 'stty size' WINCH; echo ready; "
        'while ! read -r -t 0.1 line; do :; done; echo "$line"; exit 7'
    )
    query = "container=main&stdin=1&stdout=1&tty=1&command=bash&command=-c"
    async with streams.websocket(ALICE, f"web/exec?{query}&command={quote(script)}") as terminal:
        assert terminal.protocol == "v4.channel.k8s.io"
        await receive(terminal, STDOUT, b"ready")
        await terminal.send_bytes(
            bytes([RESIZE]) + json.dumps({"Width": 132, "Height": 50}).encode()
        )
        await receive(terminal, STDOUT, b"50 132")
        await terminal.send_bytes(bytes([STDIN]) + b"hello\r")
        await receive(terminal, STDOUT, b"hello\r\n")
        status = json.loads(await receive(terminal, ERROR, b"}"))
        assert status["details"]["causes"] == [{"reason": "ExitCode", "message": "7"}]


async def test_a_browsers_exec_carries_much_both_ways(streams: Streams) -> None:
    streams.pod("web", "sleep", "1000")
    payload = random.Random(3).randbytes(LARGE // 2)
    query = f"stdin=1&stdout=1&stderr=1&command=head&command=-c&command={len(payload)}"
    async with streams.websocket(ALICE, f"web/exec?{query}") as terminal:

        async def send() -> None:
            for at in range(0, len(payload), 1 << 15):
                await terminal.send_bytes(bytes([STDIN]) + payload[at : at + (1 << 15)])

        async def read() -> bytes:
            received = bytearray()
            while len(received) < len(payload):
                message = await terminal.receive_bytes()
                assert message[0] == STDOUT or not message[1:]
                received += message[1:]
            return bytes(received)

        _, received = await asyncio.gather(send(), read())
        assert json.loads(await receive(terminal, ERROR, b"}"))["status"] == "Success"
    assert received == payload


async def test_a_browsers_log_view(streams: Streams) -> None:
    streams.pod("web", "sh", "-c", "echo one; echo two; sleep 1000")
    async with streams.websocket(ALICE, "web/log?follow=true&container=main") as log:
        assert log.protocol == "base64.binary.k8s.io"
        text = ""
        while not text.endswith("two\n"):
            text += base64.b64decode(await log.receive_str()).decode()
        assert text == "one\ntwo\n"


async def test_a_browsers_attach(streams: Streams) -> None:
    streams.pod("web", "sh", "-c", 'while read -r line; do echo "heard $line"; done', tty=True)
    async with streams.websocket(ALICE, "web/attach?stdin=1&stdout=1&tty=1") as terminal:
        await terminal.send_bytes(bytes([STDIN]) + b"one\r")
        await receive(terminal, STDOUT, b"heard one")


@each_transport
@pytest.mark.parametrize(
    ("subresource", "command"),
    [
        ("exec", ("exec", "web", "--", "true")),
        ("attach", ("attach", "web")),
        ("portforward", ("port-forward", "web", "0:80")),
    ],
)
def test_who_may_not_enter_is_told_so(
    streams: Streams, transport: str, subresource: str, command: tuple[str, ...]
) -> None:
    streams.pod("web", "sleep", "1000")
    run = streams.kubectl(CAROL, *command, transport=transport, check=False)
    assert run.returncode == 1
    assert f'User "{CAROL}" cannot create resource "pods/{subresource}"' in run.stderr


async def test_a_browser_that_may_not_enter_is_told_so(streams: Streams) -> None:
    streams.pod("web", "sleep", "1000")
    status, body = streams.serve.get(
        f"{streams.pods}/web/exec?command=true",
        streams.issuer.token(CAROL),
        {
            "Connection": "Upgrade",
            "Upgrade": "websocket",
            "Sec-WebSocket-Key": base64.b64encode(bytes(16)).decode(),
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Protocol": ", ".join(HEADLAMP_PROTOCOLS),
            "Origin": "https://headlamp.example.com",
        },
    )
    assert (status, body["reason"]) == (403, "Forbidden")
    assert f'User "{CAROL}" cannot' in body["message"]


@each_transport
def test_two_people_in_one_pod_never_see_each_others_bytes(
    streams: Streams, transport: str, tmp_path: Path
) -> None:
    streams.pod("web", "sleep", "1000")
    with contextlib.ExitStack() as stack:
        started = []
        for n, who in enumerate([ALICE, BOB, ALICE, BOB]):
            sent, received = tmp_path / f"{n}.sent", tmp_path / f"{n}.received"
            sent.write_bytes(random.Random(n).randbytes(LARGE // 4))
            process = stack.enter_context(
                streams.started(
                    who,
                    *("exec", "--stdin", "web", "--", "cat"),
                    transport=transport,
                    stdin=stack.enter_context(sent.open("rb")),
                    stdout=stack.enter_context(received.open("wb")),
                )
            )
            started.append((process, sent, received))
        for process, sent, received in started:
            assert process.wait() == 0
            assert digest(received) == digest(sent)


async def receive(terminal: aiohttp.ClientWebSocketResponse, channel: int, words: bytes) -> bytes:
    """Read until these words have come on this channel; what comes on others is dropped."""
    read = b""
    async with asyncio.timeout(PATIENCE):
        while words not in read:
            message = await terminal.receive_bytes()
            read += message[1:] if message[0] == channel else b""
    return read


def say(kubectl: subprocess.Popen[bytes], words: str) -> None:
    assert kubectl.stdin is not None
    kubectl.stdin.write(words.encode() + b"\n")
    kubectl.stdin.flush()


def line(kubectl: subprocess.Popen[bytes]) -> str:
    assert kubectl.stdout is not None
    return kubectl.stdout.readline().decode().rstrip("\n")


def until(screen: IO[bytes], words: str) -> str:
    read = ""
    while words not in read:
        read += screen.read(1024).decode()
    return read


def set_size(terminal: int, *, rows: int, columns: int) -> None:
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


def digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
