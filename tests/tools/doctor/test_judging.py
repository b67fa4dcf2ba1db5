"""What is decided without a network: tailnets, addresses, refusals of issuers other than tsidp."""

from __future__ import annotations

import pytest

from proxy.tls import client_context
from proxy.tools.doctor import causes
from proxy.tools.doctor.answer import Answer
from proxy.tools.doctor.authorize import judge
from proxy.tools.doctor.browser import _as_such
from proxy.tools.doctor.discovery import not_renewed
from proxy.tools.doctor.through_headlamp import judge as judge_through
from proxy.tools.doctor.trouble import Kind, Trouble
from proxy.tools.doctor.tsidp import gates_by_scope, is_tsidp, on_tailnet
from proxy.tools.doctor.verdict import Status
from proxy.tools.doctor.ways import Way
from tests.tools.doctor.stage import Doctor, Stage, whole

CALLBACK = "https://headlamp.example.com/oidc-callback"


@pytest.mark.parametrize(
    ("host", "addresses", "expected"),
    [
        ("idp.tail1234.ts.net", (), True),
        ("IDP.tail1234.TS.NET.", (), True),
        ("idp.example.com", ("100.101.102.103",), True),
        ("idp.example.com", ("fd7a:115c:a1e0::a01:2",), True),
        ("100.64.0.1", (), True),
        ("idp.example.com", ("100.128.0.1", "fd7b::1"), False),
        ("notts.net", (), False),
    ],
)
def test_a_tailnet_is_known_by_name_and_by_address(
    host: str, addresses: tuple[str, ...], expected: bool
) -> None:
    assert on_tailnet(host, addresses) is expected


@pytest.mark.parametrize(
    ("kind", "addresses", "cause"),
    [
        (Kind.NAME, (), "issuer_behind_tailnet"),
        (Kind.SILENT, ("100.101.102.103",), "issuer_behind_tailnet"),
        (Kind.REFUSED, ("10.96.7.7",), "issuer_behind_tailnet"),  # an egress that leads nowhere
        (Kind.REFUSED, ("100.101.102.103",), "issuer_refused"),  # there, and tsidp is down
        (Kind.CLOSED, ("100.101.102.103",), "issuer_tls_closed"),
    ],
)
def test_whether_the_tailnet_is_away_or_tsidp_is(
    kind: Kind, addresses: tuple[str, ...], cause: str
) -> None:
    url = "https://idp.tail1234.ts.net"
    tls = client_context(None)
    way = Way("--oidc-issuer-url", url, "--oidc-ca-file", tls, causes=causes.ISSUER_WAY)
    verdict = way.verdict(url, Trouble(kind, "seen", addresses))
    assert verdict.cause == cause
    if kind is Kind.CLOSED:
        assert "enable HTTPS certificates for the tailnet" in verdict.mend


def test_both_generations_of_tsidp_are_told_apart() -> None:
    claims = {"claims_supported": ["sub", "nid", "node", "tailnet", "tags"]}
    newer = claims | {"grant_types_supported": ["authorization_code", "refresh_token"]}
    assert is_tsidp(claims)
    assert not gates_by_scope(claims)
    assert gates_by_scope(newer)
    assert not is_tsidp({"claims_supported": ["sub", "email"]})
    older = not_renewed(claims | {"grant_types_supported": ["authorization_code"]})
    assert older is not None
    assert older.status is Status.OK
    assert "github.com/tailscale/tsidp" in older.mend
    assert not_renewed(newer) is None


@pytest.mark.parametrize(
    ("url", "addresses", "status"),
    [
        ("http://headlamp.example.com", ("192.0.2.1",), Status.FAILED),
        ("http://headlamp.tail1234.ts.net", ("100.101.102.103",), Status.OK),
        ("http://localhost:4466", ("127.0.0.1", "::1"), None),
        ("https://headlamp.example.com", ("192.0.2.1",), None),
    ],
)
def test_without_tls_only_loopback_and_the_tailnet_will_do(
    url: str, addresses: tuple[str, ...], status: Status | None
) -> None:
    verdicts = _as_such(url, addresses)
    assert [verdict.status for verdict in verdicts] == ([] if status is None else [status])
    assert all(verdict.cause == "headlamp_plain_http" for verdict in verdicts)


