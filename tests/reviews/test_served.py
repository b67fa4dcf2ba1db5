"""The settings that rest on reviews, obeyed by the program as a whole."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from proxy.reviews.privileges import CANARY
from proxy.rights import ALLOW_IMPERSONATION, TOKEN_PASSTHROUGH
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


ROBOT = "system:serviceaccount:shop:robot"


@pytest.fixture
def robots(api: ScriptedReviews) -> str:
    """Return a token that the API server knows."""
    api.tokens["robots"] = {"username": ROBOT, "groups": ["system:serviceaccounts"]}
    return "robots"


def test_a_token_of_the_api_servers_own_is_passed_through_where_that_is_asked_for(
    start: Starting, api: ScriptedReviews, robots: str
) -> None:
    serve = start("--token-passthrough")
    serve.wait_ready()
    seen = serve.get("/version", robots)[1]
    assert seen["Authorization"] == "Bearer robots"
    assert not [name for name in seen if name.startswith("Impersonate")]
    assert reason(serve.get("/version", robots, {"Impersonate-User": "x"})) == (
        403, "impersonation_not_allowed",
    )  # fmt: skip
    assert reason(serve.get("/version", "nobodys")) == (401, "token_unknown")
    assert reason(serve.get("/version", token(exp=1))) == (401, "token_expired")
    assert serve.get("/version", token())[1]["Impersonate-User"] == "alice@example.com"
    assert api.reviews("TokenReview") == [{"token": "robots"}, {"token": "nobodys"}]
    serve.wait_until(lambda: len(serve.requests()) == 5, "logged")
    first, *_, last = serve.requests()
    assert (first["user"], first["passed_through"]) == (ROBOT, True)
    assert "passed_through" not in last
    assert "robots" not in serve.log.read_text()


def known_line(serve: Serve, name: str) -> str:
    """Return the line of a check once our own rights are known."""

    def lines() -> list[str]:
        return serve.probe("/readyz?verbose")[1].splitlines()

    serve.wait_until(lambda: "[+]own-privileges-known ok" in lines(), "known")
    return next(line for line in lines() if line[3:].split()[0] == name)


def test_both_are_off_and_their_rights_are_then_too_many(
    start: Starting, api: ScriptedReviews, robots: str
) -> None:
    api.rights = [*TOKEN_PASSTHROUGH, *ALLOW_IMPERSONATION]
    serve = start()
    assert known_line(serve, "own-privileges") == "[-]own-privileges failed"
    assert reason(serve.get("/version", robots)) == (401, "token_malformed")
    assert reason(serve.get("/version", token(), {"Impersonate-User": "bob"})) == (
        403, "impersonation_not_allowed",
    )  # fmt: skip
    assert api.reviews("TokenReview") == api.reviews("SubjectAccessReview") == []


def test_with_them_their_rights_are_as_they_should_be_and_an_audience_can_be_set(
    start: Starting, api: ScriptedReviews, robots: str
) -> None:
    api.audiences = ["there"]
    api.rights = [*TOKEN_PASSTHROUGH, *ALLOW_IMPERSONATION]
    serve = start(
        "--token-passthrough", "--token-passthrough-audience=there", "--allow-impersonation"
    )
    assert known_line(serve, "own-privileges") == "[+]own-privileges ok"
    assert serve.get("/version", robots)[0] == 200
    assert api.reviews("TokenReview") == [{"token": "robots", "audiences": ["there"]}]


def test_passing_through_goes_on_while_our_own_credential_is_withheld(
    start: Starting, api: ScriptedReviews, robots: str
) -> None:
    api.allowed = {("*", "*", "")}
    serve = start("--token-passthrough")
    serve.wait_until(lambda: serve.metric('own_privileges{finding="everything"}') == 1, "found")
    assert serve.get("/version", robots)[1]["Authorization"] == "Bearer robots"
    assert reason(serve.get("/version", token())) == (503, "service_account_privileged")


def test_impersonation_by_the_client_where_that_is_asked_for(
    start: Starting, api: ScriptedReviews
) -> None:
    api.allowed_to["alice@example.com"] = {("impersonate", "users", "bob")}
    serve = start("--allow-impersonation")
    serve.wait_ready()
    seen = serve.get("/version", token(), {"Impersonate-User": "bob"})[1]
    assert seen["Authorization"] == f"Bearer {OWN_TOKEN}"
    assert seen["Impersonate-User"] == "bob"
    assert seen["Impersonate-Group"] == "headlamp-auth-proxy:authenticated"
    assert seen["Impersonate-Extra-headlamp-auth-proxy.dev%2Foriginal-user"] == "alice@example.com"
    assert reason(serve.get("/version", token(), {"Impersonate-User": "eve"})) == (
        403, "impersonation_denied",
    )  # fmt: skip
    assert reason(serve.get("/version", token(), {"Impersonate_User": "bob"})) == (
        400, "impersonation_malformed",
    )  # fmt: skip
    serve.wait_until(lambda: len(serve.requests()) == 3, "logged")
    assert [(r.get("user"), r.get("original_user")) for r in serve.requests()] == [
        ("bob", "alice@example.com"), (None, None), (None, None),
    ]  # fmt: skip
