"""The admin listener over real sockets."""

from __future__ import annotations

import asyncio
import errno
import gzip
import logging
import socket
from collections.abc import AsyncIterator, Sequence

import pytest
from aiohttp import ClientSession
from prometheus_client import CollectorRegistry, Counter

from proxy.observe import admin
from proxy.observe.admin import Check, serve_admin


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    assert isinstance(port, int)
    return port


class Admin:
    """A listener on loopback, and a client for it."""

    def __init__(self, client: ClientSession, runners: list[admin.Admin]) -> None:
        self.registry = CollectorRegistry()
        self.client = client
        self._runners = runners

    async def serve(self, checks: Sequence[Check] = (), host: str = "127.0.0.1") -> str:
        runner = await serve_admin(self.registry, checks, host, 0)
        self._runners.append(runner)
        return f"http://127.0.0.1:{runner.addresses[0][1]}"

    async def readyz(self, checks: Sequence[Check], query: str = "") -> tuple[int, str]:
        url = await self.serve(checks)
        async with self.client.get(f"{url}/readyz{query}") as response:
            return response.status, await response.text()


@pytest.fixture
async def listener() -> AsyncIterator[Admin]:
    runners: list[admin.Admin] = []
    async with ClientSession(auto_decompress=False) as client:
        yield Admin(client, runners)
    for runner in runners:
        await runner.cleanup()


async def failing() -> bool:
    await asyncio.sleep(0)
    return False


async def passing() -> bool:
    await asyncio.sleep(0)
    return True


KEYS = Check("issuer-keys", lambda: True)
NO_CREDENTIAL = Check("credential", failing)
CREDENTIAL = Check("credential", passing)
NO_UPSTREAM = Check("upstream", lambda: False, required=False)


@pytest.mark.parametrize(
    ("checks", "status"),
    [
        ([], 200),
        ([KEYS, CREDENTIAL], 200),
        ([KEYS, NO_CREDENTIAL], 503),
        ([NO_CREDENTIAL, KEYS], 503),
        ([KEYS, NO_UPSTREAM], 200),
        ([NO_UPSTREAM], 200),
    ],
)
async def test_readiness_is_that_all_required_checks_pass(
    listener: Admin, checks: list[Check], status: int
) -> None:
    text = "ok\n" if status == 200 else "not ready\n"
    assert await listener.readyz(checks) == (status, text)


async def test_verbose_gives_names_of_checks_and_nothing_more(listener: Admin) -> None:
    status, text = await listener.readyz([KEYS, NO_CREDENTIAL, NO_UPSTREAM], "?verbose")
    assert status == 503
    assert text.splitlines() == [
        "[+]issuer-keys ok",
        "[-]credential failed",
        "[-]upstream failed",
        "readyz check failed",
    ]
    assert (await listener.readyz([KEYS], "?verbose=1"))[1].endswith("readyz check passed\n")


async def test_readiness_never_latches(listener: Admin) -> None:
    state = [True]
    url = await listener.serve([Check("not-draining", lambda: state[0])])
    for expected in (200, 503, 200):
        state[0] = expected == 200
        async with listener.client.get(f"{url}/readyz") as response:
            assert response.status == expected


async def test_a_check_that_cannot_tell_has_failed_and_is_logged(
    listener: Admin, caplog: pytest.LogCaptureFixture
) -> None:
    def broken() -> bool:
        raise OSError("/secret/path")

    status, text = await listener.readyz([Check("credential", broken)], "?verbose")
    assert (status, text) == (503, "[-]credential failed\nreadyz check failed\n")
    assert caplog.records[0].levelno == logging.ERROR


async def test_liveness_needs_nothing_but_the_event_loop(listener: Admin) -> None:
    url = await listener.serve([NO_CREDENTIAL])
    async with listener.client.get(f"{url}/livez") as response:
        assert (response.status, await response.text()) == (200, "ok\n")
    async with listener.client.head(f"{url}/livez") as response:
        assert response.status == 200


async def test_metrics_are_those_of_the_registry(listener: Admin) -> None:
    Counter("tries", "Tries.", registry=listener.registry).inc()
    url = await listener.serve()
    asked = {"Accept-Encoding": "identity"}
    async with listener.client.get(f"{url}/metrics", headers=asked) as response:
        assert response.content_type == "text/plain"
        assert "tries_total 1.0" in await response.text()


