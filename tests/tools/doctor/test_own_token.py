"""What is said of a token of our own that the API server does not take."""

from __future__ import annotations

import jwt
import pytest

from proxy.credentials.trust import PLACEHOLDER_TOKEN
from proxy.tools.doctor.own_token import OwnToken, expired, parsed, rejected, unusable

ISSUER = "https://kubernetes.default.svc"
EKS = "https://oidc.eks.eu-west-1.amazonaws.com/id/0123"
OURS = "https://idp.tail1234.ts.net"
ACCOUNT = "system:serviceaccount:headlamp:headlamp"
FILE = "/run/token (--upstream-token-file)"


def token(**claims: object) -> OwnToken:
    whole = {"iss": ISSUER, "aud": [ISSUER], "sub": ACCOUNT} | claims
    return parsed(jwt.encode(whole, "k" * 32, "HS256").encode())


@pytest.mark.parametrize(
    ("claims", "said", "cause"),
    [
        ({}, "", "credential_rejected"),
        ({"aud": ["vault"]}, "", "credential_audience"),
        ({"aud": "vault"}, "", "credential_audience"),
        ({"iss": EKS, "aud": [ISSUER]}, "", "credential_rejected"),
        ({"iss": EKS, "aud": [EKS]}, "", "credential_rejected"),
        ({"aud": ["https://kubernetes.default.svc.cluster.local"]}, "", "credential_rejected"),
        ({"aud": [EKS]}, 'token audiences ["x"] is invalid', "credential_audience"),
        ({}, 'serviceaccounts "headlamp" not found', "credential_rejected"),
        ({"iss": OURS, "aud": "x", "sub": "userid:1"}, "", "credential_of_a_user"),
        ({"sub": "somebody", "aud": ["x"]}, "", "credential_rejected"),
    ],
)
def test_why_it_is_rejected(claims: dict[str, object], said: str, cause: str) -> None:
    verdict = rejected(token(**claims), FILE, [OURS], said)
    assert verdict.cause == cause
    assert said in verdict.saw
    assert "create token" in verdict.mend


def test_a_token_that_is_no_jwt_says_nothing_of_itself() -> None:
    assert parsed(b"abc") == OwnToken()
    assert "no JWT" in rejected(OwnToken(), FILE, []).saw


def test_its_end_is_told_to_the_second() -> None:
    assert expired(token(exp=1000), FILE, 999) is None
    assert expired(token(), FILE, 999) is None
    verdict = expired(token(exp=1000), FILE, 1090)
    assert verdict is not None
    assert "90 s ago" in verdict.saw
    assert verdict.mend == "kubectl -n headlamp create token headlamp > /run/token"


@pytest.mark.parametrize(
    ("raw", "cause"),
    [
        (b"", "credential_empty"),
        (b" \n", "credential_empty"),
        (PLACEHOLDER_TOKEN, "credential_is_placeholder"),
        (b"see the wiki", "credential_malformed"),
    ],
)
def test_what_is_no_token_at_all(raw: bytes, cause: str) -> None:
    assert unusable(raw, FILE, "it holds blanks").cause == cause


def test_in_a_pod_the_kubelet_renews_it() -> None:
    origin = "/var/run/secrets/kubernetes.io/serviceaccount/token (--upstream-token-file)"
    verdict = expired(token(exp=1), origin, 2)
    assert verdict is not None
    assert "rollout restart" in verdict.mend
