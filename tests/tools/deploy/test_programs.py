"""What the manifests start, as processes: ``prepare``, then ``serve``; helm test.

The issuer and the API server are addresses at which nothing listens.
"""

from __future__ import annotations

import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import trustme

from tests.process import free_port
from tests.serving import Serve

ROOT = Path(__file__).parents[3]
SCRIPT = ROOT / "deploy" / "helm" / "headlamp-auth-proxy" / "files" / "test.py"


def flags() -> tuple[str, ...]:
    return (
        f"--oidc-issuer-url=https://127.0.0.1:{free_port()}",
        "--oidc-client-id=client",
        f"--upstream=https://127.0.0.1:{free_port()}",
        "--upstream-token-file=/nonexistent/token",
    )


def prepare(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).parent / "headlamp-auth-proxy"
    folders = (f"--trust-dir={folder / 'trust'}", f"--cert-dir={folder / 'certs'}")
    return subprocess.run(
        [program, "prepare", *folders, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_serve_goes_on_with_the_ca_that_prepare_made(tmp_path: Path) -> None:
    common = flags()
    run = prepare(tmp_path, *common)
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")
    trust = {path.name: path.read_text() for path in (tmp_path / "trust").iterdir()}
    assert set(trust) == {"ca.crt", "namespace", "token"}
    with Serve(tmp_path, *common) as serve:
        assert serve.get("/version")[0] == 401  # over TLS, verified by the prepared CA
    assert {path.name: path.read_text() for path in (tmp_path / "trust").iterdir()} == trust


def test_prepare_says_what_is_wrong(tmp_path: Path) -> None:
    assert "--oidc-issuer-url: is required" in prepare(tmp_path).stderr
    (tmp_path / "trust").write_text("a file")
    run = prepare(tmp_path, *flags())
    assert run.returncode == 2
    assert "--trust-dir" in run.stderr
    assert "Traceback" not in run.stderr


def helm_test(url: str, ca_file: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", SCRIPT.read_text(), url, ca_file],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@contextmanager
def other_server(status: int, folder: Path) -> Iterator[tuple[str, Path]]:
    """A server that is not the proxy, with a certificate that can be verified."""
    authority = trustme.CA()
    ca_file = folder / "other-ca.crt"
    authority.cert_pem.write_to_path(str(ca_file))
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(tls)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"[]")

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    server.socket = tls.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"https://127.0.0.1:{server.server_port}/version", ca_file
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_helm_test_passes_where_the_proxy_answers(tmp_path: Path) -> None:
    with Serve(tmp_path, *flags()) as serve:
        run = helm_test(f"{serve.url}/version", serve.ca_file)
    assert run.returncode == 0, run.stderr
    assert f"{serve.url}/version answers: " in run.stdout


def test_helm_test_fails_where_the_certificate_cannot_be_verified(tmp_path: Path) -> None:
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "ca.crt"))
    with Serve(tmp_path, *flags()) as serve:
        run = helm_test(f"{serve.url}/version", tmp_path / "ca.crt")
    assert_fails(run, "CERTIFICATE_VERIFY_FAILED")


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (200, "let somebody in without a token"),
        (401, "is not the proxy: expected a 401 Status, got 401: []"),
        (403, "is not the proxy: expected a 401 Status, got 403"),
    ],
)
def test_helm_test_fails_where_something_else_answers(
    status: int, words: str, tmp_path: Path
) -> None:
    with other_server(status, tmp_path) as (url, ca_file):
        assert_fails(helm_test(url, ca_file), words)


def test_helm_test_fails_where_nothing_answers(tmp_path: Path) -> None:
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "ca.crt"))
    url = f"https://127.0.0.1:{free_port()}/version"
    assert_fails(helm_test(url, tmp_path / "ca.crt"), "cannot be reached")
    assert_fails(helm_test(url, tmp_path / "none.crt"), "none.crt")


def assert_fails(run: subprocess.CompletedProcess[str], words: str) -> None:
    assert run.returncode == 1
    assert words in run.stderr
    assert "Traceback" not in run.stderr