async def test_metrics_speak_openmetrics_and_gzip_if_asked(listener: Admin) -> None:
    Counter("tries", "Tries.", registry=listener.registry).inc()
    url = await listener.serve()
    asked = {"Accept": "application/openmetrics-text;version=1.0.0", "Accept-Encoding": "gzip"}
    async with listener.client.get(f"{url}/metrics", headers=asked) as response:
        assert response.content_type == "application/openmetrics-text"
        assert response.headers["Content-Encoding"] == "gzip"
        assert gzip.decompress(await response.read()).endswith(b"# EOF\n")


async def test_metrics_can_be_asked_for_by_name(listener: Admin) -> None:
    for name in ("tries", "others"):
        Counter(name, "Some.", registry=listener.registry).inc()
    url = await listener.serve()
    asked = {"Accept-Encoding": "identity"}
    async with listener.client.get(f"{url}/metrics?name[]=tries_total", headers=asked) as response:
        text = await response.text()
    assert "tries_total 1.0" in text
    assert "others_total" not in text


@pytest.mark.parametrize("path", ["/metrics", "/livez", "/readyz"])
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE"])
async def test_nothing_can_be_done_to_it(listener: Admin, method: str, path: str) -> None:
    url = await listener.serve()
    async with listener.client.request(method, f"{url}{path}") as response:
        assert (response.status, response.headers["Allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize(
    "path",
    ["/", "/healthz", "/metrics/", "/livez/x", "/api/v1/pods", "/.auth-proxy/whoami", "//metrics"],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_there_is_nothing_else(listener: Admin, method: str, path: str) -> None:
    url = await listener.serve()
    async with listener.client.request(method, f"{url}{path}") as response:
        assert response.status == 404


@pytest.mark.parametrize("path", ["/metrics", "/livez", "/readyz", "/nothing"])
async def test_no_answer_is_cached_or_names_its_server(listener: Admin, path: str) -> None:
    url = await listener.serve()
    async with listener.client.get(f"{url}{path}") as response:
        assert response.headers["Cache-Control"] == "no-store"
        assert "Server" not in response.headers


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        pytest.param(b"get  /livez\r\n\r\n", 400, id="no HTTP"),
        pytest.param(
            b"GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
            b"Accept: application/openmetrics-text;version=abc\r\n\r\n",
            500,
            id="an encoding that cannot be found",
        ),
    ],
)
async def test_neither_does_one_that_the_library_makes(
    listener: Admin, request_: bytes, status: int
) -> None:
    port = int((await listener.serve()).rpartition(":")[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request_)
    head = (await reader.read()).partition(b"\r\n\r\n")[0].lower()
    writer.close()
    assert head.split()[1] == b"%d" % status
    assert b"cache-control: no-store" in head
    assert b"server:" not in head


def reaches(family: socket.AddressFamily, host: str, port: int) -> bool:
    try:
        with socket.socket(family) as tried:
            tried.connect((host, port))
    except OSError:
        return False
    return True


async def test_without_a_host_both_families_are_served_on_one_port(listener: Admin) -> None:
    url = await listener.serve(host="")
    port = int(url.rpartition(":")[2])
    assert reaches(socket.AF_INET, "127.0.0.1", port)
    assert reaches(socket.AF_INET6, "::1", port)


@pytest.mark.parametrize("missing", [errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL])
async def test_where_there_is_no_ipv6_ipv4_alone_is_served(
    listener: Admin, monkeypatch: pytest.MonkeyPatch, missing: int
) -> None:
    really_bound = admin._bound

    def bound(family: socket.AddressFamily, host: str, port: int) -> socket.socket:
        if family == socket.AF_INET6:
            raise OSError(missing, "no IPv6")
        return really_bound(family, host, port)

    monkeypatch.setattr(admin, "_bound", bound)
    url = await listener.serve(host="")
    async with listener.client.get(f"{url}/livez") as response:
        assert response.status == 200


@pytest.mark.parametrize("host", ["", "127.0.0.1"])
async def test_a_port_that_is_taken_is_an_error_and_leaves_nothing_open(host: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(OSError, match="in use"):
            await serve_admin(CollectorRegistry(), (), host, taken.getsockname()[1])


async def test_a_port_that_is_taken_for_ipv6_alone_is_an_error_too() -> None:
    with socket.socket(socket.AF_INET6) as taken:
        taken.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        taken.bind(("::", 0))
        taken.listen()
        with pytest.raises(OSError, match="in use"):
            await serve_admin(CollectorRegistry(), (), "", taken.getsockname()[1])


async def test_after_cleanup_nobody_listens() -> None:
    port = free_port()
    runner = await serve_admin(CollectorRegistry(), (), "127.0.0.1", port)
    assert reaches(socket.AF_INET, "127.0.0.1", port)
    await runner.cleanup()
    assert not reaches(socket.AF_INET, "127.0.0.1", port)
