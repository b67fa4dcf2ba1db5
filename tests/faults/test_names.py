"""The API server's name comes to mean another address.

The proxy runs in a mount namespace of its own, in which /etc/hosts is the test's: the C library's
own resolver is what answers.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.cable import Cable
from tests.faults.conftest import Stage, token
from tests.kubectl import kubeconfig

NAMESPACE = ["unshare", "--user", "--map-root-user", "--mount"]


def _can_unshare() -> bool:
    try:
        return subprocess.run([*NAMESPACE, "true"], capture_output=True).returncode == 0
    except FileNotFoundError:
        return False


@pytest.mark.skipif(not _can_unshare(), reason="this kernel gives nobody a mount namespace")
def test_a_new_connection_looks_the_name_up_anew(stage: Stage, tmp_path: Path) -> None:
    hosts, config = tmp_path / "hosts", tmp_path / "kubeconfig"
    hosts.write_text("127.0.0.1 localhost api.test\n")
    text = kubeconfig(
        f"https://api.test:{stage.cable.port}", stage.api.ca_file, {"token": "its-own"}
    )
    config.write_text(text.replace('"server"', '"tls-server-name": "127.0.0.1", "server"'))
    flags = [flag for flag in stage.flags if not flag.startswith("--upstream")]
    stage.flags = [*flags, f"--kubeconfig={config}"]
    serve = stage.serve()
    mount = f'mount --bind {hosts} /etc/hosts && exec "$0" "$@"'
    serve.argv = [*NAMESPACE, "sh", "-c", mount, *serve.argv]
    target = stage.cable.target
    with Cable.run(target, host="127.0.0.2", port=stage.cable.port) as moved, serve:
        serve.wait_ready()
        assert serve.get("/version", token())[0] == 200
        assert moved.connections == 0
        hosts.write_text("127.0.0.2 localhost api.test\n")
        assert serve.get("/version", token())[0] == 200  # over the connection that stands
        assert moved.connections == 0
        before = stage.cable.connections
        stage.cable.cut()
        assert serve.get("/version", token())[0] == 200
        assert stage.cable.connections == before
        assert moved.connections > 0
