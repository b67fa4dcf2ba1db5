"""Fixtures of the tests against a real kube-apiserver and etcd.

Without these programs the tests skip; TEST_REQUIRE_REAL=1 makes that a failure.
"""

from __future__ import annotations

import os
import secrets
from typing import TYPE_CHECKING

import pytest

from tests.real.cluster import Cluster
from tests.real.programs import find_assets

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One cluster for the whole session: a test keeps to its own namespace and names."""
    assets = find_assets()
    if assets is None:
        reason = "no kube-apiserver and etcd: run `make test-real`, or set KUBEBUILDER_ASSETS"
        if os.environ.get("TEST_REQUIRE_REAL") == "1":
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)
    with Cluster.run(assets, tmp_path_factory.mktemp("cluster")) as running:
        yield running


@pytest.fixture
def namespace(cluster: Cluster) -> str:
    """The name of a new namespace, for this test alone."""
    name = f"test-{secrets.token_hex(4)}"
    cluster.kubectl("create", "namespace", name)
    return name
