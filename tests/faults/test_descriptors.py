"""No descriptors are left: it lives, does not spin, and goes on when there are some again."""

from __future__ import annotations

import contextlib
import resource
import socket
import time
from pathlib import Path

import pytest

from tests.faults.conftest import Stage, token
from tests.faults.test_api_server import asked

FLOOD = 60  # connections


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


@pytest.mark.slow
def test_without_descriptors_what_stands_goes_on_and_the_rest_waits(stage: Stage) -> None:
    with stage.serve() as serve, contextlib.ExitStack() as stack:
        serve.wait_ready()
        assert serve.get("/version", token())[0] == 200
        watch = stack.enter_context(asked(serve, "/api/v1/pods?watch=true", "bob@example.com"))
        feed = stage.api.opened()
        highest = max(int(path.name) for path in Path(f"/proc/{serve.pid}/fd").iterdir())
        usual = resource.prlimit(serve.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(serve.pid, resource.RLIMIT_NOFILE, (highest + 6, usual[1]))
        flood = [
            stack.enter_context(socket.create_connection(("127.0.0.1", serve.port)))
            for _ in range(FLOOD)
        ]
        time.sleep(0.5)  # what is measured now is the state, not the way there
        before, began = _cpu_seconds(serve.pid), time.monotonic()
        feed.send(b"still here\n")
        assert watch.readline() == b"still here\n"
        time.sleep(1.0)
        used = (_cpu_seconds(serve.pid) - before) / (time.monotonic() - began)
        assert used < 0.5
        resource.prlimit(serve.pid, resource.RLIMIT_NOFILE, usual)
        for connection in flood:
            connection.close()
        serve.wait_until(lambda: serve.probe("/livez")[0] == 200, "alive")

        def answers() -> bool:
            with contextlib.suppress(OSError):
                return serve.get("/version", token())[0] == 200
            return False

        serve.wait_until(answers, "answering")
        feed.send(b"and here\n")
        assert watch.readline() == b"and here\n"
        feed.end()
