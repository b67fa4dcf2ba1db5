"""Fixtures for every test: the event loop that the program runs on, and a CA of our own."""

from __future__ import annotations

import asyncio
import math
import os
import signal
import ssl
import threading
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme
import uvloop
from _pytest.capture import CaptureResult
from hypothesis import HealthCheck, settings

from proxy.version import is_compiled
from tests import leaks
from tests.forms import PACKAGE, ROOT

# A machine that is busy with something else draws examples slowly; that is no fault of a test.
# ``steady`` draws the same ones each time; ``--hypothesis-profile=long`` goes and looks for others.
settings.register_profile(
    "steady",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    database=None,
    derandomize=True,
)
settings.register_profile(
    "long", settings.get_profile("steady"), derandomize=False, max_examples=10_000
)
settings.load_profile("steady")


# A shell has what it runs in the background ignore Ctrl-C, and so would all that tests start.
if threading.current_thread() is threading.main_thread():
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Write what a test logged in a way that any worker can send: it may be no Unicode text."""
    report = yield
    report.sections = [
        (name, text.encode(errors="backslashreplace").decode()) for name, text in report.sections
    ]
    return report


def pytest_runtest_setup(item: pytest.Item) -> None:
    other = item.get_closest_marker("pure" if is_compiled() else "compiled")
    if other is not None:
        pytest.skip(other.kwargs["reason"])


def pytest_report_header() -> str:
    return "a request's path: " + ("compiled" if is_compiled() else "Python")


def pytest_sessionstart() -> None:
    """Test no libraries that are older than their sources."""
    libraries = list(PACKAGE.rglob("*.so"))
    sources = [path.with_name(path.name.partition(".")[0] + ".py") for path in libraries]
    sources += [*PACKAGE.rglob("*.pxd"), ROOT / "hatch_build.py"]
    built = min((path.stat().st_mtime for path in libraries), default=math.inf)
    if newer := [str(path) for path in sources if path.stat().st_mtime > built]:
        pytest.exit(
            f"what is compiled is older than {', '.join(newer)}: "
            "`make compiled`, or `make compiled-clean`",
            returncode=pytest.ExitCode.USAGE_ERROR,
        )


def pytest_sessionfinish(session: pytest.Session) -> None:
    """In CI nothing may be skipped but what has a run of its own: a real API server, the image.

    And what a container may not do, whatever is installed in it: have a mount namespace.
    """
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if not os.environ.get("CI") or reporter is None:
        return
    skipped = [
        report.nodeid
        for report in reporter.stats.get("skipped", [])
        if not {"pure", "compiled"} & report.keywords.keys()  # the other form's run has these
    ]
    elsewhere = ("tests/real/", "tests/image/test_image.py", "tests/faults/test_names.py")
    if unexpected := [name for name in skipped if not name.startswith(elsewhere)]:
        reporter.write_line(f"skipped in CI: {', '.join(unexpected)}", red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture
def capsys(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> pytest.CaptureFixture[str]:
    """What a command has printed, which no secret may be in, whatever it is read for."""
    read = capsys.readouterr

    def searched() -> CaptureResult[str]:
        printed = read()
        leaks.search({"stdout": printed.out.encode(), "stderr": printed.err.encode()})
        return printed

    monkeypatch.setattr(capsys, "readouterr", searched)
    return capsys


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"uvloop": uvloop.new_event_loop}


@dataclass(frozen=True)
class Tls:
    """A CA, a server context for loopback, and a client context that trusts it."""

    ca_file: Path
    cert_file: Path
    key_file: Path
    server: ssl.SSLContext
    client: ssl.SSLContext


@pytest.fixture(scope="session")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Tls:
    folder = tmp_path_factory.mktemp("tls")
    ca = trustme.CA()
    issued = ca.issue_cert("127.0.0.1", "::1", "localhost")
    ca.cert_pem.write_to_path(folder / "ca.crt")
    issued.cert_chain_pems[0].write_to_path(folder / "tls.crt")
    issued.private_key_pem.write_to_path(folder / "tls.key")
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    issued.configure_cert(server)
    client = ssl.create_default_context()
    ca.configure_trust(client)
    return Tls(folder / "ca.crt", folder / "tls.crt", folder / "tls.key", server, client)
