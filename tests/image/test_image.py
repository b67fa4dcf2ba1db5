"""The image as it is built from the Dockerfile, and as a pod would run it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import hatch_build
from tests.image.container import PYTHON, ContainedServe, inspect, run
from tests.issuer import FakeIssuer
from tests.serving import Serve, issuer_in_thread

IDENTITY = """
import json, os
status = dict(line.split(":\\t") for line in open("/proc/self/status").read().splitlines())
print(json.dumps([os.getuid(), os.getgid(), os.getgroups(), status["CapBnd"]]))
"""
WITHOUT_BYTECODE = """
import os, sys
import proxy.cli, proxy.server, uvloop
specs = [getattr(module, "__spec__", None) for module in sys.modules.values()]
paths = [spec.cached for spec in specs if spec and spec.has_location and spec.cached]
print(len(paths) > 100, *(path for path in paths if not os.path.exists(path)))
"""


LOADERS = """
import importlib.util, json, sys
specs = {name: importlib.util.find_spec(name) for name in sys.argv[1:]}
print(json.dumps({name: spec.origin.rpartition(".")[2] for name, spec in specs.items()}))
"""


@pytest.fixture(scope="module")
def issuer() -> Iterator[FakeIssuer]:
    with issuer_in_thread() as (running, _):
        yield running


@pytest.fixture
def serve(image: str, issuer: FakeIssuer, tmp_path: Path) -> Iterator[Serve]:
    """Ready to serve, with an API server that is not there."""
    shutil.copy(issuer.ca_file, tmp_path / "issuer.crt")
    (tmp_path / "token").write_text("of-the-proxy")
    with ContainedServe(
        image,
        tmp_path,
        f"--oidc-issuer-url={issuer.url}",
        f"--oidc-client-id={issuer.client_id}",
        f"--oidc-ca-file={tmp_path / 'issuer.crt'}",
        "--upstream=https://127.0.0.1:1",
        f"--upstream-ca-file={tmp_path / 'issuer.crt'}",
        f"--upstream-token-file={tmp_path / 'token'}",
    ) as running:
        running.wait_ready()
        yield running


def test_it_serves_from_a_read_only_root_and_stops_with_status_0(
    serve: Serve, issuer: FakeIssuer
) -> None:
    assert serve.probe("/livez") == (200, "ok\n")
    assert serve.get("/api")[0] == 401
    status, body = serve.get("/api", token=issuer.token("alice@example.com"))
    assert (status, body["details"]["causes"][0]["reason"]) == (502, "upstream_unreachable")
    assert serve.stop() == 0


def test_it_runs_as_a_number_that_kubernetes_can_see_is_not_root(image: str) -> None:
    assert inspect(image)["Config"]["User"] == "65532:65532"
    uid, gid, groups, capabilities = json.loads(run(image, "-c", IDENTITY, flags=(PYTHON,)))
    assert (uid, gid, groups, int(capabilities, 16)) == (65532, 65532, [65532], 0)


def test_without_arguments_it_serves_and_any_command_may_be_given(image: str) -> None:
    config = inspect(image)["Config"]
    assert config["Entrypoint"] == ["/opt/venv/bin/headlamp-auth-proxy"]
    assert config["Cmd"] == ["serve"]
    assert run(image, "--help").startswith("Usage: headlamp-auth-proxy COMMAND")


def test_its_labels_say_what_it_is_and_where_it_is_from(image: str) -> None:
    prefix = "org.opencontainers.image."
    labels = {
        name.removeprefix(prefix): value
        for name, value in inspect(image)["Labels"].items()
        if name.startswith(prefix)
    }
    source = labels["source"]
    assert source.startswith("https://")
    assert f"headlamp-auth-proxy {labels.pop('version')} (compiled)\n" == run(image, "version")
    assert re.fullmatch(r"[0-9a-f]{40}", labels.pop("revision"))
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", labels.pop("created"))
    assert labels.pop("base.name")
    assert labels.pop("description")
    assert labels == {
        "title": "headlamp-auth-proxy",
        "licenses": "Apache-2.0",
        "source": source,
        "url": source,
        "documentation": f"{source}#readme",
    }


def test_nothing_in_it_installs_packages(image: str) -> None:
    names = ("pip", "pip[0-9]*", "pip-*", "ensurepip", "uv", "uv-*")
    either = [word for name in names for word in ("-o", "-name", name)][1:]
    as_root = ("--user=0", "--cap-add=dac_read_search", "--entrypoint=find")
    assert run(image, "/", "-xdev", "(", *either, ")", flags=as_root) == ""


def test_its_user_owns_nothing_and_may_change_nothing_that_runs(image: str) -> None:
    own_or_open = ("(", "-user", "65532", "-o", "-perm", "-0002", ")", "-not", "-type", "l")
    assert run(image, "/opt", *own_or_open, flags=("--entrypoint=find",)) == ""


def test_all_that_starts_is_compiled_already(image: str) -> None:
    assert run(image, "-c", WITHOUT_BYTECODE, flags=(PYTHON,)) == "True\n"


def test_a_requests_path_runs_as_c(image: str) -> None:
    modules = hatch_build.wanted()
    origins = json.loads(run(image, "-c", LOADERS, *modules, flags=(PYTHON,)))
    assert origins == dict.fromkeys(modules, "so")


def test_nothing_in_it_compiles(image: str) -> None:
    names = ("cc", "cc1", "cython*", "setuptools")
    either = [word for name in names for word in ("-o", "-name", name)][1:]
    as_root = ("--user=0", "--cap-add=dac_read_search", "--entrypoint=find")
    assert run(image, "/", "-xdev", "(", *either, ")", flags=as_root) == ""


def test_it_is_no_larger_than_it_was(image: str) -> None:
    """What the Dockerfile puts on its base: 143 MiB on Debian 12 for amd64, 50 of them for CEL."""
    added = run(image, "-sm", "/opt", flags=("--entrypoint=du",)).split()[0]
    assert int(added) < 160


@pytest.mark.timeout(600)
def test_building_it_again_makes_the_same_image(image: str) -> None:
    build = Path(__file__).with_name("build")
    again = subprocess.run(build, stdout=subprocess.PIPE, text=True, check=True)
    assert inspect(again.stdout.strip())["Id"] == inspect(image)["Id"]