def answer(status: int, text: str = "", location: str = "") -> Answer:
    headers = {"Location": location} if location else {}
    return Answer("https://idp.example.com/authorize?x=y", status, headers, text.encode(), 0.0)


@pytest.mark.parametrize(
    ("given", "status", "cause"),
    [
        (answer(302, location=f"{CALLBACK}?code=c&state=s"), "ok", ""),
        (answer(302, location=f"{CALLBACK}?error=login_required"), "ok", ""),
        (answer(302, location=f"{CALLBACK}?error=invalid_scope"), "failed", "scope_unsupported"),
        (answer(302, location=f"{CALLBACK}?error=unauthorized_client"), "failed", "client_refused"),
        (answer(302, location="https://login.example.com/?next=x"), "ok", ""),
        (answer(302, location="/error?error=invalid_client"), "failed", "client_unknown"),
        (answer(200, "<html><form>Password</form></html>"), "ok", ""),
        (
            answer(200, "<html>Error: The redirect_uri is not valid for it</html>"),
            "failed",
            "callback_mismatch",
        ),
        (answer(200, '{"error": "invalid_client"}'), "failed", "client_unknown"),
        (answer(400, "AADSTS700016: Application with identifier"), "failed", "client_unknown"),
        (answer(400, "AADSTS50011: The reply URL"), "failed", "callback_mismatch"),
        (answer(500, "no match for IP:port"), "unknown", "authorize_failed"),
        (answer(418, "teapot"), "unknown", "authorize_failed"),
    ],
)
def test_answers_of_any_issuer_are_read(given: Answer, status: str, cause: str) -> None:
    verdict = judge(given, "client", CALLBACK, guessed=False)
    assert (verdict.status, verdict.cause) == (status, cause)


def test_a_made_up_callback_shows_only_whether_the_client_is_known() -> None:
    given = answer(400, "Error 400: invalid_request - redirect_uri mismatch\n")
    assert judge(given, "client", CALLBACK, guessed=True).status is Status.OK


@pytest.mark.parametrize(
    ("status", "text", "cause"),
    [
        (401, '{"details": {"causes": [{"reason": "token_missing"}]}}', ""),
        (200, '{"kind": "APIVersions"}', "headlamp_uses_own_account"),
        (403, '{"message": "system:anonymous cannot get path"}', "headlamp_bypasses_proxy"),
        (401, '{"message": "Unauthorized"}', "headlamp_bypasses_proxy"),
        (502, "", "headlamp_cannot_reach_proxy"),
    ],
)
def test_who_answers_through_headlamp_is_known(status: int, text: str, cause: str) -> None:
    assert judge_through(answer(status, text)).cause == cause


def test_by_a_port_forward_the_callback_leads_elsewhere_and_that_is_well(
    stage: Stage, doctor: Doctor
) -> None:
    stage.asks["redirect_uri"] = "https://headlamp.example.com/oidc-callback"
    stage.registered = (stage.asks["redirect_uri"],)
    with whole(stage):
        doctor.run()
    notes = {note["cause"]: note for note in doctor.trusts[3]["notes"]}
    assert notes["callback_elsewhere"]["status"] == "ok"
    assert "--headlamp-url=https://headlamp.example.com" in notes["callback_elsewhere"]["mend"]


def test_in_the_pod_headlamp_is_asked_on_loopback(
    stage: Stage, doctor: Doctor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No flag says where; what it asks of its issuer is seen all the same."""
    stage.headlamp.context = None
    stage.headlamp.name = "127.0.0.1"
    stage.asks |= {
        "redirect_uri": "https://headlamp.example.com/oidc-callback",
        "scope": "openid profile",
    }
    stage.flags["--headlamp-url"] = None
    stage.flags["--upstream"] = "https://127.0.0.1:1"
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "1")
    monkeypatch.setattr("proxy.tools.doctor.headlamp.IN_POD", stage.headlamp.url)
    with whole(stage):
        doctor.run()
    assert doctor.trusts[1]["cause"] == "headlamp_not_seen_from_here"
    assert "--headlamp-url=https://headlamp.example.com" in doctor.trusts[1]["mend"]
    assert doctor.trusts[2]["cause"] == "email_scope_missing"
