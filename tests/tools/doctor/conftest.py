"""A whole stage for each test, on ports of its own, before anything of it is broken."""

from __future__ import annotations

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
def issuer() -> Issuer:
    """One for all, since its key costs a tenth of a second; where it is, each test says."""
    return Issuer("https://localhost", Client(CLIENT_ID, SECRET))


@pytest.fixture
def stage(
    run: Run,
    issuer: Issuer,
    authority: trustme.CA,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Stage:
    names: dict[str, str] = {}
    monkeypatch.setattr(socket, "getaddrinfo", resolver(names))
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    authority.cert_pem.write_to_path(tmp_path / "ca.crt")
    return Stage(run, tmp_path, issuer, site(authority), site(authority), authority, names)


@pytest.fixture
def doctor(stage: Stage, capsys: pytest.CaptureFixture[str]) -> Doctor:
    return Doctor(stage, capsys)
