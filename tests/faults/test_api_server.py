"""The API server is slow, resets, drops connections, changes its certificate."""

from __future__ import annotations

import contextlib
import http.client
import ssl
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.conftest import Api, Stage, reason, token
from tests.serving import Serve


@contextlib.contextmanager
def asked(serve: Serve, target: str, user: str) -> Iterator[http.client.HTTPResponse]:
    tls = ssl.create_default_context(cafile=str(serve.ca_file))
    connection = http.client.HTTPSConnection("127.0.0.1", serve.port, context=tls, timeout=20)
    with contextlib.closing(connection):
        connection.request("GET", target, headers={"Authorization": f"Bearer {token(user)}"})
        yield connection.getresponse()


def test_an_answer_that_is_reset_is_cut_and_never_passed_off_as_whole(stage: Stage) -> None:
    with stage.serve() as serve:
        serve.wait_ready()
        with asked(serve, "/api?then=reset", "bob@example.com") as answer:
            assert answer.status == 200
            with pytest.raises((http.client.IncompleteRead, ConnectionError)):
                answer.read()
        assert serve.get("/version", token())[1]["user"] == "alice@example.com"
        assert serve.metric('upstream_errors_total{reason="truncated"}') == 1
        serve.wait_until(lambda: len(serve.requests()) == 2, "logged")
        assert serve.requests()[0]["outcome"] == "truncated"


def test_lost_connections_cost_the_watches_on_them_and_no_request(stage: Stage) -> None:
    with stage.serve() as serve:
        serve.wait_ready()
        with asked(serve, "/api/v1/pods?watch=true", "bob@example.com") as watch:
            feed = stage.api.opened()
            feed.send(b"an event\n")
            assert watch.readline() == b"an event\n"
            for _ in range(3):
                assert serve.get("/version", token())[0] == 200
                stage.cable.cut()
            with pytest.raises((http.client.IncompleteRead, ConnectionError)):
                watch.read()
        assert serve.get("/version", token())[1]["user"] == "alice@example.com"


def test_a_slow_answer_to_one_keeps_nobody_else_waiting(stage: Stage) -> None:
    with stage.serve() as serve:
        serve.wait_ready()
        with asked(serve, "/api/v1/pods?watch=true", "bob@example.com") as slow:
            feed = stage.api.opened()
            began = time.monotonic()
            for n in range(20):
                user = f"user-{n}@example.com"
                assert serve.get("/version", token(user))[1]["user"] == user
            assert time.monotonic() - began < 10
            feed.send(b"late")
            feed.end()
            assert slow.read() == b"late"


def test_a_certificate_that_is_not_trusted_is_a_502_until_the_bundle_is_replaced(
    stage: Stage, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    with Api(elsewhere) as other, stage.serve() as serve:
        serve.wait_ready()
        assert serve.get("/version", token())[0] == 200
        stage.cable.target = int(other.url.rpartition(":")[2])
        assert serve.get("/version", token())[0] == 200  # over the connection that stands
        stage.cable.cut()
        assert reason(serve.get("/version", token())) == (502, "upstream_certificate")
        assert serve.probe("/readyz")[0] == 200
        assert "[-]upstream failed" in serve.probe("/readyz?verbose")[1]
        assert other.requests == []
        stage.ca_file.write_bytes(other.ca_file.read_bytes())
        began = time.monotonic()
        serve.wait_until(lambda: serve.get("/version", token())[0] == 200, "trusted")
        assert time.monotonic() - began < 3
        assert other.requests


@pytest.mark.parametrize("content", [None, b"", b"no certificate"])
def test_a_bundle_that_is_gone_or_broken_leaves_the_one_in_use(
    stage: Stage, content: bytes | None
) -> None:
    with stage.serve() as serve:
        serve.wait_ready()
        assert serve.get("/version", token())[0] == 200
        stage.ca_file.unlink()
        if content is not None:
            stage.ca_file.write_bytes(content)
        said = "The TLS settings for the API server stay as they were"

        def noticed() -> bool:
            stage.cable.cut()
            assert serve.get("/version", token())[0] == 200
            return any(said in line["event"] for line in serve.logged())

        serve.wait_until(noticed, "noticed")
