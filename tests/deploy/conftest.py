"""Fixtures of the tests of what is deployed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.deploy.helm import Helm, find_helm
from tests.real.cluster import Cluster
from tests.real.conftest import assets, cluster, namespace

__all__ = ["assets", "cluster", "helm", "helm4", "namespace"]


@pytest.fixture(params=["helm3", "helm4"])
def helm(request: pytest.FixtureRequest, tmp_path: Path) -> Helm:
    return find_helm(request.param, tmp_path)


@pytest.fixture
def helm4(tmp_path: Path) -> Helm:
    """One of them, where what is tested is not helm."""
    return find_helm("helm4", tmp_path)


@pytest.fixture
def restricted(cluster: Cluster, namespace: str) -> str:
    """A namespace in which the Pod Security Standard "restricted" is enforced."""
    cluster.kubectl(
        "label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted"
    )
    return namespace
