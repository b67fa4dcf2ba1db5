"""How a kubelet's streams end, and what happens to those that do not get on.

After each of these the proxy holds nothing: the fixture waits until its gauges are back at 0.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.real.streaming import ALICE, TRANSPORTS

if TYPE_CHECKING:
    from tests.real.streaming import Streams

LARGE = 64 * 1024 * 1024  # bytes
ROOM = 16 * 1024 * 1024  # bytes by which the proxy may grow for one stream that does not get on
each_transport = pytest.mark.parametrize("transport", TRANSPORTS)


@each_transport
def test_when_the_client_is_killed_its_process_sees_the_end_of_its_input(
    streams: Streams, transport: str
) -> None:
    folder = streams.pod("web", "sleep", "1000")
    before = descriptors(streams)
    script = "echo ready; cat; touch over"
    command = ("exec", "--stdin", "web", "--", "sh", "-c", script)
    with streams.started(ALICE, *command, transport=transport) as kubectl:
        ready(kubectl)
        assert streams.serve.metric('streams_open{kind="upgrade"}') == 1
        kubectl.kill()
        streams.node.wait_until((folder / "over").exists, "told of the end")
    streams.wait_logged("exec", code=101, outcome="client_left")
    streams.wait_released()
    streams.serve.wait_until(lambda: descriptors(streams) <= before, "rid of its descriptors")


@each_transport
def test_when_the_node_vanishes_it_looks_as_it_does_directly_and_the_log_says_who_ended(
    streams: Streams, transport: str
) -> None:
    """kubectl takes the end of a stream without a status for success (seen in 1.36)."""
    streams.pod("web", "sleep", "1000")
    command = ("exec", "--stdin", "web", "--", "sh", "-c", "echo ready; cat")
    admin = streams.cluster.admin_kubeconfig
    with (
        streams.started(ALICE, *command, transport=transport) as through,
        streams.started(ALICE, *command, transport=transport, config=admin) as direct,
    ):
        ready(through)
        ready(direct)
        streams.node.kill()
        try:
            assert through.wait(30) == direct.wait(30)
            streams.wait_logged("exec", code=101, outcome="upstream_ended")
        finally:
            streams.node.start()


def test_when_the_node_vanishes_a_followed_log_ends(streams: Streams) -> None:
    streams.pod("web", "sh", "-c", "echo ready; sleep 1000")
    with streams.started(ALICE, "logs", "--follow", "web") as logs:
        ready(logs)
        streams.node.kill()
        try:
            logs.wait(30)
            streams.wait_logged("log", code=200)
        finally:
            streams.node.start()


@each_transport
def test_a_client_that_reads_slowly_costs_no_memory_and_misses_nothing(
    streams: Streams, transport: str
) -> None:
    streams.pod("web", "sleep", "1000")
    before = memory(streams)
    command = ("exec", "web", "--", "sh", "-c", f"echo ready; head -c {LARGE} /dev/zero")
    with streams.started(ALICE, *command, transport=transport) as kubectl:
        ready(kubectl)
        wait_still(streams)
        assert memory(streams) - before < ROOM
        assert kubectl.stdout is not None
        read = hashlib.sha256()
        while part := kubectl.stdout.read(1 << 16):
            read.update(part)
        assert kubectl.wait() == 0
    assert read.digest() == hashlib.sha256(bytes(LARGE)).digest()


@each_transport
def test_a_process_that_reads_nothing_costs_no_memory(streams: Streams, transport: str) -> None:
    folder = streams.pod("web", "sleep", "1000")
    before = memory(streams)
    script = "echo ready; while [ ! -e go ]; do sleep .1; done; cat >read"
    command = ("exec", "--stdin", "web", "--", "sh", "-c", script)
    with (
        Path("/dev/zero").open("rb") as zeros,
        streams.started(ALICE, *command, transport=transport, stdin=zeros) as kubectl,
    ):
        ready(kubectl)
        wait_still(streams)
        assert memory(streams) - before < ROOM
        assert streams.serve.metric('streams_open{kind="upgrade"}') == 1
        kubectl.kill()
    (folder / "go").touch()
    streams.wait_logged("exec", code=101, outcome="client_left")
    assert (folder / "read").stat().st_size > 0


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="Linux tells of a socket's timers")
def test_both_sides_of_a_silent_stream_have_tcp_keep_alive(streams: Streams) -> None:
    """So neither a load balancer forgets it within minutes, nor does a peer's death go unseen."""
    streams.pod("web", "sleep", "1000")
    command = ("exec", "--stdin", "web", "--", "sh", "-c", "echo ready; cat")
    with streams.started(ALICE, *command) as kubectl:
        ready(kubectl)
        # Only a socket that waits for no acknowledgement shows the timer.
        streams.serve.wait_until(lambda: len(probing(streams)) == 2, "probing both sides")


