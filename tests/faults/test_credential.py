"""The proxy's own token is gone, empty, rotated, expired, refused."""

from __future__ import annotations

import time

import pytest

from tests.faults.conftest import Stage, reason, token
from tests.issuer import rsa_key
from tests.serving import Serve

pytestmark = pytest.mark.slow

LOOKED = 3.0  # seconds in which a change is certainly noticed; it is looked at every second


def _expired() -> str:
    return rsa_key().token({"exp": int(time.time()) - 1})


def _becomes(serve: Serve, what: tuple[int, str]) -> None:
    began = time.monotonic()
    serve.wait_until(lambda: reason(serve.get("/version", token())) == what, str(what))
    assert time.monotonic() - began < LOOKED


@pytest.mark.parametrize("content", [None, "", "two words", _expired()])
def test_without_a_usable_token_all_is_503_until_there_is_one(
    stage: Stage, content: str | None
) -> None:
    with stage.serve() as serve:
        serve.wait_ready()
        assert serve.get("/version", token())[0] == 200
        seen = len(stage.api.requests)
        stage.token_file.unlink()
        if content is not None:
            stage.token_file.write_text(content)
        _becomes(serve, (503, "credential_unavailable"))
        assert serve.probe("/readyz")[0] == 503
        assert "[-]credential failed" in serve.probe("/readyz?verbose")[1]
        between = stage.api.requests[seen:]
        assert all(r.values("Authorization") == ["Bearer the-proxys-own-token"] for r in between)
        stage.token_file.write_text("another-token")
        _becomes(serve, (200, ""))
        assert serve.get("/version", token())[1]["bearer"] == "Bearer another-token"
        assert serve.probe("/readyz")[0] == 200


def test_a_token_that_expires_in_use_is_not_sent_a_second_longer(stage: Stage) -> None:
    ends = int(time.time()) + 3
    stage_token = rsa_key().token({"exp": ends})
    with stage.serve() as serve:
        stage.token_file.write_text(stage_token)
        serve.wait_ready()
        serve.wait_until(
            lambda: reason(serve.get("/version", token())) == (503, "credential_unavailable"),
            "expired",
        )
        assert time.time() >= ends
        assert serve.metric("credential_expiry_timestamp_seconds") == ends


def test_a_rotation_is_taken_up_without_one_failed_request(stage: Stage) -> None:
    with stage.serve() as serve:
        serve.wait_ready()
        for generation in range(3):
            fresh = stage.folder / "fresh"
            fresh.write_text(f"token-{generation}")
            fresh.replace(stage.token_file)

            def rotated(generation: int = generation) -> bool:
                status, seen = serve.get("/version", token())
                assert status == 200
                return bool(seen["bearer"] == f"Bearer token-{generation}")

            serve.wait_until(rotated, "rotated")
        assert serve.metric("credential_reloads_total") >= 2
