"""Fixtures of the tests against a real kube-apiserver and etcd.

Without these programs the tests skip; TEST_REQUIRE_REAL=1 makes that a failure.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

import pytest

from tests.real import streaming
from tests.real.cluster import Cluster
from tests.real.node import Node
from tests.real.programs import require
from tests.real.streaming import Streams

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="session")
def assets() -> Path:
    """The folder with kube-apiserver and etcd."""
    return require("kube")


@pytest.fixture(scope="session")
def cluster(assets: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One cluster for the whole session: a test keeps to its own namespace and names."""
    with Cluster.run(assets, tmp_path_factory.mktemp("cluster")) as running:
        yield running


@pytest.fixture
def namespace(cluster: Cluster) -> str:
    """The name of a new namespace, for this test alone."""
    name = f"test-{secrets.token_hex(4)}"
    cluster.kubectl("create", "namespace", name)
    return name


@pytest.fixture(scope="session")
def running_streams(
    cluster: Cluster, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Streams]:
    folder = tmp_path_factory.mktemp("streams")
    programs = require("kubelet")
    with (
        Node.run(cluster, programs, tmp_path_factory.mktemp("node"), "node-a") as node,
        streaming.running(cluster, node, folder) as streams,
    ):
        yield streams


@pytest.fixture
def streams(running_streams: Streams, cluster: Cluster, namespace: str) -> Iterator[Streams]:
    """Pods in a namespace of this test's own, by way of the proxy; nothing may be left of it."""
    cluster.kubectl("-n", namespace, "create", "serviceaccount", "default")
    running_streams.namespace = namespace
    yield running_streams
    running_streams.wait_released()