@pytest.mark.timeout(240)
def test_a_silent_stream_outlives_every_timer_of_the_proxy(streams: Streams) -> None:
    """75 s for an answer, 60 s for an idle connection upstream, 120 s for an idle client."""
    streams.pod("web", "sleep", "1000")
    command = ("exec", "--stdin", "web", "--", "sh", "-c", "echo ready; cat")
    with streams.started(ALICE, *command, patience=200) as kubectl:
        ready(kubectl)
        time.sleep(130)
        assert kubectl.stdin is not None
        assert kubectl.stdout is not None
        kubectl.stdin.write(b"still there\n")
        kubectl.stdin.flush()
        assert kubectl.stdout.readline() == b"still there\n"


def ready(kubectl: subprocess.Popen[bytes]) -> None:
    assert kubectl.stdout is not None
    assert kubectl.stdout.readline() == b"ready\n"


def wait_still(streams: Streams) -> None:
    """Wait until the kernel's buffers are full: nothing waits for the proxy to read any more."""
    counts: list[int] = []

    def still() -> bool:
        time.sleep(0.3)
        counts.append(io_bytes(streams))
        return len(counts) > 3 and counts[-1] - counts[-3] < 1 << 16

    streams.serve.wait_until(still, "still")


def io_bytes(streams: Streams) -> int:
    """Bytes that the proxy has read, from anywhere."""
    lines = Path(f"/proc/{streams.serve.pid}/io").read_text().splitlines()
    return int(dict(line.split(": ") for line in lines)["rchar"])


def memory(streams: Streams) -> int:
    """The proxy's resident bytes."""
    pages = Path(f"/proc/{streams.serve.pid}/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def descriptors(streams: Streams) -> int:
    """The proxy's open files, less the connections that it keeps for the next request."""
    idle = streams.serve.metric('upstream_connections{state="idle"}')
    return len(list(Path(f"/proc/{streams.serve.pid}/fd").iterdir())) - int(idle)


def sockets(pid: int) -> set[str]:
    """The inodes of a process's sockets."""
    links = [str(fd.readlink()) for fd in Path(f"/proc/{pid}/fd").iterdir() if fd.is_symlink()]
    return {x.removeprefix("socket:[").removesuffix("]") for x in links if x.startswith("socket:")}


def probing(streams: Streams) -> set[int]:
    """The ports, ours and the API server's, of connections that a keep-alive timer watches."""
    mine = sockets(streams.serve.pid)
    columns = {streams.serve.port: 1, streams.cluster.port: 2}  # where /proc/net/tcp names them
    found = set()
    for fields in (x.split() for x in Path("/proc/net/tcp").read_text().splitlines()[1:]):
        timer, _, ticks = fields[5].partition(":")
        if fields[9] not in mine or timer != "02":
            continue
        if int(ticks, 16) > 30 * os.sysconf("SC_CLK_TCK"):
            continue
        for port, column in columns.items():
            if int(fields[column].partition(":")[2], 16) == port:
                found.add(port)
    return found
