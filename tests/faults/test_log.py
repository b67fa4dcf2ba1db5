"""Standard error takes nothing: the disk is full, or nobody reads. Requests must not notice."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import ssl
from itertools import cycle, islice
from pathlib import Path

import pytest

from tests.faults.conftest import Stage, token


def _dropped_while_asking(stage: Stage, log: Path, requests: int) -> float:
    """Ask so often, each answer the asker's own; return how many lines were lost by then."""
    serve = stage.serve()
    serve.log = log
    with serve:
        serve.wait_ready()
        # Long, so that a megabyte of buffer and a pipe's 64 KiB are soon full.
        path = "/api/v1/namespaces/default/pods/" + "x" * 900
        users = {f"user-{n}@example.com": token(f"user-{n}@example.com") for n in range(5)}
        tls = ssl.create_default_context(cafile=str(serve.ca_file))
        connection = http.client.HTTPSConnection("127.0.0.1", serve.port, context=tls, timeout=20)
        with contextlib.closing(connection):
            for user, bearer in islice(cycle(users.items()), requests):
                connection.request("GET", path, headers={"Authorization": f"Bearer {bearer}"})
                assert json.loads(connection.getresponse().read())["user"] == user
        serve.wait_until(lambda: serve.metric("log_lines_dropped_total") > 0, "counted")
        assert serve.probe("/readyz")[0] == 200
        return serve.metric("log_lines_dropped_total")


def test_a_full_disk_costs_log_lines_and_no_request(stage: Stage) -> None:
    assert _dropped_while_asking(stage, Path("/dev/full"), 50) >= 1


@pytest.mark.slow
def test_a_pipe_that_nobody_reads_costs_log_lines_and_no_request(stage: Stage) -> None:
    pipe = stage.folder / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        assert _dropped_while_asking(stage, pipe, 1500) >= 1
    finally:
        os.close(reader)
