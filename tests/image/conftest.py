"""The image under test: what `tests/image/build` printed, which `make test-image` passes on."""

from __future__ import annotations

import os

import pytest


@pytest.fixture(scope="session")
def image() -> str:
    name = os.environ.get("TEST_IMAGE")
    if not name:
        pytest.skip("no image: run `make test-image` (needs podman and mmdebstrap)")
    return name
