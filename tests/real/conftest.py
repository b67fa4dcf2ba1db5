"""Fixtures of the tests against a real kube-apiserver and etcd.

Without these programs the tests skip; TEST_REQUIRE_REAL=1 makes that a failure.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

import pytest

from tests.real.cluster import Cluster
from tests.real.programs import require

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One cluster for the whole session: a test keeps to its own namespace and names."""
    with Cluster.run(require("kube"), tmp_path_factory.mktemp("cluster")) as running:
        yield running


@pytest.fixture
def namespace(cluster: Cluster) -> str:
    """The name of a new namespace, for this test alone."""
    name = f"test-{secrets.token_hex(4)}"
    cluster.kubectl("create", "namespace", name)
    return name
