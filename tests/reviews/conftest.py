"""A scripted API server, and a client for its reviews."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from proxy.credentials.credential import Credential, from_files
from proxy.credentials.endpoint import parse_upstream
from proxy.reviews.client import Reviewer
from proxy.reviews.documents import Outcome
from tests.scripted_reviews import ScriptedReviews

OWN_TOKEN = "the-proxys-own-token"

Told = list[tuple[str, Outcome]]


@pytest.fixture
def api(tmp_path: Path) -> Iterator[ScriptedReviews]:
    with ScriptedReviews(tmp_path) as running:
        yield running


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text(OWN_TOKEN)
    return path


@pytest.fixture
def credential(api: ScriptedReviews, token_file: Path) -> Credential:
    return from_files(token_file, api.ca_file)


@pytest.fixture
def told() -> Told:
    """Each review that the client told its observer of."""
    return []


@pytest.fixture
async def reviewer(
    api: ScriptedReviews, credential: Credential, told: Told
) -> AsyncIterator[Reviewer]:
    client = Reviewer(
        parse_upstream(api.url), credential, lambda kind, outcome, _: told.append((kind, outcome))
    )
    yield client
    await client.close()
