"""The settings that rest on reviews, obeyed by the program as a whole."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from proxy.reviews.privileges import CANARY
from tests.issuer import CLIENT_ID, jwks_document, rsa_key, tsidp_claims
from tests.reviews.conftest import OWN_TOKEN
from tests.scripted_reviews import OURSELVES, ScriptedReviews
from tests.serving import Serve

ISSUER = "https://idp.tail1234.ts.net"
Starting = Callable[..., Serve]


@pytest.fixture
def start(api: ScriptedReviews, token_file: Path, tmp_path: Path) -> Iterator[Starting]:
    """Start a proxy in front of the scripted API server."""
    jwks = tmp_path / "jwks.json"
    jwks.write_bytes(jwks_document(rsa_key()))
    running: list[Serve] = []

    def start(*flags: str) -> Serve:
        serve = Serve(
            tmp_path,
            f"--oidc-issuer-url={ISSUER}",
            f"--oidc-client-id={CLIENT_ID}",
            f"--oidc-jwks-file={jwks}",
            f"--upstream={api.url}",
            f"--upstream-ca-file={api.ca_file}",
            f"--upstream-token-file={token_file}",
            *flags,
        )
        running.append(serve)
        return serve.__enter__()

    yield start
    for serve in running:
        serve.stop()


def token(**claims: object) -> str:
    return rsa_key().token(tsidp_claims(ISSUER, groups=["dev"]) | claims)


def reason(answer: tuple[int, dict[str, object]]) -> tuple[int, object]:
    """Return the status and the label of a refusal."""
    status, body = answer
    details: dict[str, list[dict[str, object]]] = body["details"]  # type: ignore[assignment]
    return status, details["causes"][0]["reason"]


def test_where_the_api_server_sees_somebody_else_nothing_is_forwarded(
    start: Starting, api: ScriptedReviews
) -> None:
    api.sees[CANARY] = OURSELVES
    serve = start("--allow-privileged-service-account")
    serve.wait_until(lambda: "[-]impersonation failed" in serve.probe("/readyz?verbose")[1], "seen")
    assert serve.probe("/readyz")[0] == 503
    assert reason(serve.get("/version", token())) == (503, "impersonation_broken")
    assert reason(serve.get("/version")) == (401, "token_missing")
    assert serve.metric('own_privileges{finding="seen_as_somebody_else"}') == 1
    assert {request.method for request in api.requests} == {"POST"}
    del api.sees[CANARY]
    serve.wait_ready()
    assert serve.get("/version", token())[1]["Authorization"] == f"Bearer {OWN_TOKEN}"


@pytest.mark.parametrize(
    ("flags", "ready", "status"),
    [([], 503, 503), (["--allow-privileged-service-account"], 200, 200)],
)
def test_an_account_that_may_do_everything(
    start: Starting, api: ScriptedReviews, flags: list[str], ready: int, status: int
) -> None:
    api.allowed = {("*", "*", "")}
    serve = start(*flags)
    serve.wait_until(lambda: serve.metric('own_privileges{finding="everything"}') == 1, "found")
    assert serve.probe("/readyz")[0] == ready
    assert serve.get("/version", token())[0] == status
