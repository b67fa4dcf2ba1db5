"""A whole stage for each test, on ports of its own, before anything of it is broken."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from proxy.tools.demo.issuer.protocol import Client
from proxy.tools.demo.issuer.server import Issuer
from tests.serving import Run, loop_in_thread
from tests.tools.doctor.stage import CLIENT_ID, SECRET, Doctor, Stage, resolver, site


@pytest.fixture(scope="session")
def run() -> Iterator[Run]:
    with loop_in_thread() as run:
        yield run


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="session")
def roots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The system's roots, for these tests: one CA that has signed nothing, and is quickly read."""
    folder = tmp_path_factory.mktemp("roots")
    trustme.CA().cert_pem.write_to_path(folder / "roots.pem")
    return folder


@pytest.fixture(scope="session")
def issuer() -> Issuer:
    """One for all, since its key costs a tenth of a second; where it is, each test says."""
    return Issuer("https://localhost", Client(CLIENT_ID, SECRET))


@pytest.fixture
def stage(
    run: Run,
    issuer: Issuer,
    authority: trustme.CA,
    roots: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Stage]:
    names: dict[str, str] = {}
    monkeypatch.setattr(socket, "getaddrinfo", resolver(names))
    monkeypatch.setenv("SSL_CERT_FILE", str(roots / "roots.pem"))
    monkeypatch.setenv("SSL_CERT_DIR", str(roots / "none"))
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    authority.cert_pem.write_to_path(tmp_path / "ca.crt")
    with contextlib.ExitStack() as stack:
        sites = site(authority), site(authority)
        yield Stage(run, tmp_path, issuer, *sites, authority, names, stack)


@pytest.fixture
def doctor(stage: Stage, capsys: pytest.CaptureFixture[str]) -> Doctor:
    return Doctor(stage, capsys)
